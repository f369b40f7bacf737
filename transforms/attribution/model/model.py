"""Any TensorFlow model as one function of its named inputs: loaded, frozen to a flat graph, never mutated.

A frozen graph has its weights as constants and its tensors in reach by name, so it can be cut: that is how a model
which takes integers and casts them at once is differentiated, at the output of the cast, how a layer is explained, and
how the affine first part of any model runs once an example.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from transforms.attribution.config import ModelConfig
from transforms.attribution.model import admission, freezing, layers, loading, stem
from transforms.attribution.model.differentiable import cut_at_casts, not_differentiable
from transforms.attribution.model.loading import Callee
from transforms.attribution.model.model_input import ModelInput, describe_input, fixed_batch, held_input
from transforms.attribution.model.objective import Objective, Output, as_table, describe_output
from transforms.attribution.model.subgraph import inlined
from transforms.errors import UsageError


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
        sources: what the data feeds: the inputs of the whole model.
        layer: where a layer is explained, what leads up to it. `inputs` then are its value, and those of the sources
            that lead past it, held; without, they are the sources.
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
    sources: tuple[ModelInput, ...]
    layer: layers.Layer | None = None

    @property
    def explained(self) -> tuple[ModelInput, ...]:
        """The inputs that get attributions."""
        return tuple(spec for spec in self.inputs if spec.explained)

    @property
    def held(self) -> tuple[ModelInput, ...]:
        """The inputs that stay at the row's values."""
        return tuple(spec for spec in self.inputs if not spec.explained)

    @property
    def names(self) -> tuple[str, ...]:
        """Of the entries of the output's last axis; () for none."""
        return self.output.names

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
    """Check what it could do, load, select signature and output, freeze, and cut behind the affine stem if `hoist`.

    Raises:
        UsageError: E_MODEL_MISSING, E_MODEL_INVALID, E_MODEL_H5, E_MODEL_RISKY, E_MODEL_DIGEST, E_MODEL_LOAD,
            E_MODEL_SIGNATURE, E_MODEL_OUTPUT, E_MODEL_OUTPUT_SHAPE, E_MODEL_ACTIVATION, E_MODEL_INPUT_SHAPE,
            E_MODEL_INPUT_DTYPE, E_MODEL_NOT_DIFFERENTIABLE, E_MODEL_LAYER, E_TARGET_CLASSES, E_SCRATCH_FULL.
    """
    with admission.admitted(config) as (path, digest):
        return _loaded(config.model_copy(update={"path": path}), digest, hoist)


def _loaded(config: ModelConfig, digest: str, hoist: bool) -> Model:
    callee = loading.load(config)
    concrete = freezing.flat_function(callee)
    output = describe_output(concrete.outputs[0], config)
    whole, batch = freezing.frozen(concrete), fixed_batch(callee.inputs)
    prefix = None if callee.embeddings is not None else freezing.called(concrete)
    if config.layer is not None:
        part = _from_layer(whole, callee, config.layer, prefix)
    else:
        part = _from_inputs(whole, callee, freezing.owning(concrete, callee), prefix)
    can_cut = hoist and whole is not None and batch is None
    rest, found = stem.hoist(part.function, part.inputs) if can_cut else (part.function, None)
    outputs, head = (Table(function, part.dtypes, config.activation) for function in (part.function, rest))
    ends = (head if found else outputs, output, part.sources, part.layer)
    return Model(part.inputs, outputs, output.classes, batch, digest, whole is not None, found, *ends)


class _Part(NamedTuple):
    """What of a model is explained: a function of `inputs`, taken in `dtypes`; `sources` are the whole model's."""

    function: Any
    inputs: tuple[ModelInput, ...]
    dtypes: Sequence[Any]
    sources: tuple[ModelInput, ...]
    layer: layers.Layer | None


def _from_inputs(whole: Any, callee: Callee, unfrozen: Any, prefix: str | None) -> _Part:
    function, casts = cut_at_casts(whole) if whole else (unfrozen, {})
    inputs = tuple(describe_input(spec, index in casts) for index, spec in enumerate(callee.inputs))
    if not any(spec.explained for spec in inputs):
        found = layers.gathers(whole, prefix) if whole and prefix is not None else callee.embeddings or ()
        raise not_differentiable(inputs, tuple(found) if whole else ())
    dtypes = [casts.get(index, spec.dtype) for index, spec in enumerate(callee.inputs)]
    return _Part(function, inputs, dtypes, inputs, None)


def _from_layer(whole: Any, callee: Callee, name: str, prefix: str | None) -> _Part:
    if whole is None:
        raise UsageError(
            "E_MODEL_LAYER",
            f"model.layer is {name!r}, but the model cannot be cut: it has a lookup table, or more than"
            f" {freezing.MAX_FROZEN_BYTES:,} bytes of weights; export the part behind the layer, and explain its input",
        )
    division = layers.divide(whole, name, prefix)
    sources = tuple(held_input(spec) for spec in callee.inputs)
    held = tuple(sources[index] for index in division.held)
    value, point = division.value, division.layer.dtype
    column = layers.column_name(name, [spec.name for spec in sources])
    given = ModelInput(column, tuple(value.shape[1:]), np.dtype(value.dtype.as_numpy_dtype), point, explained=True)
    dtypes = [value.dtype, *(callee.inputs[index].dtype for index in division.held)]
    return _Part(division.rest, (given, *held), dtypes, sources, division.layer)
