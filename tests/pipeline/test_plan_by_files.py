"""`attribeam plan` reads files: it says what `run` would do, and nothing of a model is loaded, traced or called."""

from __future__ import annotations

import io
import pathlib
from collections.abc import Iterator
from typing import Any

import datasets
import hostile_keras_files
import hostile_saved_models
import numpy as np
import pytest
import yaml
from datasets import Command
from rich.console import Console

from pipeline.facts import UNKNOWN
from pipeline.plan import Known
from pipeline.prepare import prepare
from pipeline.preview import foresee, preview
from transforms.attribution.explainer import Explainer
from transforms.attribution.model import anatomy
from transforms.errors import UsageError

ROOT = pathlib.Path("/")


class ExecutedError(Exception):
    """Something of a model was about to be executed."""


def refuse(*_: Any, **__: Any) -> Any:
    raise ExecutedError


@pytest.fixture
def guard(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Whatever loads a model, traces a function or imports a graph raises."""
    import keras
    import tensorflow as tf
    from tensorflow.python.framework import importer, ops
    from tensorflow.python.saved_model import load

    for owner, name in (
        (tf.saved_model, "load"),
        (load, "load_partial"),
        (load, "load"),
        (keras.saving, "load_model"),
        (keras.models, "load_model"),
        (keras.saving, "deserialize_keras_object"),
        (tf, "function"),
        (importer, "import_graph_def"),
        (ops.Graph, "_create_op_internal"),
    ):
        monkeypatch.setattr(owner, name, refuse)
    yield


def said(config: Any, **options: Any) -> str:
    """What plan prints, in one line."""
    console = Console(file=io.StringIO(), width=200)
    preview(config, ROOT, console, **options)
    return " ".join(console.file.getvalue().split())  # type: ignore[attr-defined]


def divided(path: pathlib.Path) -> datasets.Built:
    """Whole numbers of which only the graph tells that they are cast."""
    import keras

    x = keras.Input((datasets.VALUES,), name="x", dtype="int64")
    model = keras.Model(x, keras.layers.Dense(1)((x / 4) ** 2))
    model.save(path.with_suffix(".keras"))
    return datasets.Built({"path": str(path.with_suffix(".keras"))}, {"x": "counts"})


@pytest.mark.parametrize("name", [*datasets.MODELS, "product", "sequence", "images"])
def test_the_job_that_files_tell_is_the_job_that_runs(job_of: Any, tmp_path: pathlib.Path, name: str) -> None:
    make, source, parts = getattr(datasets, name), "parquet", dict[str, Any]()
    if name in ("product", "images"):
        rows = datasets.rows(5) | {"weight": np.ones([5, 1], np.float32)}
        rows |= {"pixels": np.zeros([5, 44 * 44], np.float32)} if name == "images" else {}
        source = str(datasets.write_parquet(tmp_path / "in.parquet", rows))
    config = job_of(make, source, output={"shard_bytes": 300}, **parts)
    foreseen = foresee(config, ROOT, anatomy.dissect(config.model.path))
    explainer = Explainer.load(config.model, config.attribution)
    # a run that is resumed does not try the first row again
    carried = foreseen.survey.layout.carried
    prepared = prepare(config, ROOT, explainer, Known(carried=carried))
    assert foreseen.prepared is not None
    assert foreseen.survey.fingerprint == prepared.job.fingerprint
    assert foreseen.survey.decides == prepared.decides
    assert foreseen.prepared.job == prepared.job
    assert foreseen.prepared.request == prepared.request
    assert list(foreseen.prepared.shards) == list(prepared.shards)
    assert len(prepared.shards) > 1 or name == "images"


@pytest.mark.parametrize("make", [datasets.keras_classifier, datasets.saved_model, datasets.int_saved_model])
def test_nothing_is_loaded_but_for_a_pilot(job_of: Any, guard: None, make: Any) -> None:
    config = job_of(make)
    assert "shards 1 of at most 23 rows" in said(config)
    with pytest.raises(ExecutedError):
        said(config, pilot_rows=1)
    assert not pathlib.Path(config.output.path).exists()


def test_what_files_do_not_tell_is_said_to_be_unknown(job_of: Any) -> None:
    config = job_of(divided, input={"label": None})
    told = said(config)
    for name in ("shards", "explained", "held"):
        assert f" {name} {UNKNOWN}" in told
    assert f"bytes {UNKNOWN}, to " in told and f"184 ({8} steps a row)" in told
    assert "explained x [4]" in said(config, pilot_rows=1)
    out = datasets.launch(config)
    again = preview_of_run(config)
    assert out.manifest["rows"] == 23 and out.manifest["shards"] == 1
    assert f"explained {UNKNOWN}" in again
    assert "shards 1 of at most 23 rows" in again and "done already rows 23/23" in again


def preview_of_run(config: Any) -> str:
    """As `datasets.launch` runs it: its folder decides the files' names."""
    console = Console(file=io.StringIO(), width=200)
    preview(config, pathlib.Path(config.input.files[0]).parent, console)
    return " ".join(console.file.getvalue().split())  # type: ignore[attr-defined]


def test_a_run_that_was_claimed_and_never_planned_has_done_nothing(job_of: Any) -> None:
    config = job_of(datasets.linear)
    datasets.launch(config)
    for name in ("_plan.parquet", "_SUCCESS"):
        (pathlib.Path(config.output.path) / name).unlink()
    told = preview_of_run(config)
    assert "shards 1 of at most 23 rows" in told and "done already" not in told


@pytest.mark.parametrize("hole", [*hostile_saved_models.LIVE, "a Lambda", "CVE-2025-9905: a Lambda in HDF5"])
def test_a_model_that_run_refuses_is_planned_unharmed_and_refused(
    job_of: Any, tmp_path: pathlib.Path, hole: str
) -> None:
    canary = tmp_path / "canary"
    path = (hostile_saved_models.SAVED_MODELS | hostile_keras_files.KERAS_FILES)[hole](tmp_path / "evil", canary)
    canary.unlink(missing_ok=True)  # of what runs while the model is made
    rows = datasets.rows(5) | {"pixels": np.ones([5, 2], np.float32), "label": np.zeros(5, np.int64)}
    source = str(datasets.write_parquet(tmp_path / "in.parquet", rows))
    model = {"path": path, "signature": "serving_default"}
    job = {"input": {"features": {"x": {"column": "pixels", "shape": [2]}}}, "attribution": {"target": "label"}}
    refused, trusted = (
        job_of(datasets.keras_classifier, source, model=model | {"trust": trust}, **job) for trust in (False, True)
    )
    console = Console(file=io.StringIO(), width=200)
    with pytest.raises(UsageError, match="E_MODEL_H5" if "HDF5" in hole else "E_MODEL_RISKY"):
        preview(refused, ROOT, console)
    try:
        said(trusted)
    except UsageError as error:
        # of the .keras files, the input has a name that is not the feature's
        assert error.code in ("E_PLAN_UNKNOWN", "E_FEATURE_INPUTS")
    assert not canary.exists()


def test_a_refusal_comes_after_the_plan(job_of: Any, tmp_path: pathlib.Path, attribeam: Command) -> None:
    canary = tmp_path / "canary"
    config = job_of(datasets.keras_classifier).model_dump(mode="json")
    config["model"] = {"path": hostile_saved_models.writes(tmp_path / "evil", canary)}
    config["input"]["features"] = {"x": {"column": "pixels", "shape": [2]}}
    rows = datasets.rows(5) | {"pixels": np.ones([5, 2], np.float32), "label": np.zeros(5, np.int64)}
    config["input"]["files"] = str(datasets.write_parquet(tmp_path / "in.parquet", rows))
    file = tmp_path / "job.yaml"
    file.write_text(yaml.safe_dump(config))
    code, out, error = attribeam("plan", file)
    assert (code, "E_MODEL_RISKY" in error) == (2, True)
    assert "5 rows in 1 files" in out and "run refuses this model" in out and "WriteFile: writes files" in out
    code, out, error = attribeam("plan", file, "--set", "model.trust=true")
    assert (code, error, "run refuses" in out, canary.exists()) == (0, "", False, False)
    # the canary can fire
    assert attribeam("plan", file, "--set", "model.trust=true", "--pilot", 1)[0] == 0
    assert canary.exists()


def test_what_is_wrong_with_configuration_and_data_is_still_found(job_of: Any, tmp_path: pathlib.Path) -> None:
    ragged = {"pixels": datasets.pa.array([[1.0, 2.0, 3.0]] * 5), "label": np.zeros(5, np.int64)}
    short = str(datasets.write_parquet(tmp_path / "short.parquet", ragged))
    cases: list[tuple[str, Any, dict[str, Any]]] = [
        ("E_FEATURE_SHAPE: not one of the first 5 rows", short, {}),
        ("E_TARGET_RANGE", "parquet", {"attribution": {"target": 3}}),
        ("E_TARGET_MISSING", "parquet", {"attribution": {"target": None}}),
        ("E_TARGET_NAME", "parquet", {"attribution": {"target": {"name": "cat"}}}),
        ("E_TARGET_CLASSES", "parquet", {"model": {"classes": ["a", "b"]}}),
        ("E_BASELINE_INPUT", "parquet", {"attribution": {"baseline": {"y": "zeros"}}}),
        ("E_BASELINE_SHAPE", "parquet", {"attribution": {"baseline": {"constant": [1.0, 2.0]}}}),
        ("E_COLUMN_MISSING", "parquet", {"input": {"keep": ["nowhere"]}}),
        ("E_FEATURE_INPUTS", "parquet", {"input": {"features": {"y": "pixels"}}}),
        ("E_REDUCE", "parquet", {"output": {"reduce": {"y": [-1]}}}),
        ("E_MODEL_DIGEST", "parquet", {"model": {"sha256": "0" * 64}}),
        ("E_MODEL_LAYER", "parquet", {"model": {"layer": "nowhere"}}),
    ]
    for code, source, parts in cases:
        with pytest.raises(UsageError, match=code):
            said(job_of(datasets.keras_classifier, source, **parts))


def test_a_trusted_hdf5_file_takes_a_pilot(job_of: Any, tmp_path: pathlib.Path) -> None:
    path = hostile_keras_files.lambda_in_hdf5(tmp_path / "model", tmp_path / "canary")
    with pytest.raises(UsageError, match=r"E_PLAN_UNKNOWN: .*--pilot 1"):
        said(job_of(datasets.keras_classifier, model={"path": path, "trust": True}))
