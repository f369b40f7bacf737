"""Finds a row of a finished run by its id: parts and row groups that cannot hold it are not read."""

from __future__ import annotations

import bisect
import dataclasses
import difflib
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from transforms.errors import UsageError, quoted
from transforms.records.maps import MapColumn, carried_columns, map_columns
from transforms.runs.part_rows import rows_between
from transforms.storage import manifest as names
from transforms.storage.place import Place, open_place

# Of each part, that are compared with an id that is not there.
NEIGHBOURS = 8
NEAR = 3


@dataclasses.dataclass(frozen=True)
class Found:
    """A row as its part holds it.

    Attributes:
        row: a table of this one row.
        maps: the columns that hold its attributions; carried: the label and what was kept.
        others: the other targets that the row was explained at.
        run: `_run.json`.
    """

    row: pa.Table
    maps: tuple[MapColumn, ...]
    carried: list[str]
    others: list[int]
    run: dict[str, Any]


def find_row(root: str, row_id: str, target: int | None = None) -> Found:
    """A row of a finished run; of several with the same id the first, or the first with this target.

    Raises:
        UsageError: E_ROW_UNKNOWN, with why it was refused or the nearest ids; E_ROW_TARGET, with the targets there are.
        AttribeamError: E_RUN_UNFINISHED, E_MANIFEST_DAMAGED, E_RUN_MISSING, E_RUN_DAMAGED, E_PART_DAMAGED.
    """
    place = open_place(root)
    names.read_manifest(place)
    run, files = names.read_json(place, names.RUN), _files(place)
    parts = [name for name in files if names.PART.fullmatch(name)]
    matches = [table for name in parts for table in rows_between(place, name, "row_id", (row_id, row_id))]
    if not matches:
        raise _unknown(place, row_id, files)
    targets = [one for table in matches for one in table["target"].to_pylist()]
    if target is not None and target not in targets:
        there = sorted({one for one in targets if one is not None})
        raise UsageError(
            "E_ROW_TARGET",
            f"row {quoted(row_id)} of {root} was not explained at target {target}, but at"
            f" {', '.join(map(str, there)) or 'the only value of the output'}; give one of these",
        )
    chosen = 0 if target is None else targets.index(target)
    row = _at(matches, chosen)
    others = sorted({one for one in targets if one is not None and one != targets[chosen]})
    return Found(row, map_columns(row.schema), carried_columns(row.schema), others, run)


def _files(place: Place) -> list[str]:
    with place.open(names.FILES) as file:
        listed: list[str] = pq.read_table(file, columns=["file"])["file"].to_pylist()
        return listed


def _at(tables: Iterable[pa.Table], position: int) -> pa.Table:
    for table in tables:
        if position < table.num_rows:
            return table.slice(position, 1)
        position -= table.num_rows
    raise IndexError(position)


def _unknown(place: Place, row_id: str, files: Sequence[str]) -> UsageError:
    refused = [name for name in files if names.is_quarantine(name, set(files))]
    for name in refused:
        for table in rows_between(place, name, "row_id", (row_id, row_id)):
            row = table.slice(0, 1).to_pylist()[0]
            return UsageError(
                "E_ROW_UNKNOWN",
                f"row {quoted(row_id)} of {place.root} was refused: {row['code']}: {row['message']}",
            )
    near = difflib.get_close_matches(row_id, _neighbours(place, row_id, files), n=NEAR, cutoff=0.0)
    return UsageError(
        "E_ROW_UNKNOWN",
        f"{place.root} has no row {quoted(row_id)}; the nearest are {', '.join(map(repr, near)) or 'none'}",
    )


def _neighbours(place: Place, row_id: str, files: Sequence[str]) -> list[str]:
    """The ids of each row group that come just before and after it in their order."""
    found = set[str]()
    for ids in _ids(place, files):
        at = bisect.bisect(ids, row_id)
        found |= set(ids[max(0, at - NEIGHBOURS) : at + NEIGHBOURS])
    return sorted(found)


def _ids(place: Place, files: Sequence[str]) -> Iterator[list[str]]:
    for name in files:
        if names.PART.fullmatch(name):
            with place.open(name) as file:
                parquet = pq.ParquetFile(file)
                for group in range(parquet.num_row_groups):
                    yield sorted(parquet.read_row_group(group, ["row_id"], use_threads=False)["row_id"].to_pylist())
