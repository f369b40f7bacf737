"""A model that could do more than arithmetic, before every command: none runs any of it unless the user trusts it."""

from __future__ import annotations

import json
import pathlib
from typing import Any

import datasets
import hostile_saved_models
import numpy as np
import pytest
import yaml
from datasets import Command

from pipeline.config import parse_config
from pipeline.evaluation import Request, evaluate
from pipeline.plan import deciding_values
from transforms.attribution.model import anatomy
from transforms.errors import UsageError


@pytest.fixture
def canary(tmp_path: pathlib.Path) -> pathlib.Path:
    return tmp_path / "canary"


@pytest.fixture
def hostile(job_of: Any, tmp_path: pathlib.Path, canary: pathlib.Path) -> pathlib.Path:
    """A job of a model that writes the canary whenever it is called."""
    config = job_of(datasets.keras_classifier).model_dump(mode="json")
    config["model"] = {"path": hostile_saved_models.writes(tmp_path / "evil", canary)}
    config["input"]["features"] = {"x": {"column": "pixels", "shape": [2]}}
    rows = datasets.rows(5) | {"pixels": np.ones([5, 2], np.float32), "label": np.zeros(5, np.int64)}
    config["input"]["files"] = str(datasets.write_parquet(tmp_path / "in" / "rows.parquet", rows))
    file = tmp_path / "job.yaml"
    file.write_text(yaml.safe_dump(config))
    return file


def test_no_command_runs_it(hostile: pathlib.Path, canary: pathlib.Path, attribeam: Command) -> None:
    model = yaml.safe_load(hostile.read_text())["model"]["path"]
    code, said, _ = attribeam("inspect", model)
    assert (code, "WriteFile: writes files" in said, anatomy.digest(model) in said) == (0, True, True)
    for command in (("plan", hostile), ("plan", hostile, "--pilot", 2), ("run", hostile)):
        code, _, error = attribeam(*command)
        assert (code, "E_MODEL_RISKY" in error, "WriteFile: writes files" in error) == (2, True, True)
        code, _, error = attribeam(*command, "--set", f"model.sha256={'f' * 64}", "--set", "model.trust=true")
        assert (code, "E_MODEL_DIGEST" in error) == (2, True)
    assert not canary.exists()
    assert not (hostile.parent / "out").exists()


def test_trust_is_recorded_and_a_run_directory_cannot_ask_for_it(
    hostile: pathlib.Path, canary: pathlib.Path, attribeam: Command
) -> None:
    """Whoever evaluates a run names the model that is trusted, by its digest."""
    out = hostile.parent / "out"
    assert attribeam("run", hostile, "--set", "model.trust=true")[0] == 0
    assert canary.exists()
    assert json.loads((out / "_manifest.json").read_text())["model_trusted"] is True
    record = json.loads((out / "_run.json").read_text())
    assert record["config"]["model"]["trust"] is True
    canary.unlink()
    digest, few = anatomy.digest(record["config"]["model"]["path"]), Request(rows=3, metrics=["insertion"])
    for trusted in ((), ("0" * 64,)):
        with pytest.raises(UsageError, match=f"E_MODEL_RISKY: .*--trust {digest}"):
            evaluate([str(out)], few, trusted=trusted)
    assert not canary.exists()
    evaluate([str(out)], few, trusted=[digest])
    assert canary.exists()


def test_trust_decides_no_value(job_of: Any) -> None:
    plain = job_of(datasets.keras_classifier)
    values = plain.model_dump(mode="json")
    values["model"] |= {"trust": True, "sha256": "0" * 64}
    assert deciding_values(parse_config(values), "digest", []) == deciding_values(plain, "digest", [])
