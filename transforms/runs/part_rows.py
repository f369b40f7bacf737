"""Some rows of a part: row groups that cannot hold them, by their statistics, are not read."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from transforms.records import part
from transforms.storage.place import Place

Chosen = Callable[[pa.ChunkedArray], Any]


def rows_between(
    place: Place, name: str, column: str, bounds: tuple[Any, Any], wanted: Sequence[str] | None = None
) -> Iterator[pa.Table]:
    """The rows of a part in which a column's value is within bounds, both included; a table for each row group.

    Args:
        wanted: the columns read; None: all.

    Raises:
        AttribeamError: E_PART_DAMAGED.
    """
    low, high = bounds

    def chosen(values: pa.ChunkedArray) -> Any:
        return pc.and_(pc.greater_equal(values, low), pc.less_equal(values, high))

    with_statistics = (column, low, high)
    return _rows(place, name, chosen, with_statistics, wanted)


def rows_where(
    place: Place, name: str, column: str, chosen: Chosen, wanted: Sequence[str] | None = None
) -> Iterator[pa.Table]:
    """The rows that a function of a column's values chooses, bool [rows]; every row group is looked at."""
    return _rows(place, name, chosen, (column, None, None), wanted)


def _rows(
    place: Place, name: str, chosen: Chosen, column: tuple[str, Any, Any], wanted: Sequence[str] | None
) -> Iterator[pa.Table]:
    try:
        with place.open(name) as file:
            parquet = pq.ParquetFile(file, page_checksum_verification=True, pre_buffer=False)
            for group in _groups(parquet, *column):
                mask = chosen(parquet.read_row_group(group, [column[0]], use_threads=False)[column[0]])
                if pc.any(mask).as_py():
                    yield parquet.read_row_group(group, wanted, use_threads=False).filter(mask)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise part.damaged(name, "a page of it cannot be read, or its checksum is wrong") from error


def _groups(parquet: pq.ParquetFile, column: str, low: Any, high: Any) -> Iterator[int]:
    """The row groups whose least and largest value do not rule it out."""
    leaf = [parquet.schema.column(leaf).path for leaf in range(parquet.metadata.num_columns)].index(column)
    for group in range(parquet.num_row_groups):
        known = parquet.metadata.row_group(group).column(leaf).statistics
        if low is None or known is None or not known.has_min_max or (known.max >= low and known.min <= high):
            yield group
