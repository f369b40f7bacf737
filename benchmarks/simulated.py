"""Plan, commit, finalize and resume of a run over very many shards, of which none is computed; see `scaling.py`.

What is real: input files (tiny ones, a column of one value in one page) and their footers, planning,
`_plan.parquet`, the Beam steps on the in-process runner, reading every page of every part before it is published,
hashing it afterwards, manifest and `_SUCCESS`. What is not: the Explainer. One shard is explained; every other
shard's part is that part's pages with its own identity, so that there are as many rows to count as there would be.
But they compress to almost nothing, and hashing and reading them takes far less than of real ones.
"""

from __future__ import annotations

import dataclasses
import io
import json
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from typing import Any

import apache_beam as beam
import keras
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from apache_beam.options.pipeline_options import PipelineOptions

from benchmarks.copied_parquet import Template
from pipeline.config import JobConfig, parse_config
from pipeline.launch import known_before
from pipeline.pilot import read_estimate
from pipeline.plan import Known
from pipeline.prepare import prepare
from pipeline.runner import run_pipeline
from pipeline.status import Watch
from pipeline.survey import Prepared
from transforms.attribute import attribute_shard, peak_memory_bytes
from transforms.attribution.explainer import Explainer
from transforms.finalize import FinalizeRun, RunPlan
from transforms.read_shards import ReadShards
from transforms.runs.attribution_job import AttributionJob
from transforms.runs.plan_file import read_shards, read_sizes, write_plan
from transforms.runs.shard import Shard
from transforms.runs.whole_part import read_whole
from transforms.runs.work_done import ShardResult
from transforms.storage import manifest as names
from transforms.storage.place import open_place

STAGES = ("plan", "commit", "finalize", "resume")
PROCESSES = ("plan", "job", "resume")
LOST = 100  # one part in so many is missing when the run is resumed
FILE, WIDTH = b"attribeam.benchmark", 12


@dataclasses.dataclass(frozen=True)
class Meter:
    """What this process has taken so far."""

    clock_s: float
    processor_s: float
    peak_memory_bytes: int

    @classmethod
    def now(cls) -> Meter:
        """At this moment."""
        return cls(time.perf_counter(), time.process_time(), peak_memory_bytes())

    def since(self, earlier: Meter) -> dict[str, float]:
        """What was taken between the two."""
        return {
            "seconds": self.clock_s - earlier.clock_s,
            "cpu_seconds": self.processor_s - earlier.processor_s,
            "peak_memory_bytes": self.peak_memory_bytes,
            "before_bytes": earlier.peak_memory_bytes,
        }


@dataclasses.dataclass(frozen=True)
class Simulation:
    """A run in a folder of its own, made by `make`."""

    folder: pathlib.Path

    @property
    def config(self) -> JobConfig:
        """One input file a shard."""
        path = str(self.folder)
        return parse_config(
            {
                "model": {"path": f"{path}/model.keras"},
                "input": {"files": f"{path}/in", "features": {"x": "x"}},
                "attribution": {"steps": 1, "batch_size": 1024},
                "output": {"path": f"{path}/out"},
            }
        )

    def make(self, shards: int, shard_rows: int) -> None:
        """A model of one weight, and input files whose footers differ."""
        keras.Sequential([keras.Input((1,), name="x"), keras.layers.Dense(1)]).save(self.folder / "model.keras")
        inputs, sample = self.folder / "in", self.folder / "sample.parquet"
        inputs.mkdir()
        rows = pa.table({"x": np.ones(shard_rows, np.float32)})
        pq.write_table(rows.replace_schema_metadata({"file": "-"}), sample, compression="zstd")
        template = Template(sample.read_bytes())
        for number in range(shards):
            (inputs / f"rows-{number:06}.parquet").write_bytes(template.copy({"file": str(number)}))

    def prepared(self, explainer: Explainer, known: Known) -> Prepared:
        """What the launcher finds out."""
        return prepare(self.config, self.folder, explainer, known)


def plan(run: Simulation, explainer: Explainer) -> int:
    """As `attribeam run` does before a worker starts; the number of shards."""
    place, made = open_place(run.config.output.path), run.prepared(explainer, Known())
    write_plan(place, made.job.fingerprint, made.shards.with_files(), made.job.layout)
    record = {"decides": made.decides, "config": run.config.model_dump(mode="json"), "files_sha256": {}}
    place.publish_bytes(names.to_json({"fingerprint": made.job.fingerprint, **record}), names.RUN)
    return len(made.shards)


def planned(run: Simulation, explainer: Explainer) -> RunPlan:
    """What the launcher keeps while workers are at work."""
    made = run.prepared(explainer, known_before(open_place(run.config.output.path)))
    return RunPlan(made.job, len(made.shards), made.shards.rows, 0.0, time.time(), {})


