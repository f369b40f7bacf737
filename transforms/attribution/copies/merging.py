"""From the explanations of a row's copies to that of the row."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from transforms.attribution.baseline_config import count
from transforms.attribution.config import AttributionConfig
from transforms.attribution.explanation import Doubles, Explanation, assess, sum_rows
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
        jittered: the copies are draws of a mean over baselines and places, whose standard error is the estimate.
    """

    def __init__(self, config: AttributionConfig, jittered: bool = False) -> None:
        self._config, self._baselines, self._jittered = config, count(config.baseline), jittered
        self._kind = config.noise.kind if config.noise else "smoothgrad"

    def merged(self, found: Explanation, rows: int) -> Explanation:
        """The explanation of `rows` rows from that of all their copies; a row that lacks one is lost."""
        copies = self._config.copies
        faults = {copy // copies: fault for copy, fault in found.faults.items()}
        kept = np.setdiff1d(np.arange(rows), list(faults))
        found = found.some(np.isin(found.rows // copies, kept))
        grid = _Grid((len(kept), copies // self._baselines, self._baselines, self._config.targets))
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
        """The mean L1 distance of the baselines' attributions from their mean, over its norm, float32."""
        return _over_means(grid, found, _mean_distance).astype(np.float32) if self._baselines > 1 else None

    def _over_noise(self, values: Values) -> Values:
        """[rows, noisy, baselines, targets, *shape] → float32 [rows · targets, *shape]."""
        each = values.mean(axis=2, dtype=np.float64)
        if self._kind == "smoothgrad_squared":
            each = each**2
        over = each.var(axis=1) if self._kind == "vargrad" else each.mean(axis=1)
        merged: Values = over.reshape(-1, *values.shape[4:]).astype(np.float32)
        return merged

    def _estimate(self, grid: _Grid, found: Explanation, merged: Mapping[str, Values]) -> Doubles | None:
        """A bound on the relative error of a mean: its copies' errors add up. For squares, the mean of the copies'.

        Of a mean over draws, its standard error.
        """
        if self._jittered and self._kind == "smoothgrad":
            return _over_means(grid, found, _standard_error)
        if found.error_estimate is None:
            return None
        size = sum_rows({name: np.abs(value) for name, value in found.attributions.items()})
        errors = grid.total(found.error_estimate * size)
        whole = sum_rows({name: np.abs(value) for name, value in merged.items()}) * self._config.copies
        return _share(errors, whole if self._kind == "smoothgrad" else grid.total(size))


def _over_means(grid: _Grid, found: Explanation, spread: Callable[[Doubles], Doubles]) -> Doubles:
    """Σ spread over Σ |mean| of the baselines' attributions, float64 [rows · targets].

    Args:
        spread: of [rows, baselines, targets, features], over the baselines: [rows, targets, features].
    """
    wide, size = list[Doubles](), list[Doubles]()
    for value in found.attributions.values():
        each = grid.of(value.reshape(len(value), -1)).mean(axis=1, dtype=np.float64)
        wide.append(spread(each).sum(axis=2))
        size.append(np.abs(each.mean(axis=1)).sum(axis=2))
    return _share(np.sum(wide, axis=0).reshape(-1), np.sum(size, axis=0).reshape(-1))


def _mean_distance(each: Doubles) -> Doubles:
    found: Doubles = np.abs(each - each.mean(axis=1, keepdims=True)).mean(axis=1)
    return found


def _standard_error(each: Doubles) -> Doubles:
    found: Doubles = each.std(axis=1, ddof=1) / np.sqrt(each.shape[1])
    return found


def _share(part: Doubles, whole: Doubles) -> Doubles:
    with np.errstate(invalid="ignore", divide="ignore"):
        found: Doubles = np.where(part == 0, 0.0, part / whole)
    return found
