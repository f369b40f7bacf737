"""`ComputeBaselines`: over any shards what numpy finds in the whole dataset at once; its twin, one shard at a time."""

from __future__ import annotations

import dataclasses
import hashlib
import pathlib
from typing import Any

import datasets
import numpy as np
import pytest
from apache_beam import Pipeline
from apache_beam.internal import pickler
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from apache_beam.utils import shared

from pipeline import plan as planning
from pipeline.job import build_baselines
from pipeline.prepare import prepare
from transforms.attribution.baselines import dataset_summary
from transforms.attribution.baselines.references import References
from transforms.attribution.config import AttributionConfig, ModelConfig
from transforms.attribution.explainer import Explainer
from transforms.dataset_baselines import (
    BaselinePlan,
    merge_summaries,
    publish_baselines,
    summarize_shard,
)
from transforms.errors import UsageError
from transforms.runs.plan_file import read_shards, write_plan
from transforms.runs.references_file import check_references, fingerprint_of, read_references
from transforms.runs.shard import Shard
from transforms.storage.manifest import BASELINES, sha256_of
from transforms.storage.place import Place, open_place

COUNT = 250
KINDS = ["min", "max", "mean", "median", {"samples": 3}]
SIZES = (1000, 7000, 10**6)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, pathlib.Path]:
    """The same rows in Parquet and TFRecord, in row groups and with ids that are not in order; two ids are the same."""
    folder, rows = tmp_path_factory.mktemp("many"), table()
    return {kind: datasets.write(folder, kind, rows, "rows") for kind in ("parquet", "none")}


def table() -> dict[str, Any]:
    rows = datasets.rows(COUNT)
    rows["name"][:2] = ["twice", "twice"]
    return rows


@pytest.fixture(scope="module")
def explainer(build: Any) -> Explainer:
    """Of the model and the configuration that all plans here have."""
    built = build(datasets.keras_classifier)
    config = AttributionConfig(**built.attribution, baseline=KINDS, seed=5, steps=8)
    return Explainer.load(ModelConfig(**built.model), config)


@pytest.fixture
def planned(job_of: Any, files: dict[str, pathlib.Path], explainer: Explainer) -> Any:
    """planned(shard bytes, kind) → the plan, a place to publish in, and an Explainer."""

    def made(size: int, kind: str = "parquet") -> tuple[BaselinePlan, Place, Explainer]:
        fields = {"baseline": KINDS, "seed": 5}
        out = {"shard_bytes": size}
        parts = {"attribution": fields, "output": out, "input": {"id": "name"}}
        config = job_of(datasets.keras_classifier, files[kind], f"{kind}-{size}", **parts)
        assert config.attribution == explainer.config
        found = prepare(config, files[kind].parent, explainer, planning.Known())
        plan = BaselinePlan(found.job, len(found.shards), found.request, explainer.model.classes)
        place = open_place(found.job.root)
        write_plan(place, found.job.fingerprint, found.shards.with_files(), found.job.layout)
        return plan, place, explainer

    return made


def shards_of(plan: BaselinePlan, place: Place) -> list[Shard]:
    """All of them."""
    return read_shards(place, plan.job.fingerprint, range(plan.shards))


def brute_force(file: str) -> References:
    """From all rows at once, with no code of the package."""
    rows = table()
    values = rows["pixels"].astype(np.float64)
    hashes = [hashlib.sha256(f"5/sample/{name}".encode()).digest()[:16] for name in rows["name"]]
    order = sorted(range(COUNT), key=lambda row: (hashes[row], file, row))
    arrays = {kind: getattr(np, kind)(values, axis=0).astype(np.float32) for kind in ("min", "max", "mean", "median")}
    return References({"x": arrays | {"samples": rows["pixels"][order[: dataset_summary.POOL_ROWS]]}})


def by_beam(plan: BaselinePlan, place: Place, explainer: Explainer) -> References:
    """What the transform publishes."""
    handle = shared.Shared()
    assert handle.acquire(lambda: explainer) is explainer
    with Pipeline(runner=FnApiRunner()) as pipeline:
        build_baselines(pipeline, plan, handle)
    return read_references(place, sha256_of(place, BASELINES)[0])


