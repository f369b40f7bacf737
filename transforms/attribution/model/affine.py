"""What of a frozen graph is affine in one of its inputs, example by example; found without running anything.

An op counts when it is affine in the input, all its other operands being constant, and when each example keeps its
own rows of axis 0. The second is read off shapes, which TensorFlow infers for two batch sizes B. An axis of a constant
cannot fit both, and only the batch axis changes with B: it can be neither contracted nor broadcast nor moved without
being seen. What shapes do not show, `_keeps_order` checks.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from transforms.attribution.model.subgraph import Before, describe

Shape = tuple[int, ...]

# coprime: only an integer times B is an integer for both
BATCHES = (11, 13)
# Affine in the first operand. Not Cast: z has the dtype of x, and a narrower one on the way would round.
# fmt: off
AFFINE_IN_FIRST = frozenset((
    "AvgPool", "AvgPool3D", "BiasAdd", "Conv2D", "Conv3D", "DepthwiseConv2dNative", "ExpandDims", "FusedBatchNormV3",
    "Identity", "Mean", "Neg", "Pad", "PadV2", "RealDiv", "Reshape", "Squeeze", "StridedSlice", "Sum", "Tile",
    "Transpose",
))
AFFINE_IN_ONE = frozenset(("BatchMatMulV2", "Einsum", "MatMul", "Mul"))
AFFINE_IN_ALL = frozenset(("Add", "AddN", "AddV2", "ConcatV2", "Sub"))
CONTRACTIONS = frozenset(("BatchMatMulV2", "Einsum", "MatMul"))
# fmt: on
# How many products of a contraction count as one of a convolution: chosen so that a dense layer that widens is cut off
# from 32 inputs on, where measured rates with and without meet (0.96 of 16 inputs, 1.06 of 32, 1.24 of 64, 1.9 of 128).
CONTRACTED = 4


@dataclasses.dataclass(frozen=True)
class Part:
    """What is known of an affine tensor.

    Attributes:
        rows, shape: it is [batch · rows, *shape].
        products: numbers that its op multiplies and adds up for one example, in products of a convolution; 0 for what
            costs no more than to read and to write its operands.
    """

    rows: int
    shape: Shape
    products: int

    @property
    def width(self) -> int:
        """Its values for one example."""
        return self.rows * int(np.prod(self.shape))


def _constants(operations: Iterable[Any]) -> set[str]:
    """The ops that give the same in every call: constants, and what is computed from nothing else."""
    found: set[str] = set()
    for op in operations:
        inputs = list(op.inputs)
        derived = inputs and not op.op_def.is_stateful and all(tensor.op.name in found for tensor in inputs)
        if op.type == "Const" or derived:
            found.add(op.name)
    return found


def affine_parts(graph: Any, before: Before, start: Any) -> dict[str, Part]:
    """The ops whose first output is affine in `start`, example by example, in the order of the graph."""
    constants = _constants(graph.get_operations())
    affine, sizes = {start.op.name: start.op}, dict[str, Any]()
    for op in graph.get_operations():
        data = [tensor.op.name in affine and tensor.value_index == 0 for tensor in op.inputs]
        fixed = [tensor.op.name in constants for tensor in op.inputs]
        given = [known or tensor.op.name in sizes for known, tensor in zip(fixed, op.inputs, strict=True)]
        if any(data) and _is_affine(op, data, given if op.type == "Reshape" else fixed):
            affine[op.name] = op
        elif _is_size(op, data, given) and op.name not in constants:
            sizes[op.name] = op
    try:
        shapes = [_shapes_at(batch, graph, before, start, [*affine.values(), *sizes.values()]) for batch in BATCHES]
    except ValueError:
        return {}  # some op wants another batch size
    return _separate_parts(affine, *shapes)


def _is_affine(op: Any, data: Sequence[bool], fixed: Sequence[bool]) -> bool:
    """Whether an op is affine in the operands that are data.

    Args:
        data: by operand, whether it is affine in the input.
        fixed: by operand, whether its value is the same for every input.
    """
    if "_gradient_op_type" in op.node_def.attr:
        return False  # its derivative is not what it computes
    if op.type in AFFINE_IN_FIRST:
        return data[0] and all(fixed[1:]) and _keeps_order(op)
    known = all(one or other for one, other in zip(data, fixed, strict=True))
    return known and (op.type in AFFINE_IN_ALL or (op.type in AFFINE_IN_ONE and sum(data) == 1))


def _keeps_order(op: Any) -> bool:
    """What shapes do not show."""
    if op.type == "StridedSlice":
        return _takes_every_row(op)
    if op.type == "Squeeze":
        return len(op.get_attr("squeeze_dims")) > 0  # else it drops the batch axis of a batch of one
    return op.type != "FusedBatchNormV3" or not op.get_attr("is_training")


def _takes_every_row(op: Any) -> bool:
    """Whether a slice starts with `:` or `...`; `:99` looks the same for a small batch, `::-1` turns it around."""
    strides = tf.get_static_value(op.inputs[3])
    if strides is None or op.inputs[0].shape.rank is None:
        return False
    if op.get_attr("ellipsis_mask") & 1:
        return bool(len(strides) <= op.inputs[0].shape.rank)  # else the dots stand for no axis
    return bool(op.get_attr("begin_mask") & op.get_attr("end_mask") & 1 and strides[0] == 1)


def _is_size(op: Any, data: Sequence[bool], given: Sequence[bool]) -> bool:
    """Whether an op computes integers from the shape of the input alone, as Keras does for a Reshape."""
    integers = bool(op.outputs) and op.outputs[0].dtype.is_integer and not op.op_def.is_stateful
    return integers and ((op.type == "Shape" and any(data)) or (bool(given) and all(given)))


def _shapes_at(
    batch: int, graph: Any, before: Before, start: Any, operations: Sequence[Any]
) -> dict[str, tf.TensorShape]:
    """The shape of the first output of each of the ops, for a batch of that size, as TensorFlow infers it.

    Raises:
        ValueError: for some op that size is wrong.
    """
    names = {op.name for op in operations}
    # of the weights only the shapes are needed
    weights = [one for op in operations for one in before[op.name] if one.outputs and one.outputs[0].dtype.is_floating]
    stand_ins = {one.name: one.outputs[0].shape for one in weights if one.name not in names}
    stand_ins[start.op.name] = [batch, *start.shape[1:]]
    described = describe(graph, before, operations, stand_ins)
    with tf.Graph().as_default() as scratch:
        tf.graph_util.import_graph_def(described, name="")
        return {op.name: scratch.get_operation_by_name(op.name).outputs[0].shape for op in operations}


def _separate_parts(
    affine: Mapping[str, Any], small: Mapping[str, tf.TensorShape], large: Mapping[str, tf.TensorShape]
) -> dict[str, Part]:
    """Those of the affine ops that keep the examples apart: row-major, each of them has its own rows of axis 0."""
    parts: dict[str, Part] = {}
    for name, op in affine.items():
        data = [tensor.op.name for tensor in op.inputs if tensor.op.name in affine]
        rows, shape = _rows(small[name], large[name])
        # more rows than before: repeated or appended ones; a Reshape alone only divides an example's values otherwise
        kept = op.type == "Reshape" or all(one in parts and parts[one].rows == rows for one in data)
        if rows and kept and all(one in parts for one in data):
            part = Part(rows, shape, 0)
            given = parts[data[0]].width if data else 0
            parts[name] = dataclasses.replace(part, products=_products(op, given, part.width))
    return parts


def _products(op: Any, given: int, made: int) -> int:
    """What one example costs, from the number of values that the op is given, and that it makes."""
    if op.type in ("AvgPool", "AvgPool3D"):
        return made * int(np.prod(op.get_attr("ksize")))
    weights = [tensor.shape for tensor in op.inputs if tensor.shape.rank and tensor.shape.is_fully_defined()]
    if not weights:
        return 0
    if op.type == "DepthwiseConv2dNative":
        return made * int(np.prod(weights[0][:2]))
    if op.type in ("Conv2D", "Conv3D"):
        return made * int(np.prod(weights[0][:-1]))
    # [m, k] times [k, n]: mk values are given, kn are weights, mn are made, and mkn products
    return math.isqrt(given * made * weights[0].num_elements()) // CONTRACTED if op.type in CONTRACTIONS else 0


def _rows(small: tf.TensorShape, large: tf.TensorShape) -> tuple[int, Shape]:
    """The rows of axis 0 for one example, and the shape of a row; 0 rows where other axes depend on the batch size."""
    if not (small.is_fully_defined() and large.is_fully_defined() and small.rank and small[1:] == large[1:]):
        return 0, ()
    each = [divmod(int(shape[0]), batch) for shape, batch in zip((small, large), BATCHES, strict=True)]
    return (each[0][0], tuple(small[1:])) if each[0] == each[1] and not each[0][1] else (0, ())
