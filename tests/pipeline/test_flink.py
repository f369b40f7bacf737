"""Jobs on a real Flink cluster with two task managers: the rows of a local run, and what a killed process costs.

Skipped where there is no Java, Flink or job server; with ATTRIBEAM_REQUIRE_FLINK=1 that is a failure.
"""

from __future__ import annotations

import os
import pathlib
from collections.abc import Iterator
from typing import Any

import datasets
import pytest
import yaml
from datasets import launch, parts, read
from flink_runs import ROWS, SHARDS, Session, assert_same_rows, flink_job, flink_session, in_mid_run
from stores import FaultyProxy, Store, environment

from pipeline.flink.__main__ import main
from transforms.errors import UsageError
from transforms.runs.verify import verify_run
from transforms.storage.place import open_place


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory, s3_server: FaultyProxy) -> Iterator[Session]:
    """One cluster for all tests here, whose workers know the store."""
    try:
        with pytest.MonkeyPatch.context() as patch:
            for name, value in environment(s3_server.url).items():
                patch.setenv(name, value)
            with flink_session(tmp_path_factory.mktemp("flink")) as found:
                yield found
    except UsageError as error:
        if os.environ.get("ATTRIBEAM_REQUIRE_FLINK") == "1":
            raise
        pytest.skip(str(error))


def test_flink_gives_the_rows_of_a_local_run(session: Session, build: Any, tmp_path: pathlib.Path) -> None:
    model = build(datasets.keras_classifier)
    local = launch(flink_job(tmp_path, model, "local", 8))
    far = session.run(flink_job(tmp_path, model, "flink", 8))
    assert_same_rows(read(far.root), read(local.root))
    assert [path.name for path in parts(far.root)] == [path.name for path in parts(local.root)]
    assert len(parts(far.root)) == far.manifest["shards"] == SHARDS
    assert verify_run(open_place(far.root), deep=True) == []
    (job,) = session.cluster.jobs()
    assert job["state"] == "FINISHED"
    assert session.shards_of_workers(job["jid"]) == [SHARDS // 2, SHARDS // 2]


def test_flink_from_and_to_a_store(session: Session, s3: Store, build: Any, tmp_path: pathlib.Path) -> None:
    job = flink_job(tmp_path, build(datasets.keras_classifier), "local", 8)
    local = read(launch(job).root)
    far = session.run(s3.take(job, "out", "data/rows.parquet"))
    found = read(s3.download(tmp_path / "copy") / "out")
    names = [name for name in local.column_names if name != "source_file"]  # where the rows stood
    assert_same_rows(found.select(names), local.select(names))
    assert verify_run(open_place(far.root), deep=True) == []


def test_a_job_on_a_cluster_that_is_there(session: Session, build: Any, tmp_path: pathlib.Path) -> None:
    model = build(datasets.keras_classifier)
    local = launch(flink_job(tmp_path, model, "local", 8))
    job, config = flink_job(tmp_path, model, "there", 8), tmp_path / "job.yaml"
    config.write_text(yaml.safe_dump(job.model_dump(mode="json")))
    there = f"--flink-master={session.cluster.master}", f"--job-server-jar={session.job_server}"
    assert main([str(config), *there, f"--logs={tmp_path / 'logs'}", "--no-audit"]) == 0
    assert_same_rows(read(job.output.path), read(local.root))
    assert verify_run(open_place(job.output.path), deep=True) == []
    assert len(session.cluster.jobs()) > 0, "it is still there"


def test_a_task_manager_killed_in_mid_run_costs_no_rows(session: Session, build: Any, tmp_path: pathlib.Path) -> None:
    job = flink_job(tmp_path, build(datasets.keras_classifier), "killed", 512)
    killed = in_mid_run(job, SHARDS // 8, lambda: session.cluster.supervisor.kill("task-manager-0"))
    out = session.run(job)
    assert killed
    assert killed[0] < SHARDS, "the run was over before anything was killed"
    assert read(out.root)["row_id"].to_pylist() == datasets.rows(ROWS)["name"]
    assert out.manifest["rows"] == ROWS
    assert verify_run(open_place(out.root), deep=True) == []
