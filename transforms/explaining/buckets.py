"""Rows of different lengths in buckets of one: filled up, explained together, and put back into their order."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from transforms.attribution.baseline_config import BlurBaseline, ConstantBaseline, draws
from transforms.attribution.baselines import given as baselines
from transforms.attribution.batch import Batch
from transforms.attribution.config import AttributionConfig
from transforms.attribution.method_config import SmoothTaylor
from transforms.attribution.model.model_input import Described
from transforms.errors import UsageError
from transforms.records.examples import Examples, Layout
from transforms.records.feature import Feature, Varying
from transforms.records.ragged import Lengths, Ragged, padded_length

if TYPE_CHECKING:
    from transforms.attribution.explainer import Explainer

Values = npt.NDArray[Any]


@dataclasses.dataclass(frozen=True)
class Bucket:
    """Rows that can be explained together, as they were read and as they are fed."""

    examples: Examples
    batch: Batch


def buckets(examples: Examples, layout: Layout) -> list[Bucket]:
    """The rows by the length that they are filled up to, shortest first; all together where no length varies.

    One length a row, that of its longest input: a token's mask stays beside it, and lengths do not multiply.
    """
    varying = {feature.name: feature.varying for feature in layout.inputs if feature.varying}
    if not varying:
        return [Bucket(examples, _batch(examples, 0, varying))] if len(examples) else []
    longest = np.max([_ragged(examples.inputs[name]).lengths for name in varying], axis=0)
    lengths = padded_length(longest, max(axis.most for axis in varying.values()))
    parts = [(int(length), examples.some(np.flatnonzero(lengths == length))) for length in np.unique(lengths)]
    return [Bucket(part, _batch(part, length, varying)) for length, part in parts]


def usual_shapes(layout: Layout) -> list[tuple[int, ...]]:
    """Of the inputs as they are fed, one example, at the usual length where that varies."""
    return [_usual_shape(feature, layout) for feature in layout.inputs]


def _usual_shape(feature: Feature, layout: Layout) -> tuple[int, ...]:
    if feature.varying is None:
        return feature.shape
    usual = np.array([layout.lengths.get(feature.name, 1)])
    return (feature.varying.whole or int(padded_length(usual, feature.varying.most)[0]), *feature.shape)


def explained_shapes(layout: Layout, explainer: Explainer) -> dict[str, tuple[int | None, ...]]:
    """Of what is explained, by name, None for the length of a row."""
    return with_open_lengths(layout, explainer.model, explainer.explained_shapes(usual_shapes(layout)))


def shapes_told(layout: Layout, model: Described) -> dict[str, tuple[int | None, ...]] | None:
    """The same of a model that is not loaded; None where its files do not tell."""
    if model.explained is None:
        return None
    names = [feature.name for feature in layout.inputs]
    fed = dict(zip(names, usual_shapes(layout), strict=True))
    sizes = {spec.name: fed.get(spec.name, tuple(size or 0 for size in spec.shape)) for spec in model.explained}
    found = with_open_lengths(layout, model, sizes)
    return None if any(0 in shape for shape in found.values()) else found


def with_open_lengths(
    layout: Layout, model: Described, shapes: Mapping[str, tuple[int, ...]]
) -> dict[str, tuple[int | None, ...]]:
    """The shapes of what is explained, with None for the length of a row.

    That of a layer is one if the model leaves it open, or has the same for it as for an input whose rows vary.
    """
    varying = {feature.name for feature in layout.inputs if feature.varying}
    fed = {feature.name for feature in layout.inputs}
    axes = {spec.shape[:1] for spec in model.sources if spec.name in varying}
    found = dict[str, tuple[int | None, ...]]()
    for spec in model.explained or ():
        shape = shapes[spec.name]
        open_ended = spec.name in varying if spec.name in fed else bool(shape) and spec.shape[:1] in axes
        found[spec.name] = (None, *shape[1:]) if open_ended else shape
    return found


def usual_lengths(examples: Examples) -> dict[str, int]:
    """Of inputs whose length varies, the mean over some rows, rounded up."""
    ragged = {name: value for name, value in examples.inputs.items() if isinstance(value, Ragged)}
    return {name: int(np.ceil(value.lengths.mean())) if len(value) else 1 for name, value in ragged.items()}


def usual_steps(layout: Layout, explained: Iterable[str]) -> dict[str, int]:
    """The usual length of what is explained, by name, where that varies: a layer's is that of the longest input."""
    longest = max(layout.lengths.values(), default=1)
    return {name: layout.lengths.get(name, longest) for name in explained}


def in_order(parts: Sequence[pa.RecordBatch]) -> pa.RecordBatch:
    """The output rows of several buckets as one batch, in the order of the input."""
    if len(parts) == 1:
        return parts[0]
    whole = pa.Table.from_batches(parts).combine_chunks().to_batches()[0]
    return whole.take(pa.array(np.argsort(whole["source_row"].to_numpy(), kind="stable")))


def check_attribution(layout: Layout, config: AttributionConfig, model: Described) -> None:
    """Refuse a baseline or a noise that has no meaning for rows of any length, of what is known to be explained.

    Raises:
        UsageError: E_BASELINE_SHAPE for a constant that does not broadcast to one step, E_BASELINE_INPUT for a blur,
            E_ADAPTIVE_NOISE.
    """
    varying = {feature.name: feature for feature in layout.inputs if feature.varying}
    if varying and isinstance(config.method, SmoothTaylor) and config.method.adaptive_noise:
        raise UsageError(
            "E_ADAPTIVE_NOISE",
            f"adaptive_noise looks at images, but rows of {sorted(varying)} have lengths of their own; leave it out",
        )
    for spec in model.explained or ():
        for one, _ in draws(config.baseline_of(spec.name)) if spec.name in varying else ():
            if isinstance(one, BlurBaseline):
                found = f"the baseline of {spec.name!r} is a blur, which would mix rows of varying length with padding"
                raise UsageError("E_BASELINE_INPUT", f"{found}; choose another")
            if isinstance(one, ConstantBaseline):
                baselines.constant(one, spec, (1, *varying[spec.name].shape))


def _batch(examples: Examples, length: int, varying: Mapping[str, Varying]) -> Batch:
    lengths: dict[str, Lengths] = {name: _ragged(examples.inputs[name]).lengths for name in varying}

    def padded(values: Mapping[str, Values | Ragged]) -> dict[str, Values]:
        return {
            name: value.padded(_fed(length, varying[name]), varying[name].pad) if isinstance(value, Ragged) else value
            for name, value in values.items()
        }

    inputs, starts = padded(examples.inputs), padded(examples.baselines)
    return Batch(inputs, examples.labels, starts, row_ids=examples.row_ids, lengths=lengths)


def _fed(length: int, axis: Varying) -> int:
    return axis.whole or min(length, axis.most)


def _ragged(value: Values | Ragged) -> Ragged:
    assert isinstance(value, Ragged)
    return value
