"""From the explanations of a row's copies to that of the row."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from transforms.attribution.config import AttributionConfig
from transforms.attribution.explanation import Doubles, Explanation, assess, share, sum_rows
from transforms.attribution.methods import is_complete

Values = npt.NDArray[Any]


@dataclasses.dataclass(frozen=True)
class _Grid:
    """How entries lie: by row, noisy copy, baseline and target."""

    shape: tuple[int, int, int, int]

    def of(self, value: Values) -> Values:
        """[entries, *rest] → [rows, noisy, baselines, targets, *rest]."""
        shaped: Values = value.reshape(*self.shape, *value.shape[1:])
        return shaped

    def mean(self, value: Values) -> Values:
        """Over a row's copies, float32 [rows · targets]."""
        found: Values = self.of(value).mean(axis=(1, 2), dtype=np.float64).reshape(-1).astype(np.float32)
        return found

    def total(self, value: Values) -> Values:
        """Over a row's copies, [rows · targets]."""
        found: Values = self.of(value).sum(axis=(1, 2)).reshape(-1)
        return found

    def first(self, value: Values | None) -> Values | None:
        """What all copies of a row have in common, [rows · targets]."""
        return None if value is None else self.of(value)[:, 0, 0].reshape(-1)


class Merging:
    """Combines copies: the mean over a row's baselines, then what `noise` says over its noisy copies.

    With the mean, completeness holds for the mean outputs, which are what is written; squares and variances have none.

    Args:
        noisy, baselines: how many copies of a row there are for each.
    """

    def __init__(self, config: AttributionConfig, noisy: int, baselines: int) -> None:
        self._config, self._noisy, self._baselines = config, noisy, baselines
        self._kind = config.noise.kind if config.noise and noisy > 1 else "smoothgrad"

    def merged(self, found: Explanation, rows: int) -> Explanation:
        """The explanation of `rows` rows from that of all their copies; a row that lacks one is lost."""
        copies = self._noisy * self._baselines
        faults = {copy // copies: fault for copy, fault in found.faults.items()}
        kept = np.setdiff1d(np.arange(rows), list(faults))
        found = found.some(np.isin(found.rows // copies, kept))
        grid = _Grid((len(kept), self._noisy, self._baselines, self._config.targets))
        attributions = {name: self._over_noise(grid.of(value)) for name, value in found.attributions.items()}
        output, start = grid.mean(found.output), grid.mean(found.baseline_output)
        estimate = self._estimate(grid, found, attributions)
        assessed = assess(attributions, output, start, self._config.tolerance, estimate, is_complete(self._config))
        return dataclasses.replace(
            found,
            rows=np.repeat(kept, self._config.targets),
            attributions=attributions,
            target=grid.first(found.target),
            target_rank=grid.first(found.target_rank),
            predicted=grid.first(found.predicted),
            output=output,
            baseline_output=start,
            delta=assessed.delta,
            relative_delta=assessed.relative_delta,
            error_estimate=estimate,
            steps=grid.total(found.steps).astype(np.int32),
            blind_share=grid.mean(found.blind_share),
            baseline_spread=self._spread(grid, found),
            status=assessed.status,
            faults=faults,
        )

    def _spread(self, grid: _Grid, found: Explanation) -> Values | None:
        """Σ standard deviation of the baselines' attributions, over Σ |mean|, float32."""
        if self._baselines == 1:
            return None if found.baseline_spread is None else grid.mean(found.baseline_spread)
        wide, size = list[Doubles](), list[Doubles]()
        with np.errstate(over="ignore", invalid="ignore"):
            for value in found.attributions.values():
                each = grid.of(value.reshape(len(value), -1)).mean(axis=1, dtype=np.float64)
                wide.append(each.std(axis=1).sum(axis=2))
                size.append(np.abs(each.mean(axis=1)).sum(axis=2))
        return share(np.sum(wide, axis=0), np.sum(size, axis=0)).reshape(-1).astype(np.float32)

    def _over_noise(self, values: Values) -> Values:
        """[rows, noisy, baselines, targets, *shape] → float32 [rows · targets, *shape]."""
        each = values.mean(axis=2, dtype=np.float64)
        if self._kind == "smoothgrad_squared":
            each = each**2
        over = each.var(axis=1) if self._kind == "vargrad" else each.mean(axis=1)
        merged: Values = over.reshape(-1, *values.shape[4:]).astype(np.float32)
        return merged

    def _estimate(self, grid: _Grid, found: Explanation, merged: Mapping[str, Values]) -> Doubles | None:
        """A bound on the relative error of a mean: its copies' errors add up. For squares, the mean of the copies'."""
        if found.error_estimate is None:
            return None
        size = sum_rows({name: np.abs(value) for name, value in found.attributions.items()})
        errors = grid.total(found.error_estimate * size)
        whole = sum_rows({name: np.abs(value) for name, value in merged.items()}) * self._noisy * self._baselines
        return share(errors, whole if self._kind == "smoothgrad" else grid.total(size))
