"""The rows to look at: the worst, the most atypical and the most typical of each slice."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from transforms.auditing.part_columns import RANK
from transforms.auditing.slicing import KEEP, Codes

KINDS = ("worst", "atypical", "typical")
MOST = 5
FIRST = 1024
Doubles = npt.NDArray[np.float64]


class _Entry(NamedTuple):
    """A row in a list; they are ordered by what comes first."""

    slice: int
    kind: int
    descending: float
    source_file: str
    source_row: int
    target_rank: int
    row: int


class NotableRows:
    """The first rows of each kind and slice; of equal scores those that come first in the input.

    Args:
        slices: how many there are.
        most: rows of a kind and slice.
    """

    def __init__(self, slices: int, most: int = MOST) -> None:
        self._most, self._entries = most, list[_Entry]()
        self._rows: pa.Table | None = None
        # the last one is that of no slice
        self._least = np.full((len(KINDS), slices + 1), -np.inf)
        self._least[:, -1] = np.nan

    def add(self, table: pa.Table, scores: Sequence[Doubles], codes: Sequence[Codes]) -> None:
        """Look at a table's rows.

        Args:
            scores: by kind, [rows]; the larger come first; NaN: not in the list.
            codes: by kind of slice, the slice of each row; −1: none.
        """
        # what a few rows reach spares most of the others from being sorted
        first = min(FIRST, len(table)) if self._rows is None else 0
        for some in (slice(0, first), slice(first, len(table))):
            piece = table.slice(some.start, some.stop - some.start)
            self._add(piece, [score[some] for score in scores], [slices[some] for slices in codes])

    def merge(self, other: NotableRows) -> None:
        """Look at what another one looked at."""
        if other._rows is not None:
            self._extend(other._entries, other._rows)

    def table(self, slices: Sequence[tuple[str, str]]) -> pa.Table | None:
        """The rows, in the order of the slices; None without any."""
        if self._rows is None:
            return None
        ranks, seen = [], dict[tuple[int, int], int]()
        for entry in self._entries:
            seen[entry.slice, entry.kind] = seen.get((entry.slice, entry.kind), -1) + 1
            ranks.append(seen[entry.slice, entry.kind])
        about: dict[str, Any] = {
            "slice": [slices[entry.slice][0] for entry in self._entries],
            "value": [slices[entry.slice][1] for entry in self._entries],
            "kind": [KINDS[entry.kind] for entry in self._entries],
            "rank": ranks,
            # the most typical come first by being the nearest
            "score": [entry.descending * (1 if KINDS[entry.kind] == "typical" else -1) for entry in self._entries],
        }
        rows = self._rows.take(pa.array([entry.row for entry in self._entries]))
        # what was kept may be called as one of ours
        return pa.table(about | {KEEP + name if name in about else name: rows[name] for name in rows.column_names})

    def _add(self, table: pa.Table, scores: Sequence[Doubles], codes: Sequence[Codes]) -> None:
        found = [
            (kind, slices[row], row)
            for kind, score in enumerate(scores)
            for slices in codes
            for row in self._candidates(kind, score, slices)
        ]
        if not found or not self._most:
            return
        chosen = np.unique([row for _, _, row in found])
        place = {int(row): number for number, row in enumerate(chosen)}
        rows = plain(table.take(pa.array(chosen)))
        files, numbers = rows["source_file"].to_pylist(), rows["source_row"].to_pylist()
        ranks = rows[RANK].to_pylist() if RANK in rows.column_names else [0] * len(rows)
        entries = []
        for kind, of, row in found:
            at = place[int(row)]
            entries.append(_Entry(int(of), kind, -float(scores[kind][row]), files[at], numbers[at], ranks[at], at))
        self._extend(entries, rows)

    def _candidates(self, kind: int, score: Doubles, slices: Codes) -> Codes:
        """The rows that may be among the first of their slice."""
        near = np.flatnonzero(score >= self._least[kind].take(slices))
        order = near[np.lexsort((near, -score[near], slices[near]))]
        starts = np.flatnonzero(np.diff(slices[order], prepend=-1))
        rank = np.arange(len(order)) - np.repeat(starts, np.diff(starts, append=len(order)))
        return np.asarray(order[rank < self._most])

    def _extend(self, entries: Sequence[_Entry], rows: pa.Table) -> None:
        offset = 0 if self._rows is None else len(self._rows)
        together = rows if self._rows is None else pa.concat_tables([self._rows, rows])
        moved = [entry._replace(row=entry.row + offset) for entry in entries]
        kept, counts = [], dict[tuple[int, int], int]()
        for entry in sorted([*self._entries, *moved]):
            key = entry.slice, entry.kind
            counts[key] = counts.get(key, 0) + 1
            if counts[key] <= self._most:
                kept.append(entry)
                if counts[key] == self._most:
                    self._least[entry.kind, entry.slice] = -entry.descending
        used = sorted({entry.row for entry in kept})
        place = {row: number for number, row in enumerate(used)}
        self._rows = together.take(pa.array(used, pa.int64())).combine_chunks()
        self._entries = [entry._replace(row=place[entry.row]) for entry in kept]


def plain(table: pa.Table) -> pa.Table:
    """The same with tensors as lists, and words instead of their numbers."""
    columns = {}
    for name in table.column_names:
        column = table[name]
        kind = column.type
        if isinstance(kind, pa.FixedShapeTensorType):
            chunks = [chunk.storage.cast(pa.list_(kind.value_type)) for chunk in column.chunks]
            column = pa.chunked_array(chunks, pa.list_(kind.value_type))
        elif pa.types.is_dictionary(kind):
            column = column.cast(kind.value_type)
        columns[name] = column
    return pa.table(columns)
