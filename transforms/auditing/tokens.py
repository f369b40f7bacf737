"""What the attributions of tokens are, wherever in a row they stand; by slice."""

from __future__ import annotations

import dataclasses
from collections import Counter

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from transforms.auditing.grouping import Grouping
from transforms.auditing.moments import sample_variance
from transforms.auditing.part_columns import MapColumn, lengths, whole
from transforms.auditing.slicing import NULL, OTHER, natural
from transforms.records.columns import ATTRIBUTION

# Tokens that a slice has at most, and that are counted while the most frequent ones are looked for.
MOST, COUNTED = 100_000, 400_000
STRONGEST = 5
Doubles = npt.NDArray[np.float64]
Codes = npt.NDArray[np.int64]


class WordCounts:
    """How often each token occurs; of very many, the most frequent ones, with what was lost.

    Attributes:
        lost: how often a token that is not counted can have occurred, at most.
        aligned: whether every row has as many tokens as its map has steps.
    """

    def __init__(self, counted: int = COUNTED) -> None:
        self._counted, self.counts = counted, Counter[str]()
        self.lost, self.aligned = 0, True

    def add(self, table: pa.Table, words: str, column: MapColumn) -> None:
        """Count a table's tokens."""
        lists = whole(table[words])
        own = lengths(whole(table[ATTRIBUTION + column.input]))
        self.aligned &= lists.null_count == 0 and bool((lengths(lists) * column.step == own).all())
        if self.aligned:
            found = pc.value_counts(pc.fill_null(lists.flatten(), NULL))
            values, counts = found.field("values").to_pylist(), found.field("counts").to_pylist()
            self.counts.update(dict(zip(values, counts, strict=True)))
            self._prune()

    def merge(self, other: WordCounts) -> None:
        """Count another one's tokens."""
        self.aligned &= other.aligned
        self.lost += other.lost
        self.counts.update(other.counts)
        self._prune()

    def most_frequent(self, most: int) -> tuple[str, ...]:
        """So many; of equally frequent ones the first in natural order."""
        ordered = sorted(set(self.counts) - {OTHER}, key=lambda token: (-self.counts[token], natural(token)))
        return tuple(ordered[:most])

    def _prune(self) -> None:
        """Space is kept by leaving out the rarest (https://doi.org/10.1007/978-3-540-30570-5_27)."""
        if len(self.counts) > 2 * self._counted:
            kept = self.counts.most_common(self._counted + 1)
            self.lost += kept.pop()[1]
            self.counts = Counter(dict(kept))


@dataclasses.dataclass(frozen=True)
class _Occurrences:
    """Tokens of some rows, one after another.

    Attributes:
        row: of each.
        token: which it is.
        value: its attribution.
        strong: whether it is among the strongest of its row.
    """

    row: Codes
    token: Codes
    value: Doubles
    strong: npt.NDArray[np.bool_]


class TokenSums:
    """By slice and token: occurrences, the rows that they are in, and sums of the attributions.

    Args:
        vocabulary: the tokens; all others count together as `(other)`.
    """

    def __init__(self, column: MapColumn, words: str, vocabulary: tuple[str, ...], slices: int) -> None:
        self._column, self._words = column, words
        self.tokens = (*vocabulary, OTHER)
        shape = slices, len(self.tokens)
        self.rows, self.occurrences, self.hits = np.zeros((3, *shape), np.int64)
        self.sum, self.size, self.square, self.share, self.share_square = np.zeros((5, *shape))

    def add(self, table: pa.Table, scale: Doubles, grouping: Grouping) -> None:
        """Add a table's rows; the grouping is theirs.

        Args:
            scale: 1 / Σ|A| of each row, over all inputs, [rows].
        """
        if not len(table):
            return
        found = self._occurrences(table)
        cell = np.empty(len(table), np.int64)
        cell[slice(None) if grouping.order is None else grouping.order] = grouping.cell
        count = len(self.tokens)
        keys, which = np.unique(cell[found.row] * count + found.token, return_inverse=True)
        sums = [
            (self.occurrences, np.bincount(which)),
            (self.hits, np.bincount(which[found.strong], minlength=len(keys))),
            (self.sum, np.bincount(which, found.value)),
            (self.size, np.bincount(which, np.abs(found.value))),
            (self.square, np.bincount(which, np.square(found.value))),
        ]
        pairs, of_pair = np.unique(found.row * count + found.token, return_inverse=True)
        share = np.bincount(of_pair, np.abs(found.value)) * scale[pairs // count]
        places = np.searchsorted(keys, cell[pairs // count] * count + pairs % count)
        sums += [
            (self.rows, np.bincount(places)),
            (self.share, np.bincount(places, share)),
            (self.share_square, np.bincount(places, np.square(share))),
        ]
        for slices in grouping.slices_of_cells():
            chosen = slices[keys // count] >= 0
            target = slices[keys // count][chosen], (keys % count)[chosen]
            for total, part in sums:
                np.add.at(total, target, part[chosen])

    def merge(self, other: TokenSums) -> None:
        """Add what another one added."""
        for name in ("rows", "occurrences", "hits", "sum", "size", "square", "share", "share_square"):
            mine = getattr(self, name)
            mine += getattr(other, name)

    def columns(self, rows: Codes) -> tuple[Codes, dict[str, pa.Array]]:
        """The slice of each line, and by name the columns of those tokens that a slice has.

        Args:
            rows: of each slice whose values are numbers, those without the token too.
        """
        at = slices, tokens = np.nonzero(self.occurrences)
        count, total = self.occurrences[at], self.sum[at]
        share, all_rows = self.share[at], rows[slices]
        return slices, {
            "token": pa.array(self.tokens).take(pa.array(tokens)),
            "rows": pa.array(self.rows[at]),
            "occurrences": pa.array(count),
            "mean": pa.array(total / count),
            "mean_abs": pa.array(self.size[at] / count),
            "variance": pa.array(sample_variance(total, self.square[at], count), from_pandas=True),
            "top_share": pa.array(self.hits[at] / count),
            "share_mean": pa.array(share / all_rows),
            "share_variance": pa.array(sample_variance(share, self.share_square[at], all_rows), from_pandas=True),
        }

    def _occurrences(self, table: pa.Table) -> _Occurrences:
        lists = whole(table[self._words])
        own = lengths(lists)
        words = pc.fill_null(lists.flatten(), NULL)
        token = pc.fill_null(pc.index_in(words, pa.array(self.tokens[:-1], words.type)), len(self.tokens) - 1)
        values = whole(table[ATTRIBUTION + self._column.input]).flatten().to_numpy(zero_copy_only=False)
        value = values.astype(np.float64).reshape(len(words), self._column.step).sum(axis=1)
        row = np.repeat(np.arange(len(table)), own)
        return _Occurrences(row, token.to_numpy().astype(np.int64), value, _strong(value, row, own))


def _strong(values: Doubles, row: Codes, own: Codes) -> npt.NDArray[np.bool_]:
    """Which values are among the strongest of their row: five, or a tenth of a row that is shorter than fifty."""
    order = np.lexsort((-np.abs(values), row))
    rank = np.arange(len(values)) - np.repeat(np.cumsum(own) - own, own)
    found = np.zeros(len(values), bool)
    found[order] = rank < np.minimum(STRONGEST, -(-own // 10))[row]
    return np.asarray(found & (values != 0))
