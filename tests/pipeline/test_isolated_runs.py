"""A row that crashes its process costs itself alone; `tests/campaigns/poison.py` has every kind, in whole runs."""

from __future__ import annotations

import dataclasses
import pathlib
from contextlib import closing
from typing import Any

import datasets
import poisons
import pyarrow.parquet as pq
import pytest

from pipeline import plan
from pipeline.config import JobConfig
from pipeline.prepare import prepare
from pipeline.survey import Prepared
from transforms.attribute import attribute_shard
from transforms.attribution.explainer import Explainer
from transforms.isolation.bounds import Bounds
from transforms.isolation.shards import IsolatedShards
from transforms.storage.manifest import quarantine_name
from transforms.storage.place import open_place

POISONED = 9


@pytest.fixture
def prepared(tmp_path: pathlib.Path, job_of: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """prepared(poison, out) → a job, and its explainer."""
    monkeypatch.syspath_prepend(str(tmp_path))
    poisons.write_module(tmp_path)

    def made(poison: dict[int, str], out: str) -> tuple[Prepared, Explainer]:
        config: JobConfig = poisons.job(job_of, tmp_path, poison, out)
        explainer = Explainer.load(config.model, config.attribution, [poisons.MODULE])
        return prepare(config, tmp_path, explainer, plan.Known()), explainer

    return made


def test_the_neighbours_of_a_row_that_crashes_are_bit_equal_to_those_of_a_run_without_it(prepared: Any) -> None:
    sound, explainer = prepared({}, "sound")
    attribute_shard(sound.shards[0], sound.job, explainer, open_place(sound.job.root))
    found, _ = prepared({POISONED: "segfault"}, "poisoned")
    job = dataclasses.replace(found.job, isolation=Bounds(120.0, None, 1))
    with closing(IsolatedShards(job)) as isolated:
        result = isolated.attribute(found.shards[0])
    assert (result.rows, dict(result.refused), result.published) == (datasets.ROWS - 1, {"E_POISON_CRASH": 1}, True)
    table, whole = datasets.read(job.root), datasets.read(sound.job.root)
    others = [row for row in range(datasets.ROWS) if row != POISONED]
    assert table["source_row"].to_pylist() == others
    assert table.drop_columns("source_file").equals(whole.take(others).drop_columns("source_file"))
    (refused,) = pq.read_table(pathlib.Path(job.root, quarantine_name(job.part_of(found.shards[0])))).to_pylist()
    assert (refused["row_id"], refused["source_row"]) == (f"poisoned.parquet#{POISONED}", POISONED)
    assert refused["message"].startswith(
        f"poisoned.parquet row {POISONED}: the process that explained it died of SIGSEGV"
    )


def test_isolation_decides_no_values(job_of: Any) -> None:
    limits = {"isolate": True, "shard_s": 5, "memory": "4GiB", "attempts": 3}
    plain, isolated = job_of(datasets.linear), job_of(datasets.linear, limits=limits)
    assert (plain.limits.isolation, isolated.limits.isolation) == (None, Bounds(5.0, 4 * 2**30, 3))
    assert plan.deciding_values(plain, "digest", []) == plan.deciding_values(isolated, "digest", [])
