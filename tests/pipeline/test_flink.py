"""Jobs on a real Flink cluster with two task managers: the rows of a local run, and what a killed process costs.

Skipped where there is no Java, Flink or job server; with ATTRIBEAM_REQUIRE_FLINK=1 that is a failure.
ATTRIBEAM_FLINK_JOB_SERVER names a job server that is there already.
"""

from __future__ import annotations

import os
import pathlib
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import datasets
import numpy as np
import pyarrow as pa
import pytest
from datasets import attributions, launch, parts, read

from pipeline.config import JobConfig
from pipeline.flink.__main__ import CACHE
from pipeline.flink.cluster import Cluster, running_cluster
from pipeline.flink.distribution import find_distribution, find_job_server
from pipeline.flink.job import Target, beam_options
from pipeline.launch import Outcome, run
from transforms.errors import UsageError
from transforms.storage.place import open_place
from transforms.verify import verify_run

ROWS = 120
SMALL = {"shard_bytes": 300}  # 40 shards
# Another process tunes to another batch size, and another order of sums ends in other bits.
GIVEN = {"batch_size": 16}
# float32 sums of 8 terms of size 1, in any order: 8 roundings of 2⁻²⁴ each, and no row has larger attributions.
SAME = 1e-6


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Cluster, list[str]]]:
    """One cluster for all tests here, and Beam's options for it."""
    try:
        distribution = find_distribution()
        named = os.environ.get("ATTRIBEAM_FLINK_JOB_SERVER")
        server = pathlib.Path(named) if named else find_job_server(distribution.version, CACHE)
    except UsageError as error:
        if os.environ.get("ATTRIBEAM_REQUIRE_FLINK") == "1":
            raise
        pytest.skip(str(error))
    with running_cluster(distribution, tmp_path_factory.mktemp("flink")) as cluster:
        target = Target(cluster.master, distribution.version, server, cluster.pool, cluster.slots)
        yield cluster, beam_options(target)


@pytest.fixture
def jobs(job_of: Any, tmp_path: pathlib.Path) -> Callable[..., JobConfig]:
    """`jobs(out, steps)`: a job of 40 shards."""
    path = datasets.write(tmp_path, "parquet", datasets.rows(ROWS))

    def made(out: str, steps: int = 8) -> JobConfig:
        return job_of(
            datasets.keras_classifier,
            path,
            out,
            output=SMALL,
            attribution=GIVEN | {"steps": steps},
            input={"id": "name"},
        )

    return made


def on_flink(job: JobConfig, options: list[str]) -> Outcome:
    return run(job, pathlib.Path(job.input.files[0]).parent, options)


def assert_same_rows(found: pa.Table, wanted: pa.Table) -> None:
    """Attributions within SAME, and the deltas that are sums of them; everything else equal."""
    summed = ("delta", "relative_delta")
    assert np.abs(attributions(wanted)).max() > 100 * SAME, "nothing would be told apart"
    np.testing.assert_allclose(attributions(found), attributions(wanted), rtol=0, atol=SAME)
    for name in summed:
        np.testing.assert_allclose(found[name], wanted[name], rtol=0, atol=datasets.VALUES * SAME)
    kept = [name for name in wanted.column_names if name not in ("attribution_x", *summed)]
    assert found.select(kept).equals(wanted.select(kept))


def test_flink_gives_the_rows_of_a_local_run(
    session: tuple[Cluster, list[str]], jobs: Callable[..., JobConfig]
) -> None:
    cluster, options = session
    local, far = launch(jobs("local")), on_flink(jobs("flink"), options)
    assert_same_rows(read(far.root), read(local.root))
    assert [path.name for path in parts(far.root)] == [path.name for path in parts(local.root)]
    assert verify_run(open_place(far.root), deep=True) == []
    assert {job["state"] for job in cluster.jobs()} == {"FINISHED"}


def test_a_task_manager_killed_in_mid_run_costs_no_rows(
    session: tuple[Cluster, list[str]], jobs: Callable[..., JobConfig]
) -> None:
    cluster, options = session
    job, killed = jobs("killed", steps=512), list[int]()

    def kill() -> None:
        while not 5 <= len(parts(job.output.path)) < 30:
            time.sleep(0.05)
        killed.append(len(parts(job.output.path)))
        cluster.supervisor.kill("task-manager-0")

    threading.Thread(target=kill, daemon=True).start()
    out = on_flink(job, options)
    assert killed, "the run was over before anything was killed"
    table = read(out.root)
    assert table["row_id"].to_pylist() == datasets.rows(ROWS)["name"]
    assert out.manifest["rows"] == ROWS
    assert verify_run(open_place(out.root), deep=True) == []