def commit_and_finalize(run: Simulation, whole: RunPlan, explainer: Explainer) -> Meter:
    """Publish a part for every shard, then all that comes behind the last of them; where the second begins."""
    job = whole.job
    sample, (first,) = str(run.folder / "sample"), read_shards(open_place(job.root), job.fingerprint, [0])
    attribute_shard(first, dataclasses.replace(job, root=sample), explainer, open_place(sample))
    part = pathlib.Path(sample, job.part_of(first)).read_bytes()
    numbers, ends = range(whole.shards), run.folder / "ends"
    run_pipeline(
        lambda root: (
            root
            | ReadShards(job.root, job.fingerprint, numbers)
            | beam.ParDo(_Publish(job, part, ends))
            | FinalizeRun(whole)
        ),
        PipelineOptions(),
    )
    rows = names.read_manifest(open_place(job.root))["rows"]
    assert rows == whole.input_rows, f"{rows} rows, not {whole.input_rows}"
    return Meter(*json.loads(ends.read_text().splitlines()[-1]))


class _Publish(beam.DoFn):  # type: ignore[misc]
    def __init__(self, job: AttributionJob, part: bytes, ends: pathlib.Path) -> None:
        self._job, self._part, self._ends = job, part, ends

    def setup(self) -> None:
        self._template, self._place = Template(self._part), open_place(self._job.root)

    def process(self, shard: Shard) -> Iterator[ShardResult]:
        about = self._job.provenance(shard, 1024, "CPU")
        data = self._template.copy(about.metadata())
        whole = read_whole(io.BytesIO(data), shard, self._job)
        self._place.publish_bytes(data, self._job.part_of(shard))
        yield ShardResult(shard.number, shard.size, 0, True, 0.0, 0, 0, whole=whole)

    def finish_bundle(self) -> None:
        # the runner is in this process, so its clocks are those of the stage
        with self._ends.open("a") as file:
            file.write(json.dumps(dataclasses.astuple(Meter.now())) + "\n")


def resume(run: Simulation, explainer: Explainer) -> int:
    """As `attribeam run` does before a missing shard is computed, and a look at the state; the number missing."""
    place = open_place(run.config.output.path)
    made = run.prepared(explainer, known_before(place))
    read_estimate(place, made.job.fingerprint)
    done, _ = names.published(place.names(), made.job.fingerprint, len(made.shards))
    Watch(place, made.job.fingerprint, read_sizes(place)).look()
    return int(len(done) - done.sum())


def stages(process: str, folder: pathlib.Path) -> dict[str, dict[str, float]]:
    """Run one or two stages in this process; of each seconds, seconds of the processor, and peak memory until then, of
    which `before_bytes` was needed for TensorFlow, Beam and the model."""
    run = Simulation(folder)
    explainer = Explainer.load(run.config.model, run.config.attribution)
    explainer.explain({"x": np.ones((1, 1), np.float32)})
    if process == "resume":
        _lose(pathlib.Path(run.config.output.path))
    whole = planned(run, explainer) if process == "job" else None
    started = Meter.now()
    if whole:
        between = commit_and_finalize(run, whole, explainer)
        return {"commit": between.since(started), "finalize": Meter.now().since(between)}
    work = {"plan": plan, "resume": resume}[process]
    work(run, explainer)
    return {process: Meter.now().since(started)}


def _lose(out: pathlib.Path) -> None:
    """What a run killed with 99 % done leaves; the inputs of those that are done can no longer be read."""
    for name in (names.SUCCESS, names.MANIFEST, names.FILES):
        (out / name).unlink()
    lost = set(sorted(out.glob("part-*"))[::LOST])
    for part in lost:
        part.unlink()
    for number, file in enumerate(sorted((out.parent / "in").iterdir())):
        if number % LOST:
            file.write_bytes(b"x" * file.stat().st_size)


def simulate(shards: int, shard_rows: int, below: pathlib.Path | None) -> dict[str, Any]:
    """Every stage; planning, the job and resuming in a process each."""
    folder = pathlib.Path(tempfile.mkdtemp(dir=below))
    try:
        Simulation(folder).make(shards, shard_rows)
        found: dict[str, Any] = {}
        for process in PROCESSES:
            command = [sys.executable, "-m", "benchmarks.simulated", process, str(folder)]
            done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
            found |= (both := json.loads(done.stdout.splitlines()[-1]))
            for name, one in both.items():
                print(
                    f"{shards:7,} {name:9} {one['seconds']:8.2f} {one['cpu_seconds']:8.2f}"
                    f" {one['peak_memory_bytes'] / 1e6:8.0f} {one['before_bytes'] / 1e6:8.0f}"
                    f" {one['cpu_seconds'] / shards * 1e3:8.3f}",
                    flush=True,
                )
        return found
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    print(json.dumps(stages(sys.argv[1], pathlib.Path(sys.argv[2]))))