def by_twin(plan: BaselinePlan, place: Place, explainer: Explainer) -> References:
    """The same without Beam, the shards in another order, some of them together first."""
    summaries = [summarize_shard(shard, plan) for shard in reversed(shards_of(plan, place))]
    half = len(summaries) // 2
    both = [merge_summaries(part, plan.request) for part in (summaries[:half], summaries[half:])]
    publish_baselines(plan, merge_summaries(both, plan.request), explainer, place)
    return read_references(place, sha256_of(place, BASELINES)[0])


CASES = [(by_twin, size, "parquet") for size in SIZES] + [(by_beam, size, "none") for size in SIZES]


@pytest.mark.parametrize(("way", "size", "kind"), CASES)
def test_it_is_what_numpy_finds_at_once(planned: Any, files: Any, way: Any, size: int, kind: str) -> None:
    plan, place, explainer = planned(size, kind)
    assert (plan.shards == 1) is (size == SIZES[-1])
    found, wanted = way(plan, place, explainer).arrays["x"], brute_force(files[kind].name).arrays["x"]
    assert found.keys() == wanted.keys()
    for name, value in wanted.items():
        assert found[name].dtype == np.float32 and found[name].shape == value.shape
        if name == "mean":
            # 250 sums in float64, each to 2^-53 of the largest partial sum, and one rounding to float32
            slack = COUNT * 2**-53 * np.abs(table()["pixels"]).sum(axis=0).max() / COUNT
            np.testing.assert_allclose(found[name], value, rtol=2**-23, atol=slack)
        else:
            assert np.array_equal(found[name], value), name


def test_a_bounded_sample_is_of_the_smallest_hashes(planned: Any, files: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr(dataset_summary, "MEDIAN_ROWS", 50)
    monkeypatch.setattr(dataset_summary, "POOL_ROWS", 20)
    whole = brute_force(files["parquet"].name).arrays["x"]["samples"]
    sample = np.median(brute_force_sample(50, files["parquet"].name), axis=0)
    for size in SIZES[:2]:
        found = by_twin(*planned(size)).arrays["x"]
        assert np.array_equal(found["samples"], whole[:20])
        assert np.array_equal(found["median"], sample.astype(np.float32))


def brute_force_sample(rows: int, file: str) -> np.ndarray:
    hashes = [hashlib.sha256(f"5/sample/{name}".encode()).digest()[:16] for name in table()["name"]]
    order = sorted(range(COUNT), key=lambda row: (hashes[row], file, row))
    return table()["pixels"][order[:rows]].astype(np.float64)


def test_what_travels_survives_the_journey(planned: Any) -> None:
    plan, place, _ = planned(SIZES[0])
    first = shards_of(plan, place)[0]
    assert pickler.loads(pickler.dumps(plan)) == plan
    summary = pickler.loads(pickler.dumps(summarize_shard(first, plan)))
    assert summary.rows == first.size and len(summary.keys) == len(summary.sample["x"])


def test_the_second_attempt_adopts_the_firsts_file(planned: Any) -> None:
    plan, place, explainer = planned(SIZES[-1])
    by_twin(plan, place, explainer)
    digest = sha256_of(place, BASELINES)[0]
    summary = summarize_shard(shards_of(plan, place)[0], plan)
    other = dataclasses.replace(summary, low={"x": summary.low["x"] - 1})
    publish_baselines(plan, other, explainer, place)
    check_references(place, digest)
    assert fingerprint_of(place) == plan.job.fingerprint


def test_no_usable_row_at_all_is_an_error(planned: Any) -> None:
    plan, place, explainer = planned(SIZES[-1])
    with pytest.raises(UsageError, match="E_INPUT_NO_ROWS"):
        publish_baselines(plan, dataset_summary.nothing(), explainer, place)


@pytest.mark.parametrize("size", [0, 100, 5000])
def test_what_is_no_file_of_ours_has_no_fingerprint(tmp_path: pathlib.Path, size: int) -> None:
    place = open_place(str(tmp_path))
    assert fingerprint_of(place) is None
    (tmp_path / BASELINES).write_bytes(b"PAR1" * size)
    assert fingerprint_of(place) is None
