"""Any TensorFlow model as one function of its named inputs: loaded, frozen to a flat graph, never mutated.

A frozen graph has its weights as constants and its tensors in reach by name, so it can be cut: that is how a model
which takes integers and casts them at once is differentiated, at the output of the cast, and how the affine first part
of any model runs once an example.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

from transforms.attribution import anatomy, loading, stem
from transforms.attribution.config import ModelConfig
from transforms.attribution.loading import Callee
from transforms.attribution.objective import Objective, Output, as_table, describe_output
from transforms.attribution.subgraph import cut, inlined, what_comes_before
from transforms.errors import UsageError

# protobuf refuses messages of 2 GB; a graph of constants is one message
MAX_FROZEN_BYTES = 1_900_000_000


@dataclasses.dataclass(frozen=True)
class ModelInput:
    """One input of a model.

    Attributes:
        shape: of one example; None where the model takes any size.
        dtype: as the model declares it: what the data must be.
        point_dtype: in which the points on the path are computed and fed.
        explained: whether it is differentiated; else it is held at its value.
    """

    name: str
    shape: tuple[int | None, ...]
    dtype: np.dtype[Any]
    point_dtype: np.dtype[Any]
    explained: bool


@dataclasses.dataclass(frozen=True)
class Table:
    """A function as [batch, classes], whatever the rank of its output, with activation and objective applied.

    Attributes:
        function: takes a tensor for each input.
        dtypes: that it takes them in.
        activation: as configured; softmax is over the last axis.
        objective: the output, [batch, ...] → [batch, classes].
    """

    function: Any
    dtypes: Sequence[Any]
    activation: str | None
    objective: Callable[[Any], Any] = as_table

    def __call__(self, points: Sequence[Any]) -> Any:
        """One tensor per input, [batch, *shape] in its point dtype → [batch, classes], of at least float32."""
        finish = {None: tf.identity, "softmax": tf.nn.softmax, "sigmoid": tf.sigmoid}[self.activation]
        result = self.function(*(tf.cast(point, dtype) for point, dtype in zip(points, self.dtypes, strict=True)))
        result = result[0] if isinstance(result, (list, tuple)) else result
        return self.objective(finish(result if result.dtype == tf.float64 else tf.cast(result, tf.float32)))


@dataclasses.dataclass(frozen=True)
class Model:
    """A model ready to be explained.

    Attributes:
        outputs: tensors, one per input, [batch, *shape] in `point_dtype` → [batch, classes].
        classes: entries of the table of one example; 0 while an output of another rank has no objective.
        batch: the only batch size the model takes, or None for any.
        digest: sha256 of the model's files.
        frozen: whether the graph holds its weights as constants.
        stem: the affine first part of the model, where there is one that pays.
        head: the rest: tensors, one per `stem.heads`, → what `outputs` gives; without a stem, `outputs` itself.
        output: what the model gives before the objective.
    """

    inputs: tuple[ModelInput, ...]
    outputs: Table
    classes: int
    batch: int | None
    digest: str
    frozen: bool
    stem: stem.Stem | None
    head: Table
    output: Output

    @property
    def explained(self) -> tuple[ModelInput, ...]:
        """The inputs that get attributions."""
        return tuple(spec for spec in self.inputs if spec.explained)

    @property
    def real_dtype(self) -> np.dtype[Any]:
        """In which nodes and weights are given: the widest of the explained inputs'."""
        return np.result_type(*(spec.point_dtype for spec in self.explained))

    def unhoisted(self) -> Model:
        """The same without a stem."""
        return dataclasses.replace(self, stem=None, head=self.outputs)

    def aimed_at(self, objective: Objective) -> Model:
        """The same with another last stage."""
        if objective.read is self.outputs.objective:
            return self
        outputs, head = (dataclasses.replace(part, objective=objective.read) for part in (self.outputs, self.head))
        return dataclasses.replace(self, outputs=outputs, head=head, classes=objective.classes)

    def inlined(self) -> Model:
        """The same with its ops in the graph that calls it, not in functions of their own; for `tf.gradients` alone."""
        if not self.frozen:
            return self
        first = self.stem and dataclasses.replace(self.stem, function=inlined(self.stem.function))
        head = dataclasses.replace(self.head, function=inlined(self.head.function))
        return dataclasses.replace(self, stem=first, head=head)


