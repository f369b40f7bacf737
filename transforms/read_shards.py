"""`ReadShards`: the plan's shards, spread over the workers; their numbers alone are part of the pipeline."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import apache_beam as beam
from apache_beam.pvalue import PBegin, PCollection

from transforms.runs.plan_file import pieces, read_shards
from transforms.runs.shard import Shard
from transforms.storage.place import open_place


class ReadShards(beam.PTransform):  # type: ignore[misc]
    """The beginning of a pipeline → PCollection[Shard], out of the plan that stands in a run's directory.

    Args:
        root: the run's directory.
        fingerprint: of the run.
        numbers: of the shards, rising.
    """

    def __init__(self, root: str, fingerprint: str, numbers: Sequence[int]) -> None:
        super().__init__()
        self._root, self._fingerprint, self._numbers = root, fingerprint, numbers

    def expand(self, begin: PBegin) -> PCollection[Shard]:
        # A grouping first: of two Reshuffles in a row Flink drops the second, and one worker has every shard.
        return (
            begin
            | "Numbers" >> beam.Create(list(enumerate(pieces(self._numbers))))
            | "SpreadReading" >> beam.GroupByKey()
            | "ReadPlan" >> beam.FlatMap(_read, self._root, self._fingerprint)
            | "SpreadOverWorkers" >> beam.Reshuffle()
        )


def _read(grouped: tuple[int, Iterable[Sequence[int]]], root: str, fingerprint: str) -> Iterator[Shard]:
    place = open_place(root)
    return (shard for numbers in grouped[1] for shard in read_shards(place, fingerprint, numbers))
