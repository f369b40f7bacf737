"""The affine first part of a model, its stem: run once for an example instead of once for every point on its path.

Where a model starts with z = Px + c, a straight path in x is straight in z too, so integrated gradients are
D ⊙ Pᵀ ∫ ∂F/∂z dα, equal to rounding.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import tensorflow as tf

from transforms.attribution.model.affine import Shape, affine_parts
from transforms.attribution.model.subgraph import Before, cut, what_comes_before

if TYPE_CHECKING:
    from transforms.attribution.model.model_input import ModelInput

# What a value more of z costs, in products of a convolution. Measured on a CPU: a convolution of 3 products for each
# value of z gains nothing, one of 9 a third of the time or more; a dense layer that widens up to some 30 inputs gains
# nothing.
WIDTH_COST = 8


@dataclasses.dataclass(frozen=True)
class Stem:
    """The affine first part of a model, one entry per model input.

    Attributes:
        inputs: the model's inputs.
        heads: what the rest of the model, the head, takes: in place of a hoisted input one of the same name with the
            shape and dtype of z; the others as they are.
        tensors: by hoisted input, the name of the graph's tensor that the stem ends at.
        function: x of each hoisted input, [batch, *shape] → list of z, [batch, *zshape].
    """

    inputs: tuple[ModelInput, ...]
    heads: tuple[ModelInput, ...]
    tensors: Mapping[str, str]
    function: Any

    @property
    def row_bytes(self) -> int:
        """What z takes of one example."""
        ends = [head for head in self.heads if head.name in self.tensors]
        return sum(head.dtype.itemsize * math.prod(size or 0 for size in head.shape) for head in ends)

    def project(self, inputs: Sequence[Any]) -> list[Any]:
        """Each model input, [batch, *shape] in its point dtype → each head input, [batch, *zshape]."""
        hoisted = [value for value, spec in zip(inputs, self.heads, strict=True) if spec.name in self.tensors]
        ends = iter(self.function(*map(tf.convert_to_tensor, hoisted)))
        # the graph may have lost shapes that its analysis could tell
        return [
            tf.ensure_shape(next(ends), [value.shape[0], *spec.shape]) if spec.name in self.tensors else value
            for value, spec in zip(inputs, self.heads, strict=True)
        ]

    def pull_back(self, gradients: Sequence[Any]) -> list[Any]:
        """Gradients by the explained head inputs, [n, *zshape] → by the model inputs, [n, *shape]: times Pᵀ.

        Within a graph only.
        """
        explained = [spec for spec in self.inputs if spec.explained]
        chosen = [index for index, spec in enumerate(explained) if spec.name in self.tensors]
        # an affine function has the same derivative everywhere, so also at 0; its values are dropped from the graph
        points = [
            tf.zeros([tf.shape(gradients[index])[0], *explained[index].shape], gradients[index].dtype)
            for index in chosen
        ]
        ends = self.function(*points)
        pulled = tf.gradients(ends, points, [gradients[index] for index in chosen])
        result = list(gradients)
        for index, value in zip(chosen, pulled, strict=True):
            result[index] = tf.ensure_shape(value, [gradients[index].shape[0], *explained[index].shape])
        return result


def hoist(function: Any, inputs: tuple[ModelInput, ...]) -> tuple[Any, Stem | None]:
    """Cut a frozen function behind its stem.

    Args:
        function: takes a tensor for each input, in that order; of a symbolic batch size.

    Returns:
        The head, which takes z where an input is hoisted, and the stem; or the function itself and None.
    """
    before = what_comes_before(function.graph.get_operations())
    ends = {
        index: found
        for index, (spec, start) in enumerate(zip(inputs, function.inputs, strict=True))
        if _is_simple(spec, start) and (found := _best_cut(function, before, start)) is not None
    }
    if not ends:
        return function, None
    feeds, heads = list(function.inputs), list(inputs)
    for index, (end, shape) in ends.items():
        feeds[index] = end
        heads[index] = dataclasses.replace(inputs[index], shape=shape, dtype=inputs[index].point_dtype)
    starts = [function.inputs[index] for index in ends]
    first = cut(function.graph, before, starts, [end for end, _ in ends.values()])
    tensors = {inputs[index].name: end.name for index, (end, _) in ends.items()}
    return cut(function.graph, before, feeds, function.outputs), Stem(inputs, tuple(heads), tensors, first)


def _is_simple(spec: ModelInput, start: Any) -> bool:
    """Whether points of a known size go in as they are; half precision is cast first, and that rounds."""
    return spec.explained and None not in spec.shape and start.dtype.as_numpy_dtype == spec.point_dtype.type


def _best_cut(function: Any, before: Before, start: Any) -> tuple[Any, Shape] | None:
    """Where to cut: a tensor and its shape for one example; None where a cut does not pay.

    What leads up to the cut is done once for an example instead of for every point; but every point on the path is
    made, and every gradient summed, in the size of z.
    """
    operations, end = function.graph.get_operations(), function.outputs[0].op
    parts = affine_parts(function.graph, before, start)
    passed = {op.name for op in _bottlenecks(operations, before, start.op, end)}
    best, most, products = None, 0, 0
    for op in operations:
        if (part := parts.get(op.name)) is None:
            continue
        products += part.products
        if op.name not in passed or part.rows != 1 or op is end or any(other.consumers() for other in op.outputs[1:]):
            continue
        saved = products - WIDTH_COST * (part.width - parts[start.op.name].width)
        if saved > 0 and saved >= most:
            best, most = (op.outputs[0], part.shape), saved
    return best


def _bottlenecks(operations: Sequence[Any], before: Before, start: Any, end: Any) -> list[Any]:
    """The ops that everything passes which gets from one op to another, in order."""
    order = {op.name: position for position, op in enumerate(operations)}
    if any(order[other.name] >= order[op.name] for op in operations for other in before[op.name]):
        return []  # a loop of TensorFlow 1
    reached, needed = {start.name}, {end.name}
    for op in operations:
        if any(other.name in reached for other in before[op.name]):
            reached.add(op.name)
    for op in reversed(operations):
        if op.name in needed:
            needed.update(other.name for other in before[op.name])
    between = [op for op in operations if op.name in reached and op.name in needed]
    furthest = dict.fromkeys((op.name for op in between), 0)
    for op in between:
        for other in before[op.name]:
            if other.name in furthest:
                furthest[other.name] = max(furthest[other.name], order[op.name])
    found, jumped_to = [], 0
    for op in between:
        if jumped_to <= order[op.name]:  # no edge leads past it
            found.append(op)
        jumped_to = max(jumped_to, furthest[op.name])
    return found
