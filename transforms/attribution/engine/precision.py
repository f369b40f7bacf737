"""A lower precision on trial: rows keep what it gives where its rounding fits into the tolerance.

The difference of two levels does not see rounding that both share. So the rounding itself is measured, on the first
nodes of the path: the distance between the attributions there in the lower precision and in float32. F(x), F(x′) and
with them delta are always float32.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np
import numpy.typing as npt

from transforms.attribution.batch import Batch
from transforms.attribution.config import FIRST_LEVELS, AttributionConfig
from transforms.attribution.explanation import Doubles, Explanation, joined, of_batch, share, sum_rows
from transforms.attribution.methods.rules import Level, levels

Rows = npt.NDArray[np.int64]

# Batches go through the stages together, so that the ragged last call of each stage is one of several batches: at most
# so many, and no more once they have so many rows. They and their explanations are in memory.
WINDOW_BATCHES, WINDOW_ROWS = 4, 1024
# With `steps: auto`, the share of the tolerance that rounding may take. The rest must be reached by nodes: twice as
# many where half of it is left, and rounding falls with them no more.
AUTO_SHARE = 0.5


@dataclasses.dataclass(frozen=True)
class Course:
    """How rows are explained: level by level, with gradients of the lower precision or in float32."""

    levels: tuple[Level, ...]
    lower: bool


Run = Callable[[Iterable[Batch], Course], Iterator[Explanation]]
PROBE = levels(AttributionConfig(max_steps=FIRST_LEVELS[-1]))


class Trial:
    """Explains batches in the lower precision, and again in float32 the rows for which that is not good enough.

    Args:
        run: explains batches on a course, one after another.
    """

    def __init__(self, run: Run, config: AttributionConfig) -> None:
        self._run, self._targets = run, config.targets
        self._lower, self._full = (Course(levels(config), lower) for lower in (True, False))
        self._auto = config.steps == "auto"
        self._most_rounding = config.tolerance * (AUTO_SHARE if self._auto else 1)

    def stream(self, batches: Iterable[Batch]) -> Iterator[Explanation]:
        """Explain every batch, in order."""
        for window in _windows(batches):
            yield from self._explain(window)

    def _explain(self, window: Sequence[Batch]) -> Iterator[Explanation]:
        exact = list(self._run(window, Course(PROBE, lower=False)))
        everything = [np.arange(len(batch)) for batch in window]
        # with `steps: auto`, these nodes are the first ones in float32 too: some rows need no more
        left = list(map(self._unless_ok, everything, exact)) if self._auto else everything
        probed = self._some(window, left, Course(PROBE, lower=True))
        measured = list(map(self._rounding, window, probed, exact))
        tried = [np.flatnonzero((value <= self._most_rounding).all(axis=1)) for value in measured]
        known = [dataclasses.replace(batch, rounding=value) for batch, value in zip(window, measured, strict=True)]
        lower = self._some(known, tried, self._lower)
        again = list(map(self._unless_ok, left, lower))
        full = self._some(window, again, self._full)
        for index, batch in enumerate(window):
            gone_on = (left[index], left[index], again[index], again[index][:0])
            stages = (exact[index], probed[index], lower[index], full[index])
            yield _together(len(batch), zip(stages, gone_on, strict=True))

    def _some(self, window: Sequence[Batch], chosen: Sequence[Rows], course: Course) -> list[Explanation | None]:
        """Explain the chosen rows of each batch; None where there are none."""
        parts = [batch.some(rows) for batch, rows in zip(window, chosen, strict=True) if len(rows)]
        found = iter(list(self._run(parts, course)))
        return [of_batch(next(found), rows) if len(rows) else None for rows in chosen]

    def _rounding(self, batch: Batch, lower: Explanation | None, exact: Explanation) -> Doubles:
        """Of a batch, [rows, targets]; infinite where it could not be measured."""
        found = np.full((len(batch), self._targets), np.inf)
        if lower is not None:
            both = np.intersect1d(lower.rows, exact.rows)  # a row may be lost, for lack of memory
            lower, exact = (part.some(np.isin(part.rows, both)) for part in (lower, exact))
            found[both] = rounding(lower, exact).reshape(-1, self._targets)
        return found

    def _unless_ok(self, rows: Rows, found: Explanation | None) -> Rows:
        """Of these rows, all but those that are `ok` for every target."""
        if found is None:
            return rows
        ok = (found.status == "ok").reshape(-1, self._targets).all(axis=1)
        return np.setdiff1d(rows, found.rows[:: self._targets][ok])


def _together(rows: int, stages: Iterable[tuple[Explanation | None, Rows]]) -> Explanation:
    """Each row from its last stage, with all gradients that were spent on it.

    Args:
        stages: what each stage gave, and which rows went on from it.
    """
    parts, spent = list[Explanation](), np.zeros(rows, np.int32)
    for found, left in stages:
        if found is not None:
            spent[found.rows] += found.steps
            ended = found.some(~np.isin(found.rows, left))
            # beside the rows that kept the lower precision, a fixed rule has no estimate
            estimate = np.full(len(ended), np.nan) if ended.error_estimate is None else ended.error_estimate
            faults = found.faults if not len(left) else {}
            parts.append(dataclasses.replace(ended, steps=spent[ended.rows], error_estimate=estimate, faults=faults))
    return joined(parts)


def rounding(lower: Explanation, full: Explanation) -> Doubles:
    """Σ |difference| over Σ |attribution in float32| of the same entries, float64 [n]; NaN where one is not finite."""
    with np.errstate(invalid="ignore", over="ignore"):
        apart = {name: np.abs(lower.attributions[name] - value) for name, value in full.attributions.items()}
        difference = sum_rows(apart)
        size = sum_rows({name: np.abs(value) for name, value in full.attributions.items()})
    return share(difference, size)


def _windows(batches: Iterable[Batch]) -> Iterator[list[Batch]]:
    window = list[Batch]()
    for batch in batches:
        window.append(batch)
        if len(window) == WINDOW_BATCHES or sum(map(len, window)) >= WINDOW_ROWS:
            yield window
            window = []
    if window:
        yield window
