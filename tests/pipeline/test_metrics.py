"""What Beam counts of a run, and what the manifest says of the same: from the files, whoever computed them."""

from __future__ import annotations

import pathlib
from collections import Counter
from typing import Any

import datasets
import pyarrow.parquet as pq
import pytest
from apache_beam.metrics import MetricsFilter
from datasets import launch

from pipeline import launch as launching
from transforms.metrics import NAMESPACE

ROWS, REFUSED, STEPS = 23, 5, 6


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> Any:
    """counted() → Beam's counters of the last run."""
    pipelines, real = list[Any](), launching.build

    def build(root: Any, **parts: Any) -> Any:
        pipelines.append(root)
        return real(root, **parts)

    monkeypatch.setattr(launching, "build", build)

    def counters() -> dict[str, int]:
        found = pipelines[-1].result.metrics().query(MetricsFilter().with_namespace(NAMESPACE))["counters"]
        return {one.key.metric.name: one.result for one in found}

    return counters


def test_beam_and_the_manifest_count_the_same(job_of: Any, tmp_path: pathlib.Path, counted: Any) -> None:
    rows = datasets.rows(ROWS) | {"label": datasets.np.arange(ROWS) % 4}  # the model knows three classes
    path = datasets.write_parquet(tmp_path / "in.parquet", rows)
    parts = {"limits": {"quarantined": 0.5}, "output": {"shard_bytes": 300}, "attribution": {"steps": STEPS}}
    job = job_of(datasets.keras_classifier, path, **parts)
    first = launch(job)
    found, manifest = counted(), first.manifest
    assert manifest["quarantined_by_code"] == {"E_TARGET_RANGE": REFUSED}
    assert manifest["gradients"] == int(datasets.read(first.root)["steps"].to_numpy().sum()) == STEPS * (ROWS - REFUSED)
    assert (found["shards"], found["rows"]) == (manifest["shards"], ROWS - REFUSED)
    assert found["gradients"] == manifest["gradients"]
    assert found["quarantined"] == found["quarantined_E_TARGET_RANGE"] == REFUSED
    assert found["programs_compiled"] == manifest["programs_compiled"] > 0
    for name in ("reading", "computing", "writing"):
        # a counter is whole, so that each shard is off by at most half a millisecond; the manifest by half of its last
        assert abs(found[f"{name}_ms"] - 1000 * manifest[f"{name}_s"]) <= 0.5 * manifest["shards"] + 0.5
        assert manifest[f"{name}_s"] > 0

    out = pathlib.Path(first.root)
    lost = datasets.parts(out)[1]
    gradients = int(pq.read_table(lost, columns=["steps"])["steps"].to_numpy().sum())
    for name in (lost.name, "_SUCCESS", "_manifest.json", "_files.parquet"):
        (out / name).unlink()
    again = launch(job).manifest
    assert (counted()["shards"], counted()["gradients"]) == (1, gradients)
    same = ("rows", "gradients", "quarantined", "quarantined_by_code", "rows_by_status", "output_bytes")
    assert {name: again[name] for name in same} == {name: manifest[name] for name in same}


def test_the_listing_adds_up_to_the_manifest(job_of: Any) -> None:
    out = launch(job_of(datasets.keras_classifier, output={"shard_bytes": 300}))
    listed = pq.read_table(pathlib.Path(out.root, "_files.parquet")).to_pylist()
    sums = Counter[str]()
    for row in listed:
        sums.update({name: row[name] for name in ("rows", "gradients", "bytes")})
    assert (sums["rows"], sums["gradients"]) == (out.manifest["rows"], out.manifest["gradients"])
    assert sums["bytes"] == out.manifest["output_bytes"]
