"""Rows that are filled up to one length: what is beyond their own is no part of what is explained.

Padding has the same value at both ends of a path, so that nothing is attributed to it, and a model that masks it sees
the same mask at every point. What fell on it all the same (of a method that multiplies with something else) is dropped,
and is then part of delta.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from transforms.attribution.batch import Batch
from transforms.attribution.config import AttributionConfig
from transforms.attribution.explanation import Explanation, assess
from transforms.attribution.methods import is_complete
from transforms.attribution.model.model import Model
from transforms.attribution.model.model_input import ModelInput

Values = npt.NDArray[Any]
Lengths = npt.NDArray[np.int64]


def own_lengths(batch: Batch, sources: Sequence[ModelInput], spec: ModelInput, axis: int) -> Lengths | None:
    """Of the rows of an explained tensor, int64 [rows]; None where they are not filled up.

    An input has those that it came with. Any other tensor follows the inputs that have its padded length, if the model
    leaves the first axis of both open, or of neither: an embedding has a step for each token.

    Args:
        sources: the model's own inputs.
        spec: the explained tensor.
        axis: its padded length.
    """
    if spec.name in batch.inputs:
        return batch.lengths.get(spec.name)
    followed = [
        batch.lengths[source.name]
        for source in sources
        if source.name in batch.lengths
        and source.shape[:1] == spec.shape[:1]
        and batch.inputs[source.name].shape[1] == axis
    ]
    return np.max(followed, axis=0) if followed else None


def at_layer(batch: Batch, model: Model, value: Values) -> dict[str, Lengths]:
    """The lengths of a batch whose first explained tensor is a layer's value, [rows, *shape], by name."""
    (spec, *_), lengths = model.explained, dict(batch.lengths)
    own = _lengths(batch, model, spec, value)
    return lengths if own is None else lengths | {spec.name: own}


def held(batch: Batch, model: Model, values: Sequence[Values], starts: list[Values]) -> list[Values]:
    """The baselines with padding as it is in the rows, [rows | 1, *shape] for each explained tensor.

    Args:
        values: the explained tensors, [rows, *shape].
        starts: their baselines, [rows | 1, *shape].
    """
    if not batch.lengths:
        return starts
    triples = zip(model.explained, values, starts, strict=True)
    return [_held(value, start, _lengths(batch, model, spec, value)) for spec, value, start in triples]


def restored(values: Values, rows: Values, lengths: Lengths | None) -> Values:
    """Values of the shape of rows, [rows, *shape], or several for each, [rows, draws, *shape], with their padding."""
    if lengths is None:
        return values
    mask = beyond(lengths, rows.shape)
    return np.where(mask, rows, values) if values.ndim == rows.ndim else np.where(mask[:, None], rows[:, None], values)


def beyond(lengths: Lengths, shape: Sequence[int]) -> npt.NDArray[np.bool_]:
    """Which steps of values of the shape [rows, steps, *rest] are padding, bool [rows, steps, 1, …]."""
    mask = np.arange(shape[1]) >= lengths[:, np.newaxis]
    return mask.reshape(*mask.shape, *(1 for _ in shape[2:]))


def cropped(found: Explanation, batch: Batch, model: Model, config: AttributionConfig) -> Explanation:
    """The explanation of a batch without its padding: 0 there, and delta, status and `blind_share` of what is left."""
    all_lengths = {spec.name: _lengths(batch, model, spec, found.attributions[spec.name]) for spec in model.explained}
    lengths = {name: value[found.rows] for name, value in all_lengths.items() if value is not None}
    if not lengths:
        return found
    values = {name: _without_padding(value, lengths.get(name)) for name, value in found.attributions.items()}
    # with a fixed number of steps, a lower precision has estimates for some rows only
    estimate = found.error_estimate
    known = estimate if estimate is None or config.steps == "auto" else np.nan_to_num(estimate, nan=0.0, posinf=np.inf)
    assessed = assess(values, found.output, found.baseline_output, config.tolerance, known, is_complete(config))
    return dataclasses.replace(
        found,
        attributions=values,
        delta=assessed.delta,
        relative_delta=assessed.relative_delta,
        status=assessed.status,
        blind_share=_blind_share(found, lengths, config.copies),
        lengths=lengths,
    )


def _lengths(batch: Batch, model: Model, spec: ModelInput, value: Values) -> Lengths | None:
    return own_lengths(batch, model.sources, spec, value.shape[1]) if value.ndim > 1 else None


def _held(value: Values, start: Values, lengths: Lengths | None) -> Values:
    if lengths is None:
        return start
    # one baseline for all rows stays one where that makes no difference
    same = np.all((value == start) | ~beyond(lengths, value.shape))
    return start if same else restored(np.broadcast_to(start, value.shape), value, lengths)


def _without_padding(values: Values, lengths: Lengths | None) -> Values:
    return values if lengths is None else np.where(beyond(lengths, values.shape), np.float32(0), values)


def _blind_share(found: Explanation, lengths: dict[str, Lengths], copies: int) -> Values:
    """Of the rows' own features: those of the padding equal their baseline, all of them."""
    sizes = {name: int(np.prod(value.shape[1:])) for name, value in found.attributions.items()}
    steps = {name: found.attributions[name].shape[1] for name in lengths}
    padding = sum((steps[name] - own) * (sizes[name] // steps[name]) for name, own in lengths.items())
    features = sum(sizes.values())
    blind = np.rint(found.blind_share.astype(np.float64) * features * copies) / copies
    return np.asarray((blind - padding) / (features - padding), np.float32)
