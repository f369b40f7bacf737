"""Batches of a model's own inputs become batches of a layer's values, and of the inputs that lead past it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from transforms.attribution.baseline_config import InputBaseline
from transforms.attribution.batch import Batch
from transforms.attribution.config import AttributionConfig
from transforms.attribution.engine import padding
from transforms.attribution.engine.compute import Compute
from transforms.attribution.engine.kernel import Shape
from transforms.attribution.engine.refusals import check_shared
from transforms.attribution.explanation import Faults
from transforms.attribution.model.model import Model
from transforms.attribution.model.model_input import ModelInput
from transforms.errors import UsageError, quoted

Values = npt.NDArray[Any]
# Enough to see whether the first axis of a layer is that of the rows
TRIED_ROWS = 3


class LayerSource:
    """What leads up to `model.inputs`; without a layer they are the model's own.

    Args:
        compute: by the shapes of `model.inputs`, what computes.

    Raises:
        UsageError: E_BASELINE_SHAPE, E_BASELINE_DTYPE when an input's value does not fit the inputs of fixed shape.
    """

    def __init__(self, model: Model, config: AttributionConfig, compute: Callable[[Sequence[Shape]], Compute]) -> None:
        self._model, self._compute = model, compute
        self._known: dict[tuple[Shape, ...], list[Shape]] = {}
        baseline = config.baseline_of(model.explained[0].name) if model.layer else None
        self._start = baseline.input if isinstance(baseline, InputBaseline) else None
        if self._start is not None:
            for spec in self._read:
                if None not in spec.shape:
                    _filled(self._start, spec, tuple(size or 0 for size in spec.shape))

    def shapes(self, sources: Sequence[Shape]) -> list[Shape]:
        """Of `model.inputs`, where the model's own inputs have these shapes.

        Raises:
            UsageError: E_MODEL_LAYER when the layer's first axis is not that of the rows.
        """
        layer, key = self._model.layer, tuple(sources)
        if layer is None:
            return list(sources)
        if key not in self._known:
            rows, specs = self._model.batch or TRIED_ROWS, self._model.sources
            blank = [np.zeros((rows, *shape), spec.dtype) for spec, shape in zip(specs, sources, strict=True)]
            named = {spec.name: shape for spec, shape in zip(specs, sources, strict=True)}
            held = [named[spec.name] for spec in self._held]
            self._known[key] = [layer.values(blank).shape[1:], *held]
        return self._known[key]

    def stream(self, batches: Iterable[Batch]) -> Iterator[Batch]:
        """Every batch, at the layer."""
        return iter(batches) if self._model.layer is None else map(self._at_layer, batches)

    @property
    def _held(self) -> Sequence[ModelInput]:
        return [spec for spec in self._model.inputs if not spec.explained]

    @property
    def _read(self) -> Sequence[ModelInput]:
        """The model's own inputs that the layer is computed from."""
        reads = self._model.layer.reads if self._model.layer else ()
        return [spec for index, spec in enumerate(self._model.sources) if index in reads]

    def _at_layer(self, batch: Batch) -> Batch:
        name = self._model.explained[0].name
        value, faults = self._project(batch.inputs)
        inputs = {name: value, **{spec.name: batch.inputs[spec.name] for spec in self._held}}
        lengths = padding.at_layer(batch, self._model, value)
        at_layer = dataclasses.replace(batch, inputs=inputs, faults=faults, lengths=lengths)
        if self._start is None or batch.baselines:
            return at_layer
        first = {spec.name: batch.inputs[spec.name][:1] for spec in self._model.sources}
        first |= {spec.name: _filled(self._start, spec, first[spec.name].shape[1:]) for spec in self._read}
        start, refused = self._project(first)
        check_shared(refused)
        held = {spec.name: first[spec.name] for spec in self._held if spec in self._read}
        return dataclasses.replace(at_layer, baselines={name: start}, held_starts=held)

    def _project(self, named: Mapping[str, Values]) -> tuple[Values, Faults]:
        """The layer's value, and why it is not known of some rows."""
        layer = self._model.layer
        assert layer is not None
        sources = [named[spec.name].astype(spec.dtype, copy=False) for spec in self._model.sources]
        shapes = self.shapes([value.shape[1:] for value in sources])
        return self._compute(shapes).project(layer, sources, shapes[0])


def _filled(value: float | list[Any], spec: ModelInput, shape: Shape) -> Values:
    """An input of one row, [1, *shape], that is `value` everywhere, or a list of values."""
    try:
        given = np.asarray(value, np.float64)
    except (TypeError, ValueError) as error:
        raise _not_of_its_kind(value, spec) from error
    array = given.astype(spec.dtype)
    if not np.issubdtype(spec.dtype, np.floating) and not np.array_equal(array, given):
        raise _not_of_its_kind(value, spec)
    try:
        return np.broadcast_to(array, (1, *shape))
    except ValueError as error:
        raise UsageError(
            "E_BASELINE_SHAPE",
            f"the baseline's input has the shape {array.shape}, which does not broadcast to {list(shape)} of"
            f" {spec.name!r}; give one number",
        ) from error


def _not_of_its_kind(value: Any, spec: ModelInput) -> UsageError:
    return UsageError(
        "E_BASELINE_DTYPE", f"the baseline is at the input {quoted(value)}, but {spec.name!r} is {spec.dtype}"
    )
