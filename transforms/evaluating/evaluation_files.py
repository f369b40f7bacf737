"""What is written of an evaluation: a row for each evaluated row, and each metric's mean with its interval."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from transforms.attribution.baselines.row_baselines import generator
from transforms.attribution.faithfulness.bootstrap import Mean, bootstrapped
from transforms.attribution.faithfulness.metrics import METRICS
from transforms.evaluating.evaluation import EvaluationJob, Row
from transforms.storage.manifest import to_json
from transforms.storage.place import Place

NAMING = {"row_id": pa.string(), "source_file": pa.string(), "source_row": pa.int64(), "target": pa.int64()}


def publish(rows: Sequence[Row], job: EvaluationJob, place: Place) -> None:
    """Write the rows, in the order in which they are drawn, then the summary of what is written.

    What is there already stays: an evaluation that was interrupted between the two goes on with its own rows.
    """
    ordered = sorted(rows, key=lambda row: (row["key"], row["source_file"], row["source_row"]))
    schema = pa.schema([*NAMING.items(), *((name, pa.float64()) for name in job.settings.metrics)])
    table = pa.Table.from_pylist([{name: row[name] for name in schema.names} for row in ordered], schema)
    with place.scratch() as scratch:
        pq.write_table(table, scratch / "rows", compression="zstd", write_page_checksum=True)
        place.publish(scratch / "rows", f"{job.stem}.parquet")
    with place.open(f"{job.stem}.parquet") as file:
        kept = pq.read_table(file, page_checksum_verification=True)
    place.publish_bytes(to_json(summary(kept, job)), f"{job.stem}.json")


def summary(rows: pa.Table, job: EvaluationJob) -> dict[str, Any]:
    """Each metric's mean over the evaluated rows, with its interval, how many rows have none, and why."""
    return {
        "fingerprint": job.run.fingerprint,
        "settings": job.settings.model_dump(mode="json"),
        "rows": rows.num_rows,
        "metrics": {name: _of_metric(name, rows[name].to_pylist(), job) for name in job.settings.metrics},
    }


def _of_metric(name: str, values: Sequence[float | None], job: EvaluationJob) -> dict[str, Any]:
    undefined = values.count(None)
    mean = mean_of(values, job.settings.seed, name)
    reason = job.reasons.get(name, METRICS[name].undefined if undefined else None)
    return {**dataclasses.asdict(mean), "better": METRICS[name].better, "undefined": undefined, "reason": reason}


def mean_of(values: Sequence[float | None], seed: int, name: str) -> Mean:
    """The mean of the values that are there, and its interval, by resamples that depend on the seed and the name."""
    numbers = generator(seed, "bootstrap", name)
    return bootstrapped(np.array([np.nan if value is None else value for value in values]), numbers)
