"""SmoothTaylor with the noise that suits each row: the σ with which a measure of its map is the smallest.

The search begins at σ = mean |x| and tries a step up, then one down; where neither is better, the step gets shorter.
Every σ is tried with the same noise, scaled: the search is deterministic. Source: Goh et al., "Understanding Integrated
Gradients with SmoothTaylor for Deep Neural Network Attribution", ICPR 2020.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from transforms.attribution.batch import Batch
from transforms.attribution.explanation import Explanation, joined, of_batch

Values = npt.NDArray[Any]
Doubles = npt.NDArray[np.float64]
Rows = npt.NDArray[np.int64]
Measure = Callable[[Batch, Explanation], Doubles]
ROUNDS, STEP, DECAY = 20, 0.1, 0.9
# The published search shortens its step after so many failures. With the same noise they would all be alike: one is
# computed, and counts for all.
FAILURES = 3


@dataclasses.dataclass(frozen=True)
class AdaptiveNoise:
    """Explains every row with the best σ that was found for it, with all the gradients that this took.

    Args:
        run: explains batches whose `sigma` is set.
        measure: of the rows of a batch and their explanation, in its order: the smaller the better.
        name: of the input.
    """

    run: Callable[[Iterable[Batch]], Iterator[Explanation]]
    measure: Measure
    name: str

    def stream(self, batches: Iterable[Batch]) -> Iterator[Explanation]:
        """Explain every batch, in order."""
        for batch in batches:
            ids = batch.row_ids or [str(row) for row in range(len(batch))]
            yield self._search(dataclasses.replace(batch, row_ids=ids))

    def _search(self, batch: Batch) -> Explanation:
        values = batch.inputs[self.name].reshape(len(batch), -1)
        start = np.maximum(np.abs(values).mean(axis=1, dtype=np.float64), np.finfo(np.float32).tiny)
        best = _Best(len(batch))
        self._tried(batch, np.arange(len(batch)), start, best)
        step, left = np.full(len(batch), STEP), np.full(len(batch), ROUNDS)
        while (rows := np.setdiff1d(np.flatnonzero(left > 0), best.lost)).size:
            better = self._tried(batch, rows, best.sigma + step, best)
            worse = rows[~better[rows]]
            down = worse[best.sigma[worse] > step[worse]]
            failed = worse[~self._tried(batch, down, best.sigma - step, best)[worse]]
            left[rows] -= 1
            left[failed] -= FAILURES - 1
            step[failed] *= DECAY
        return best.explanation()

    def _tried(self, batch: Batch, rows: Rows, sigma: Doubles, best: _Best) -> npt.NDArray[np.bool_]:
        """Explain these rows with `sigma`, [all rows], and keep what is better; whether it is, [all rows]."""
        better = np.zeros(len(batch), dtype=bool)
        if len(rows):
            part = dataclasses.replace(batch.some(rows), sigma=sigma[rows])
            (found,) = self.run([part])
            better[rows[found.rows]] = best.take(rows, found, sigma, self.measure(part, found))
            best.lost = np.union1d(best.lost, rows[list(found.faults)])
        return better


class _Best:
    """Of each row, the best explanation so far, its σ and measure, and the gradients spent on all of them.

    Attributes:
        lost: rows that could not be explained.
    """

    def __init__(self, rows: int) -> None:
        self.sigma, self._measure = np.zeros(rows), np.full(rows, np.inf)
        self._found: list[Explanation | None] = [None] * rows
        self._spent, self.lost = np.zeros(rows, np.int64), np.zeros(0, np.int64)
        self._faults: dict[int, Any] = {}
        self._none: Explanation | None = None

    def take(self, rows: Rows, found: Explanation, sigma: Doubles, measured: Doubles) -> npt.NDArray[np.bool_]:
        """Keep those of the rows that are better, and the first of each; whether they are, [entries of found]."""
        where, self._none = rows[found.rows], found.some(np.zeros(0, np.int64))
        self._spent[where] += found.steps
        self._faults |= {int(rows[row]): fault for row, fault in found.faults.items()}
        first = np.array([self._found[row] is None for row in where], dtype=bool)
        # a flat map has no measure: anything is better
        better = first | (np.nan_to_num(measured, nan=np.inf) < self._measure[where])
        for entry in np.flatnonzero(better):
            row = int(where[entry])
            self._found[row] = of_batch(found.some(np.array([entry])), rows)
            self.sigma[row] = sigma[row]
            self._measure[row] = np.nan_to_num(measured[entry], nan=np.inf)
        return better

    def explanation(self) -> Explanation:
        """All rows."""
        kept = [found for row, found in enumerate(self._found) if found is not None and row not in self.lost]
        spent = [dataclasses.replace(found, steps=self._spent[found.rows].astype(np.int32)) for found in kept]
        assert self._none is not None
        return dataclasses.replace(joined([self._none, *spent]), faults=self._faults)
