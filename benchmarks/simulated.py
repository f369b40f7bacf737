"""Plan, commit, finalize and resume of a run over very many shards, of which none is computed; see `scaling.py`.

What is real: input files (tiny ones, a column of one value in one page) and their footers, planning,
`_plan.parquet`, the Beam steps on the in-process runner, reading every page of every part before it is published,
hashing it afterwards, manifest and `_SUCCESS`. What is not: the Explainer. One shard is explained; every other
shard's part is that part's pages with its own identity, so that there are as many rows to count as there would be.
But they compress to almost nothing, and hashing and reading them takes far less than of real ones. Finalizing has a
process of its own, as where others have explained: what they would tell it is read from a file.
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
from collections.abc import Callable, Iterator
from typing import Any

import apache_beam as beam
import keras
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.pvalue import PCollection

from benchmarks.copied_parquet import Template
from pipeline.config import JobConfig, parse_config
from pipeline.launch import known_before
from pipeline.pilot import read_estimate
from pipeline.plan import Known
from pipeline.prepare import prepare
from pipeline.runner import run_pipeline
from pipeline.status import Watch
from pipeline.survey import Prepared
from transforms.attribute import attribute_shard
from transforms.attribution.engine.memory import peak_memory_bytes
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
TOLD = "told.jsonl"  # number, sha256 and bytes of each published part
LOST = 100  # one part in so many is missing when the run is resumed


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


def commit(run: Simulation, whole: RunPlan, explainer: Explainer) -> None:
    """Publish a part for every shard."""
    job = whole.job
    sample, (first,) = str(run.folder / "sample"), read_shards(open_place(job.root), job.fingerprint, [0])
    attribute_shard(first, dataclasses.replace(job, root=sample), explainer, open_place(sample))
    part = pathlib.Path(sample, job.part_of(first)).read_bytes()
    numbers, told = range(whole.shards), run.folder / TOLD
    run_pipeline(
        lambda root: root | ReadShards(job.root, job.fingerprint, numbers) | beam.ParDo(_Publish(job, part, told)),
        PipelineOptions(),
    )


class _Publish(beam.DoFn):  # type: ignore[misc]
    def __init__(self, job: AttributionJob, part: bytes, told: pathlib.Path) -> None:
        self._job, self._part, self._path = job, part, told

    def setup(self) -> None:
        self._template, self._place = Template(self._part), open_place(self._job.root)
        self._told = self._path.open("a")

    def process(self, shard: Shard) -> None:
        data = self._template.copy(self._job.provenance(shard, 1024, "CPU").metadata())
        whole = read_whole(io.BytesIO(data), shard, self._job)
        self._place.publish_bytes(data, self._job.part_of(shard))
        self._told.write(json.dumps([shard.number, whole.sha256, whole.bytes]) + "\n")

    def teardown(self) -> None:
        self._told.close()


def finalize(run: Simulation, whole: RunPlan) -> int:
    """From the last shard's result on; the number of rows."""
    job, told = whole.job, run.folder / TOLD

    def build(root: beam.Pipeline) -> PCollection[dict[str, Any]]:
        return root | beam.Create([str(told)]) | beam.FlatMap(_results, job) | FinalizeRun(whole)

    run_pipeline(build, PipelineOptions())
    return int(names.read_manifest(open_place(job.root))["rows"])


def _results(told: str, job: AttributionJob) -> Iterator[ShardResult]:
    """What the workers would tell: all parts hold the same, but for who they are."""
    place = open_place(job.root)
    (first,) = read_shards(place, job.fingerprint, [0])
    with place.open(job.part_of(first)) as file:
        known = read_whole(file, first, job)
    with pathlib.Path(told).open() as lines:
        for number, sha256, size in map(json.loads, lines):
            own = dataclasses.replace(known, sha256=sha256, bytes=size)
            yield ShardResult(number, first.size, 0, True, 0.0, 0, 0, whole=own)


def resume(run: Simulation, explainer: Explainer) -> int:
    """As `attribeam run` does before a missing shard is computed, and a look at the state; the number missing."""
    place = open_place(run.config.output.path)
    made = run.prepared(explainer, known_before(place))
    read_estimate(place, made.job.fingerprint)
    done, _ = names.published(place.names(), made.job.fingerprint, len(made.shards))
    Watch(place, made.job.fingerprint, read_sizes(place)).look()
    return int(len(done) - done.sum())


def stage(name: str, folder: pathlib.Path) -> dict[str, Any]:
    """Run a stage in this process: seconds, seconds of the processor, and peak memory, of which `before` was needed for
    TensorFlow, Beam and the model."""
    run = Simulation(folder)
    explainer = Explainer.load(run.config.model, run.config.attribution)
    explainer.explain({"x": np.ones((1, 1), np.float32)})
    whole = planned(run, explainer) if name in STAGES[1:3] else None
    if name == "resume":
        _lose(pathlib.Path(run.config.output.path))
    work: dict[str, Callable[[], Any]] = {
        "plan": lambda: plan(run, explainer),
        "commit": lambda: commit(run, _given(whole), explainer),
        "finalize": lambda: finalize(run, _given(whole)),
        "resume": lambda: resume(run, explainer),
    }
    before, started, cpu = peak_memory_bytes(), time.perf_counter(), time.process_time()
    found = work[name]()
    return {
        "seconds": time.perf_counter() - started,
        "cpu_seconds": time.process_time() - cpu,
        "peak_memory_bytes": peak_memory_bytes(),
        "before_bytes": before,
        "found": found,
    }


def _given(whole: RunPlan | None) -> RunPlan:
    assert whole is not None
    return whole


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
    """Every stage, each in a process of its own."""
    folder = pathlib.Path(tempfile.mkdtemp(dir=below))
    try:
        Simulation(folder).make(shards, shard_rows)
        found: dict[str, Any] = {}
        for name in STAGES:
            command = [sys.executable, "-m", "benchmarks.simulated", name, str(folder)]
            done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
            found[name] = json.loads(done.stdout.splitlines()[-1])
            one = found[name]
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
    print(json.dumps(stage(sys.argv[1], pathlib.Path(sys.argv[2]))))
