"""Whole runs with `steps: auto`, with a stem, and on a machine whose memory runs out."""

from __future__ import annotations

import pathlib
from collections.abc import Callable
from typing import Any

import datasets
import numpy as np
import pyarrow.parquet as pq
import pytest
import tensorflow as tf
from datasets import attributions, launch, read

from transforms.attribution.engine.kernel import Kernel
from transforms.attribution.explainer import Explainer
from transforms.runs.verify import verify_run
from transforms.storage.place import open_place

AUTO = {"steps": "auto"}
SAME_REAL = 1e-6  # of the largest value: float32 sums of a few terms, each to 2^-24
MARK = 77.0


@pytest.mark.parametrize("kind", ["parquet", "none"])
def test_every_row_has_its_own_steps(job_of: Any, kind: str) -> None:
    rows = datasets.rows()
    job = job_of(datasets.keras_classifier, kind, attribution=AUTO | {"tolerance": 0.003}, output={"shard_bytes": 300})
    out = launch(job)
    direct, table = Explainer.load(job.model, job.attribution).explain(rows["pixels"], rows["label"]), read(out.root)
    assert table["steps"].to_pylist() == direct.steps.tolist()
    assert len(set(direct.steps)) > 1, "a fixed number of steps would pass as well"
    assert out.manifest["gradients"] == direct.steps.sum()
    assert table["status"].to_pylist() == direct.status.tolist()
    np.testing.assert_allclose(table["error_estimate"], direct.error_estimate, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(attributions(table), direct.attributions["x"], rtol=SAME_REAL, atol=SAME_REAL)
    assert verify_run(open_place(out.root), deep=True) == []


def test_a_fixed_number_of_steps_estimates_no_error(job_of: Any) -> None:
    assert read(launch(job_of(datasets.linear)).root)["error_estimate"].null_count == datasets.ROWS


def test_rows_that_do_not_converge_are_counted(job_of: Any) -> None:
    out = launch(job_of(datasets.keras_classifier, attribution=AUTO | {"tolerance": 1e-6, "max_steps": 7}))
    assert out.manifest["rows_by_status"]["unconverged"] == datasets.ROWS
    assert set(read(out.root)["steps"].to_pylist()) == {4}


def test_what_is_hoisted_is_said_and_changes_nothing(job_of: Any) -> None:
    outs = [
        launch(job_of(datasets.keras_classifier, out=f"{hoist}", attribution=AUTO | {"hoist": hoist}))
        for hoist in (True, False)
    ]
    assert [set(out.manifest["hoisted"]) for out in outs] == [{"x"}, set()]
    assert all(isinstance(end, str) and end for end in outs[0].manifest["hoisted"].values())
    found, wanted = (attributions(read(out.root)) for out in outs)
    np.testing.assert_allclose(found, wanted, rtol=SAME_REAL, atol=SAME_REAL)


def fail(monkeypatch: pytest.MonkeyPatch, program: str, fails: Callable[[Any], bool]) -> None:
    """Let a program of every kernel run out of memory where `fails`."""
    real = getattr(Kernel, program)

    def called(kernel: Kernel, fed: Any) -> Any:
        if fails(fed):
            raise tf.errors.ResourceExhaustedError(None, None, "OOM when allocating tensor")
        return real(kernel, fed)

    monkeypatch.setattr(Kernel, program, called)


@pytest.mark.parametrize("settings", [AUTO, {"steps": 8}, {"steps": 8, "batch_size": 16}], ids=str)
def test_memory_that_runs_out_costs_time_only(
    job_of: Any, monkeypatch: pytest.MonkeyPatch, settings: dict[str, Any]
) -> None:
    wanted = launch(job_of(datasets.keras_classifier, out="wanted", attribution=settings))
    fail(monkeypatch, "gradients", lambda paths: paths.points > 5)
    found = launch(job_of(datasets.keras_classifier, attribution=settings))
    assert wanted.manifest["out_of_memory"] == 0 < found.manifest["out_of_memory"]
    assert found.manifest["gradients"] == wanted.manifest["gradients"]
    tables = [read(out.root) for out in (found, wanted)]
    np.testing.assert_allclose(*map(attributions, tables), rtol=SAME_REAL, atol=SAME_REAL)
    assert verify_run(open_place(found.root), deep=True) == []


@pytest.mark.parametrize("program", ["forward", "gradients"])
@pytest.mark.parametrize("targets", [1, 2])
def test_a_row_that_does_not_even_fit_alone_is_quarantined(
    job_of: Any, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, program: str, targets: int
) -> None:
    rows, large = datasets.rows(), [3, 17]
    rows["pixels"][large, 1] = MARK
    path = datasets.write_parquet(tmp_path / "large.parquet", rows)
    target = {"target": {"top_k": 2}} if targets == 2 else {}
    settings: dict[str, Any] = {
        "attribution": AUTO | {"hoist": False} | target,
        "limits": {"quarantined": 0.5},
        "output": {"shard_bytes": 600},
    }
    wanted = launch(job_of(datasets.keras_classifier, path, "wanted", **settings))
    fail(monkeypatch, program, lambda fed: (np.asarray(getattr(fed, "inputs", fed)[0]) == MARK).any())
    found = launch(job_of(datasets.keras_classifier, path, **settings))
    assert (found.manifest["quarantined"], found.manifest["rows"]) == (2, 21 * targets)
    assert found.manifest["out_of_memory"] > 0
    tables = [read(out.root) for out in (found, wanted)]
    keep = ~np.isin(tables[1]["source_row"].to_numpy(), large)
    assert tables[0]["source_row"].to_pylist() == tables[1]["source_row"].to_numpy()[keep].tolist()
    np.testing.assert_allclose(attributions(tables[0]), attributions(tables[1])[keep], rtol=SAME_REAL, atol=SAME_REAL)
    refused = [
        row
        for file in sorted(pathlib.Path(found.root, "_quarantine").glob("*.parquet"))
        for row in pq.read_table(file).to_pylist()
    ]
    assert [(row["source_row"], row["code"]) for row in refused] == [(row, "E_OUT_OF_MEMORY") for row in large]
    assert all(f"large.parquet row {row['source_row']}: " in row["message"] for row in refused)
    assert verify_run(open_place(found.root), deep=True) == []
