"""The slices of a dataset that are looked at apart: all rows, each label, each value of a kept column."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa

ALL, LABEL, KEPT, OTHER = "all", "label", "keep:", "(other)"
# Values of one column; the last ones in their order are taken together.
MOST = 250
Slice = tuple[str, str]
Value = TypeVar("Value")


def slice_columns(schema: pa.Schema, carried: Iterable[str]) -> dict[str, str]:
    """By slice name, the column: the label and the kept columns of text, truth values or whole numbers."""
    named = {(LABEL if name == "label" else KEPT + name): name for name in carried}
    return {name: column for name, column in named.items() if _slices(schema.field(column).type)}


def members(table: pa.Table, columns: Mapping[str, str]) -> Iterator[tuple[Slice, npt.NDArray[np.int64]]]:
    """Each slice of some rows, and which rows are in it."""
    yield (ALL, ""), np.arange(table.num_rows)
    for name, column in columns.items():
        values = table[column]
        plain = values.cast(values.type.value_type) if pa.types.is_dictionary(values.type) else values
        coded = plain.combine_chunks().dictionary_encode(null_encoding="encode")
        codes = coded.indices.to_numpy()
        order, words = np.argsort(codes, kind="stable"), coded.dictionary.to_pylist()
        stops = np.cumsum(np.bincount(codes, minlength=len(words)))
        for word, rows in zip(words, np.split(order, stops[:-1]) if words else [], strict=True):
            yield (name, text_of(word)), rows


def fold(found: Iterable[tuple[Slice, Value]], most: int = MOST) -> dict[Slice, Value]:
    """Slices added up where they occur twice; of a column with too many values, those after the first in the value
    `(other)`. The same however the rows were shared out: what is folded once is among the last for good."""
    summed = dict[Slice, Value]()
    for name, value in found:
        summed[name] = summed[name] + value if name in summed else value  # type: ignore[operator]
    for column in {name for name, _ in summed}:
        values = sorted((name for name in summed if name[0] == column and name[1] != OTHER), key=_order)
        for late in values[most:]:
            other, value = (column, OTHER), summed.pop(late)
            summed[other] = summed[other] + value if other in summed else value  # type: ignore[operator]
    return summed


def ordered(slices: Iterable[Slice]) -> list[Slice]:
    """All rows first, then the label's values, then those of the others; numbers by their size."""
    return sorted(slices, key=lambda one: (one[0] != ALL, one[0] != LABEL, one[0], one[1] == OTHER, _order(one)))


def folded(slices: Iterable[Slice]) -> Sequence[str]:
    """The columns that have more values than are looked at apart."""
    return sorted({name for name, value in slices if value == OTHER})


def text_of(value: object) -> str:
    """A value as a slice's name says it."""
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def _order(one: Slice) -> tuple[int, int, str]:
    digits = one[1].removeprefix("-")
    number = digits.isascii() and digits.isdigit() and len(digits) < 20
    return (0, int(one[1]), "") if number else (1, 0, one[1])


def _slices(kind: pa.DataType) -> bool:
    plain = kind.value_type if pa.types.is_dictionary(kind) else kind
    return bool(
        pa.types.is_string(plain)
        or pa.types.is_large_string(plain)
        or pa.types.is_boolean(plain)
        or pa.types.is_integer(plain)
    )
