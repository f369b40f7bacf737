"""Slices: which rows are looked at together, by their label, their prediction, their file, what was kept of them."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from transforms.auditing.part_columns import LABEL, PREDICTED, RANK, PartColumns, whole

ALL, CORRECT, LABEL_CORRECT, KEEP = "all", "correct", "label,correct", "keep:"
OTHER, NULL = "(other)", "(null)"
MAX_VALUES = 1000
Codes = npt.NDArray[np.int64]
Slice = tuple[str, str]


@dataclasses.dataclass(frozen=True)
class Coded:
    """A column of a few different values.

    Attributes:
        values: as text, each once.
        codes: [rows] which of the values; −1: none, so that the row is in no slice of the kind.
    """

    values: tuple[str, ...]
    codes: Codes

    def counts(self) -> Counter[str]:
        """Rows by value."""
        found = np.bincount(self.codes + 1, minlength=len(self.values) + 1)[1:]
        return Counter({value: int(count) for value, count in zip(self.values, found, strict=True) if count})


def natural(value: str) -> tuple[int, str]:
    """The order of values: short before long, so that whole numbers rise."""
    return len(value), value


def slice_columns(table: pa.Table, columns: PartColumns, classes: Sequence[str]) -> dict[str, Coded]:
    """By kind of slice, the values of a table's rows; [rows] each.

    Args:
        classes: names of the output's entries, by which a label that is a word is compared to what was predicted.
    """
    found = {ALL: Coded(("",), np.zeros(len(table), np.int64))}
    if columns.label:
        found[LABEL] = coded(table[LABEL])
    if columns.predicted:
        found[PREDICTED] = without(coded(table[PREDICTED]), NULL)
    if columns.label and columns.predicted:
        found[CORRECT] = _correct(table, classes)
    found["status"], found["source_file"] = coded(table["status"]), coded(table["source_file"])
    if columns.ranked:
        found[RANK] = coded(table[RANK])
    for name in columns.kept:
        found[KEEP + name] = coded(table[name])
    if CORRECT in found:
        found[LABEL_CORRECT] = _both(found[LABEL], found[CORRECT])
    return found


def coded(column: pa.ChunkedArray) -> Coded:
    """A column's values as text; a null is one of them."""
    one = whole(column)
    if not isinstance(one, pa.DictionaryArray):
        one = one.dictionary_encode()
    values = [NULL if value is None else _text(value) for value in one.dictionary.to_pylist()]
    codes = pc.fill_null(one.indices, len(values)).to_numpy(zero_copy_only=False).astype(np.int64)
    return _distinct([*values, NULL], codes)


def without(column: Coded, value: str) -> Coded:
    """The same, but that rows of that value are in no slice of the kind."""
    kept = np.array([code if own != value else -1 for code, own in enumerate(column.values)], np.int64)
    return Coded(column.values, kept[column.codes])


def cells(columns: Sequence[Codes]) -> tuple[Codes, Codes]:
    """The combinations of values that some rows have: [rows] which of them, and int64 [cells, columns] what each is.

    Args:
        columns: codes from −1 on, [rows] each.
    """
    joint, sizes = np.zeros(len(columns[0]), np.int64), []
    for codes in columns:
        sizes.append(int(codes.max(initial=-1)) + 2)
        joint = _dense(joint * sizes[-1] + codes + 1)
    first = np.zeros(int(joint.max(initial=-1)) + 1, np.int64)
    first[joint[::-1]] = np.arange(len(joint))[::-1]
    return joint, np.stack([codes[first] for codes in columns], axis=1)


class SliceCounts:
    """How many rows each value of each kind of slice has; of too many values the first ones, in natural order.

    Which values those are depends on all rows together only: one that a part of the rows leaves out has enough
    others before it in any larger part.
    """

    def __init__(self, max_values: int = MAX_VALUES) -> None:
        self._max_values, self._counts, self._left_out = max_values, dict[str, Counter[str]](), set[str]()

    def add(self, found: Mapping[str, Counter[str]], left_out: Iterable[str] = ()) -> None:
        """Count rows."""
        self._left_out |= set(left_out)
        for kind, counts in found.items():
            mine = self._counts.setdefault(kind, Counter())
            mine.update(counts)
            if len(mine) > self._max_values:
                self._left_out.add(kind)
                for value in sorted(mine, key=natural)[self._max_values :]:
                    del mine[value]

    def merge(self, other: SliceCounts) -> None:
        """Count the rows of another."""
        self.add(other._counts, other._left_out)

    def slices(self) -> tuple[Slice, ...]:
        """All of them, the kinds in the order in which they stand in the tables; `all` comes first."""
        return tuple(
            (kind, value)
            for kind, counts in self._counts.items()
            for value in dict.fromkeys([*sorted(counts, key=natural), *([OTHER] if kind in self._left_out else [])])
        )

    @property
    def left_out(self) -> tuple[str, ...]:
        """Kinds some of whose values are in `(other)`."""
        return tuple(sorted(self._left_out))


def _correct(table: pa.Table, classes: Sequence[str]) -> Coded:
    label, predicted = table[LABEL], table[PREDICTED]
    if pa.types.is_dictionary(label.type):
        label = label.cast(label.type.value_type)
    if not pa.types.is_integer(label.type) and not pa.types.is_boolean(label.type):
        predicted = pc.take(pa.array([*classes, None], pa.string()), _within(predicted, len(classes)))
        label = label.cast(pa.string())
    else:
        label = label.cast(pa.int64(), safe=False)  # one beyond int64 becomes negative, which no prediction is
    right = pc.fill_null(pc.equal(label, predicted).cast(pa.int8()), -1)
    return Coded(("wrong", "right"), right.to_numpy().astype(np.int64))


def _within(predicted: pa.ChunkedArray, size: int) -> pa.Array:
    """Positions in a list of names, of which the last one, null, stands for those that have no name."""
    codes = pc.fill_null(predicted, size).to_numpy()
    return pa.array(np.where((codes >= 0) & (codes < size), codes, size))


def _both(label: Coded, correct: Coded) -> Coded:
    pairs = tuple(f"{value},{right}" for value in label.values for right in correct.values)
    codes = np.where(correct.codes < 0, -1, label.codes * len(correct.values) + correct.codes)
    return Coded(pairs, codes)


def _distinct(values: Sequence[str], codes: Codes) -> Coded:
    """The same, each value once."""
    first: dict[str, int] = {}
    places = np.array([first.setdefault(value, len(first)) for value in values], np.int64)
    return Coded(tuple(first), places.take(codes))


def _text(value: object) -> str:
    return ("true" if value else "false") if isinstance(value, bool) else str(value)


def _dense(codes: Codes) -> Codes:
    """The same partition of the rows in numbers without gaps, so that they stay small."""
    size = int(codes.max(initial=0)) + 1
    if size <= 4 * len(codes):
        used = np.bincount(codes, minlength=size) > 0
        return (np.cumsum(used) - 1).take(codes)
    return np.unique(codes, return_inverse=True)[1]


def kinds_of(slices: Sequence[Slice]) -> Iterator[str]:
    """The kinds of some slices, each once, in their order."""
    yield from dict.fromkeys(kind for kind, _ in slices)