def load_model(config: ModelConfig, hoist: bool = True) -> Model:
    """Load, select the signature and the output, freeze, and cut behind the affine stem if `hoist`.

    Raises:
        UsageError: E_MODEL_MISSING, E_MODEL_INVALID, E_MODEL_H5, E_MODEL_LOAD, E_MODEL_SIGNATURE, E_MODEL_OUTPUT,
            E_MODEL_OUTPUT_SHAPE, E_MODEL_ACTIVATION, E_MODEL_INPUT_SHAPE, E_MODEL_INPUT_DTYPE,
            E_MODEL_NOT_DIFFERENTIABLE, E_TARGET_CLASSES.
    """
    digest = anatomy.digest(config.path)
    callee = loading.load(config)
    concrete = _flat_function(callee)
    output = describe_output(concrete.outputs[0], config)
    frozen = _can_freeze(concrete)
    if frozen:
        function, casts = _cut_at_casts(convert_variables_to_constants_v2(concrete, lower_control_flow=False))
    else:
        function, casts = _owning(concrete, callee), {}
    inputs = tuple(_describe(spec, index in casts) for index, spec in enumerate(callee.inputs))
    if not any(spec.explained for spec in inputs):
        raise UsageError("E_MODEL_NOT_DIFFERENTIABLE", _not_differentiable(inputs))
    batch = _fixed_batch(callee)
    can_cut = hoist and frozen and batch is None
    rest, found = stem.hoist(function, inputs) if can_cut else (function, None)
    dtypes = [casts.get(index, spec.dtype) for index, spec in enumerate(callee.inputs)]
    outputs, head = (Table(part, dtypes, config.activation) for part in (function, rest))
    return Model(inputs, outputs, output.classes, batch, digest, frozen, found, head if found else outputs, output)


def _flat_function(callee: Callee) -> Any:
    def flat(*tensors: Any) -> Any:
        return callee.call(tensors)

    return tf.function(flat, input_signature=callee.inputs, autograph=False).get_concrete_function()


def _owning(concrete: Any, callee: Callee) -> Callable[..., Any]:
    """The function, with what it needs: TensorFlow's graphs refer to their variables weakly."""

    def call(*tensors: Any) -> Any:
        assert callee is not None
        return concrete(*tensors)

    return call


def _can_freeze(concrete: Any) -> bool:
    weights = sum(variable.shape.num_elements() * variable.dtype.size for variable in concrete.graph.variables)
    handles = {id(variable.handle) for variable in concrete.graph.variables}
    tables = any(outer.dtype == tf.resource and id(outer) not in handles for outer, _ in concrete.graph.captures)
    strings = any(tensor.dtype == tf.string for tensor in concrete.inputs)
    return not tables and not strings and weights <= MAX_FROZEN_BYTES


def _cut_at_casts(function: Any) -> tuple[Any, dict[int, tf.DType]]:
    """Feed every integer input that is only cast to a float after its cast; by input, the cast's dtype."""
    feeds, casts = list(function.inputs), {}
    for index, tensor in enumerate(function.inputs):
        cast = _sole_cast(tensor) if tensor.dtype.is_integer else None
        if cast is not None:
            feeds[index], casts[index] = cast, cast.dtype
    if not casts:
        return function, casts
    return cut(function.graph, what_comes_before(function.graph.get_operations()), feeds, function.outputs), casts


def _sole_cast(tensor: Any) -> Any:
    """The float tensor that an input is cast to, when nothing else is done with it; else None."""
    consumers = tensor.consumers()
    # inlining the functions of a SavedModel leaves identities behind
    while len(consumers) == 1 and consumers[0].type == "Identity":
        consumers = consumers[0].outputs[0].consumers()
    is_cast = len(consumers) == 1 and consumers[0].type == "Cast"
    return consumers[0].outputs[0] if is_cast and consumers[0].outputs[0].dtype.is_floating else None


def _describe(spec: Any, cast: bool) -> ModelInput:
    dtype = np.dtype(spec.dtype.as_numpy_dtype)
    explained = spec.dtype.is_floating or cast
    # half precision on the path itself would lose nodes: the points are float32 and cast on their way in
    point = dtype if not explained or spec.dtype == tf.float64 else np.dtype(np.float32)
    return ModelInput(spec.name, tuple(spec.shape[1:]), dtype, point, explained)


def _not_differentiable(inputs: Sequence[ModelInput]) -> str:
    listed = ", ".join(f"{spec.name} ({spec.dtype})" for spec in inputs)
    return (
        f"none of the model's inputs can be differentiated: {listed}; integrated gradients need a float input, or an"
        " integer one that the model only casts to float. For token ids, export the part after the embedding"
    )


def _fixed_batch(callee: Callee) -> int | None:
    sizes = {spec.shape[0] for spec in callee.inputs} - {None}
    return int(min(sizes)) if sizes else None
