"""What a worker needs to know to explain any shard, and what its files say of themselves."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import pyarrow as pa

from transforms.attribution.config import AttributionConfig, ModelConfig
from transforms.explaining.buckets import usual_shapes
from transforms.isolation.bounds import Bounds
from transforms.records import part
from transforms.records.columns import AttributionColumns
from transforms.records.examples import Layout
from transforms.runs.shard import Shard
from transforms.storage.manifest import part_name

if TYPE_CHECKING:
    from transforms.attribution.explainer import Explainer


@dataclasses.dataclass(frozen=True)
class AttributionJob:
    """All that a worker needs to know: plain values, so that it travels to any of them.

    Attributes:
        root: the run's directory.
        fingerprint: of everything that decides the values.
        attributions: how those of each explained input are written.
        trusted: modules of the user's that a worker may import.
        baselines: sha256 of `_baselines.parquet`; None when no baseline takes anything of the dataset.
        isolation: what a process of its own for the shards is held to; None: they are explained in the worker itself.
    """

    root: str
    fingerprint: str
    model: ModelConfig
    attribution: AttributionConfig
    layout: Layout
    attributions: tuple[AttributionColumns, ...]
    max_record_bytes: int
    trusted: tuple[str, ...] = ()
    baselines: str | None = None
    isolation: Bounds | None = None

    @property
    def shapes(self) -> list[tuple[int, ...]]:
        """Of the model's own inputs as they are fed, at the usual length where that varies."""
        return usual_shapes(self.layout)

    def part_of(self, shard: Shard) -> str:
        """The name of a shard's part."""
        return part_name(self.fingerprint, shard.number)

    def about(self, shard: Shard, explainer: Explainer) -> part.Provenance:
        """What the files of a shard say of themselves; the batch size is that of the moment."""
        batch = explainer.batch_size(self.shapes)
        return self.provenance(shard, batch, explainer.device)

    def provenance(self, shard: Shard, batch_size: int, device: str) -> part.Provenance:
        """What they say, given how they were computed."""
        targets = self.attribution.targets
        return part.Provenance(
            self.fingerprint, shard.number, shard.input_digest, shard.size, targets, batch_size, device
        )

    def schema(self, about: part.Provenance) -> pa.Schema:
        """Of the parts."""
        return part.part_schema(self.attributions, self.layout.carried, self.attribution.ranked, about)
