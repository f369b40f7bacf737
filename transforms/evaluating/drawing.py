"""Which rows of a run are evaluated: those with the smallest hashes, however the run was cut into shards."""

from __future__ import annotations

import dataclasses
import hashlib
import heapq
from collections.abc import Collection, Iterable, Iterator

import pyarrow.parquet as pq

from transforms.runs.attribution_job import AttributionJob
from transforms.runs.shard import Shard
from transforms.storage.place import Place


@dataclasses.dataclass(frozen=True, order=True)
class Drawn:
    """A row of a run; they are ordered by `key`, and rows of the same id as in the dataset.

    Attributes:
        key: sha256 of seed and row id, hex.
        shard_number, source_row: where it stands in the dataset.
        position: its row in the part.
    """

    key: str
    row_id: str
    shard_number: int
    source_row: int
    position: int
    shard: Shard = dataclasses.field(compare=False)


def key_of(seed: int, row_id: str) -> str:
    """What decides whether a row is drawn."""
    return hashlib.sha256(f"{seed}/{row_id}".encode()).hexdigest()


def smallest(rows: Iterable[Drawn], count: int) -> list[Drawn]:
    """The first `count` of the rows, in order."""
    return heapq.nsmallest(count, rows)


def draw(shard: Shard, job: AttributionJob, place: Place, seed: int, excluded: Collection[str]) -> Iterator[Drawn]:
    """Every row of a shard's part that may be drawn; with several targets a row, its first.

    Args:
        excluded: ids of rows that are not drawn, because another run has refused them.
    """
    name = job.part_of(shard)
    with place.open(name) as file:
        parquet = pq.ParquetFile(file, page_checksum_verification=True, pre_buffer=False)
        wanted = [column for column in ("row_id", "source_row", "target_rank") if column in parquet.schema_arrow.names]
        table = parquet.read(wanted, use_threads=False)
    ranks = table["target_rank"].to_pylist() if "target_rank" in wanted else [0] * table.num_rows
    columns = zip(table["row_id"].to_pylist(), table["source_row"].to_pylist(), ranks, strict=True)
    for position, (row_id, source_row, rank) in enumerate(columns):
        if rank == 0 and row_id not in excluded:
            yield Drawn(key_of(seed, row_id), row_id, shard.number, source_row, position, shard)
