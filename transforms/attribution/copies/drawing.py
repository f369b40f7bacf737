"""What is drawn for rows: noisy copies of them, and their baselines. By the seed and a row's id alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from transforms.attribution.baseline_config import (
    ColumnBaseline,
    InputBaseline,
    OneBaseline,
    SamplesBaseline,
    count,
    draws,
)
from transforms.attribution.baselines.given import given_baseline
from transforms.attribution.baselines.references import References
from transforms.attribution.baselines.row_baselines import RowBaseline, around, draw_rows, generator, row_baselines
from transforms.attribution.batch import Batch
from transforms.attribution.config import AttributionConfig
from transforms.attribution.engine.padding import restored
from transforms.attribution.model.model_input import ModelInput
from transforms.errors import UsageError

Values = npt.NDArray[Any]
Rows = npt.NDArray[np.int64]


class Drawing:
    """Draws for the rows of batches that have ids.

    Args:
        references: what baselines take of a dataset.
    """

    def __init__(self, config: AttributionConfig, references: References) -> None:
        self._config, self._references, self._count = config, references, count(config.baseline)
        self._noisy = config.noise.draws if config.noise else 1

    def noisy(self, part: Batch, spec: ModelInput) -> Values:
        """An input, [rows, noisy copies, *shape]; what is not explained has no noise."""
        values, noise = part.inputs[spec.name], self._config.noise
        if noise is None or not spec.explained:
            return np.broadcast_to(values[:, np.newaxis], (len(values), self._noisy, *values.shape[1:]))
        numbers = (generator(self._config.seed, "noise", spec.name, name) for name in part.row_ids or ())
        sigma = np.full(len(values), noise.sigma, np.float32)
        rows = values.astype(spec.point_dtype, copy=False)
        found = around(rows, sigma, noise.draws, numbers, pairs=noise.kind == "smoothgrad")
        return restored(found, values, part.lengths.get(spec.name))

    def baselines(self, part: Batch, spec: ModelInput, noisy: Values) -> Values:
        """Of every noisy copy of every row, [rows, noisy copies, baselines, *shape]; some are made from the copy."""
        copies, listed = noisy.shape[1], self._config.baseline_of(spec.name)
        rows = noisy.reshape(-1, *noisy.shape[2:]).astype(spec.point_dtype, copy=False)
        singles = [one for one, draw in draws(listed) if draw == 0]
        if spec.name in part.baselines and not any(isinstance(one, ColumnBaseline) for one in singles):
            found = [_given(part, spec, rows)]
        else:
            found = [self._single(one, place, part, spec, rows) for place, one in enumerate(singles)]
        shape = rows.shape[1:]
        each = [np.broadcast_to(value, (len(rows), value.shape[1], *shape)) for value in found]
        together = each[0] if len(each) == 1 else np.concatenate(each, axis=1)
        wide = np.broadcast_to(together, (len(rows), self._count, *shape))
        return wide.reshape(len(part), copies, self._count, *shape)

    def places(self, part: Batch) -> npt.NDArray[np.float64]:
        """α between the row and each baseline, [rows, baselines]: one in each of as many equal parts of the path."""
        numbers = [generator(self._config.seed, "alpha", name) for name in part.row_ids or ()]
        count = self._count
        return np.stack([(one.permutation(count) + one.uniform(size=count)) / count for one in numbers])

    def samples(self, part: Batch, explained: Sequence[ModelInput], copies: int) -> Rows | None:
        """Which rows of the pool the baselines are, [rows · copies, baselines]; None where they are not just that."""
        one = self._config.baseline_of(explained[0].name)
        alone = all(self._config.baseline_of(spec.name) == one for spec in explained)
        if not isinstance(one, SamplesBaseline) or not alone or part.baselines or part.lengths:
            return None
        names, pool = _joint_names(0, part, copies), self._references.pool(explained[0])
        return draw_rows(len(pool), one.samples, self._config.seed, names)

    def _single(
        self, one: OneBaseline | InputBaseline, place: int, part: Batch, spec: ModelInput, noisy: Values
    ) -> Values:
        """All draws of one baseline, [rows · noisy copies | 1, draws, *shape]."""
        shape, copies = noisy.shape[1:], len(noisy) // len(part)
        if isinstance(one, (ColumnBaseline, InputBaseline)):
            if spec.name not in part.baselines:
                raise UsageError("E_BASELINE_MISSING", f"the baseline of {spec.name!r} is a column; give its values")
            return _given(part, spec, noisy)
        names = [(copy,) for copy in range(copies)] if copies > 1 else [()]
        if isinstance(one, SamplesBaseline):
            return self._references.samples(one, spec, self._config.seed, _joint_names(place, part, copies))
        if isinstance(one, RowBaseline):
            own = [("baseline", place, spec.name, name, *copy) for name in part.row_ids or () for copy in names]
            sigma = None if part.sigma is None else np.repeat(part.sigma, copies)
            return row_baselines(one, noisy, self._config.seed, own, sigma)
        return self._references.shared(one, spec, shape)[np.newaxis, np.newaxis]


def _joint_names(place: int, part: Batch, copies: int) -> list[tuple[object, ...]]:
    """What samples of each copy depend on: the same for all inputs."""
    each = [(copy,) for copy in range(copies)] if copies > 1 else [()]
    return [("samples", place, name, *copy) for name in part.row_ids or () for copy in each]


def _given(part: Batch, spec: ModelInput, noisy: Values) -> Values:
    """[rows · noisy copies | 1, 1, *shape]."""
    given = given_baseline(part.baselines[spec.name], spec, len(part), noisy.shape[1:])[:, np.newaxis]
    return np.repeat(given, len(noisy) // len(part), axis=0) if len(given) > 1 else given
