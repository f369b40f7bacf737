"""Jobs on Flink for the tests and the campaigns: a session, a job of many shards, and something killed in mid-run."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import pathlib
import threading
import time
from collections.abc import Callable, Iterator, Sequence

import datasets
import numpy as np
import pyarrow as pa
from datasets import attributions, parts

from pipeline.config import JobConfig
from pipeline.flink.cluster import Cluster, Layout, ask, running_cluster
from pipeline.flink.distribution import find_distribution
from pipeline.flink.job import Target, beam_options
from pipeline.launch import Outcome, run

ROWS, SHARDS = 120, 40
# float32 sums of 8 terms of size 1, in any order, differ by 8 roundings of 2⁻²⁴ each: 5e-7.
SAME = 1e-6


@dataclasses.dataclass(frozen=True)
class Session:
    """A cluster that runs, and Beam's options for it."""

    cluster: Cluster
    job_server: pathlib.Path
    options: Sequence[str]

    def run(self, job: JobConfig) -> Outcome:
        """`attribeam run` on it."""
        return run(job, pathlib.Path(job.input.files[0]).parent, self.options)

    def shards_of_workers(self, job: str) -> list[int]:
        """How many shards each worker of a job has explained."""
        master = self.cluster.master
        steps = (ask(master, f"jobs/{job}") or {}).get("vertices", [])
        step = next(step["id"] for step in steps if "AttributeShards" in step["name"])
        found = (ask(master, f"jobs/{job}/vertices/{step}") or {}).get("subtasks", [])
        return [worker["metrics"]["read-records"] for worker in found]


@contextlib.contextmanager
def flink_session(folder: pathlib.Path, layout: Layout | None = None) -> Iterator[Session]:
    """A cluster of this machine. ATTRIBEAM_FLINK_JOB_SERVER names a job server that is there already.

    Raises:
        UsageError: E_FLINK_JAVA, E_FLINK_HOME, E_FLINK_JOB_SERVER.
    """
    named = os.environ.get("ATTRIBEAM_FLINK_JOB_SERVER")
    distribution = find_distribution(pathlib.Path(named) if named else None)
    with running_cluster(distribution, folder, layout or Layout()) as cluster:
        server = distribution.job_server
        target = Target(cluster.master, distribution.version, server, cluster.pool, cluster.slots)
        yield Session(cluster, server, beam_options(target))


def flink_job(folder: pathlib.Path, built: datasets.Built, out: str, steps: int) -> JobConfig:
    """120 rows in 40 shards; a fixed batch size, for a tuned one may end in other bits."""
    path = folder / "rows.parquet"
    if not path.exists():
        datasets.write_parquet(path, datasets.rows(ROWS))
    attribution = {**built.attribution, "steps": steps, "batch_size": 16}
    given = {"input": {"id": "name", "label": "label"}, "output": {"shard_bytes": 300}}
    return datasets.job(folder / out, built.model, path, built.features, attribution=attribution, **given)


def in_mid_run(job: JobConfig, at: int, act: Callable[[], None]) -> list[int]:
    """Do something once, from another thread, when at least `at` parts are there; how many there were then."""
    found = list[int]()

    def wait() -> None:
        while len(parts(job.output.path)) < at:
            time.sleep(0.05)
        found.append(len(parts(job.output.path)))
        act()

    threading.Thread(target=wait, daemon=True).start()
    return found


def assert_same_rows(found: pa.Table, wanted: pa.Table) -> None:
    """Attributions within SAME, and the deltas that are sums of them; everything else equal."""
    assert np.abs(attributions(wanted)).max() > 100 * SAME, "nothing would be told apart"
    np.testing.assert_allclose(attributions(found), attributions(wanted), rtol=0, atol=SAME)
    np.testing.assert_allclose(found["delta"], wanted["delta"], rtol=0, atol=datasets.VALUES * SAME)
    near = ("attribution_x", "delta", "relative_delta")
    kept = [name for name in wanted.column_names if name not in near]
    assert found.select(kept).equals(wanted.select(kept))
