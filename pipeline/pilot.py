"""`attribeam plan --pilot N`: explain N rows for real, and say what all of them would take."""

from __future__ import annotations

import dataclasses
import pathlib
import statistics
import tempfile
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from rich.table import Table

from pipeline.survey import Prepared
from transforms.attribute import attribute_shard
from transforms.attribution.explainer import Explainer
from transforms.runs.attribution_job import AttributionJob
from transforms.runs.shard import Shard
from transforms.storage.manifest import PILOT, read_json, to_json
from transforms.storage.place import Place, open_place

TOLERANCES = (0.05, 0.02, 0.01, 0.005)
# Each block of rows is measured on its own: the spread of the estimate is theirs.
BLOCKS = 8


@dataclasses.dataclass(frozen=True)
class Figure:
    """A figure with its spread: the middle of the blocks, the least and the most."""

    value: float
    low: float
    high: float

    def times(self, factor: float) -> Figure:
        """All three multiplied."""
        return Figure(self.value * factor, self.low * factor, self.high * factor)

    def per(self, amount: float) -> Figure:
        """The amount divided by all three; the least becomes the most."""
        return Figure(amount / self.value, amount / self.high, amount / self.low)


@dataclasses.dataclass(frozen=True)
class Estimate:
    """What a run would take on one worker like this one, by a pilot over some of its rows.

    Attributes:
        rows: explained by the pilot; total_rows: of the whole dataset.
        rows_per_second: read, explained and written.
        gradients_per_row: with the configuration as it is.
        by_tolerance: gradients per row with `steps: auto` at each tolerance.
        bytes_per_row: of the output, compressed.
        device: what computed it.
    """

    rows: int
    total_rows: int
    rows_per_second: Figure
    gradients_per_row: Figure
    by_tolerance: Mapping[float, Figure]
    bytes_per_row: Figure
    device: str

    @property
    def totals(self) -> dict[str, Figure]:
        """For all rows, under the names that the manifest has for what was measured."""
        return {
            "seconds": self.rows_per_second.per(self.total_rows),
            "gradients": self.gradients_per_row.times(self.total_rows),
            "output_bytes": self.bytes_per_row.times(self.total_rows),
        }


def pilot(prepared: Prepared, explainer: Explainer, rows: int) -> Estimate:
    """Explain `rows` rows, in blocks spread over the dataset, as the run would; nothing is kept."""
    blocks = spread(prepared.shards, rows)
    with tempfile.TemporaryDirectory() as folder:

        def measured(name: str, job: AttributionJob, explainer: Explainer, block: Shard) -> tuple[float, float, float]:
            """Seconds, gradients and bytes of each row."""
            place = open_place(f"{folder}/{name}")
            seconds = attribute_shard(block, job, explainer, place).seconds
            part = pathlib.Path(folder, name, job.part_of(block))
            steps = pq.read_table(part, columns=["steps"])["steps"].to_numpy()
            return seconds / block.size, int(steps.sum()) / block.size, part.stat().st_size / block.size

        def steps_at(tolerance: float) -> Figure:
            config = prepared.job.attribution.model_copy(
                update={"steps": "auto", "rule": "nested", "tolerance": tolerance}
            )
            job = dataclasses.replace(prepared.job, attribution=config)
            other = Explainer(explainer.model, config, job.trusted, explainer.references)
            return _figure([measured(f"{tolerance}", job, other, block)[1] for block in blocks])

        on_path = prepared.job.attribution.method.name == "integrated_gradients"
        tolerances = TOLERANCES if on_path else ()  # other methods have a fixed number of points
        measured("warm-up", prepared.job, explainer, blocks[0])
        seconds, gradients, size = zip(
            *(measured("run", prepared.job, explainer, block) for block in blocks), strict=True
        )
        return Estimate(
            rows=sum(block.size for block in blocks),
            total_rows=prepared.shards.rows,
            rows_per_second=_figure([1 / value for value in seconds]),
            gradients_per_row=_figure(gradients),
            by_tolerance={tolerance: steps_at(tolerance) for tolerance in tolerances},
            bytes_per_row=_figure(size),
            device=explainer.device,
        )


def spread(shards: Sequence[Shard], rows: int) -> list[Shard]:
    """Blocks of `rows` rows together, as shards of their own, at even distances over the dataset."""
    total = sum(shard.size for shard in shards)
    rows = min(rows, total)
    count = min(BLOCKS, rows)
    bounds = np.cumsum([0, *(shard.size for shard in shards)])
    blocks = []
    for number, size in enumerate(np.diff(np.linspace(0, rows, count + 1).astype(int))):
        first = number * total // count
        index = int(np.searchsorted(bounds, first, side="right")) - 1
        shard = shards[index]
        # a block stays in its shard: moved back from the end of it, or cut where the shard is smaller
        start = shard.rows.start + max(0, min(first - int(bounds[index]), shard.size - int(size)))
        stop = min(start + int(size), shard.rows.stop)
        blocks.append(
            dataclasses.replace(shard, number=number, rows=dataclasses.replace(shard.rows, start=start, stop=stop))
        )
    return blocks


def store(estimate: Estimate, place: Place, fingerprint: str) -> None:
    """Keep the estimate for the manifest of the run that it is of; of several, the manifest takes the largest."""
    totals = {name: dataclasses.asdict(figure) for name, figure in estimate.totals.items()}
    place.publish_bytes(
        to_json({"rows": estimate.rows, "totals": totals}), f"{PILOT}/{fingerprint}-{estimate.rows}.json"
    )


def read_estimate(place: Place, fingerprint: str) -> dict[str, Any] | None:
    """The totals that `store` kept for this run, of the most rows; None when there was no pilot."""
    found = [name for name in place.names() if name.startswith(f"{PILOT}/{fingerprint}-")]
    records = [read_json(place, name) for name in found]
    largest = max(records, key=lambda record: int(record["rows"]), default={"totals": None})
    totals: dict[str, Any] | None = largest["totals"]
    return totals


def table(estimate: Estimate) -> Table:
    """The estimate for a terminal: figures, and their least and most over the blocks."""
    shown = Table(box=None)
    for heading in ("", "estimate", "least", "most"):
        shown.add_column(heading, justify="left" if not heading else "right")

    def row(name: str, figure: Figure, write: Callable[[float], str]) -> None:
        shown.add_row(name, write(figure.value), write(figure.low), write(figure.high))

    totals = estimate.totals
    row("rows/s", estimate.rows_per_second, "{:,.1f}".format)
    row("gradients/row, as configured", estimate.gradients_per_row, "{:,.1f}".format)
    for tolerance, figure in estimate.by_tolerance.items():
        row(f"gradients/row, auto at {tolerance:g}", figure, "{:,.1f}".format)
    row(f"total time, {estimate.total_rows:,} rows on one worker, s", totals["seconds"], "{:,.0f}".format)
    if estimate.device != "CPU":
        row("GPU-hours", totals["seconds"].times(1 / 3600), "{:,.3f}".format)
    row("output, bytes", totals["output_bytes"], "{:,.0f}".format)
    return shown


def _figure(values: Sequence[float]) -> Figure:
    return Figure(statistics.median(values), min(values), max(values))
