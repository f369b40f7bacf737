"""Whole runs at targets by name, over reduced outputs, and of a user's function, which must be trusted."""

from __future__ import annotations

import json
import pathlib
import subprocess
import sys
from typing import Any

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from datasets import LINEAR, attributions, launch, read

from pipeline import main
from pipeline.config import load_config
from pipeline.launch import run
from transforms.errors import UsageError
from transforms.runs.verify import verify_run
from transforms.storage.place import open_place

NAMES = ["cat", "dög", "emu"]
FUNCTION = """
import tensorflow as tf

def times(output):
    return tf.reduce_sum(output[:, :, 0] * output[:, :, 1], axis=1)
"""
# F sums the products of a position's first two outputs, LINEAR_t x_t² and twice that: each x_t gets its own term
OWN_TERM = 2 * (LINEAR.astype(np.float64) * datasets.rows()["pixels"].astype(np.float64) ** 2) ** 2


def named_rows(labels: Any) -> dict[str, Any]:
    """The usual rows, with these labels."""
    return datasets.rows() | {"label": labels}


@pytest.mark.parametrize("kind", ["parquet", "none"])
def test_labels_by_name_give_what_their_numbers_give(job_of: Any, tmp_path: pathlib.Path, kind: str) -> None:
    labels = [NAMES[label] for label in datasets.rows()["label"]]
    source = datasets.write(tmp_path, kind, named_rows(labels), "named")
    model = {"classes": NAMES}
    named = launch(job_of(datasets.keras_classifier, source, model=model, attribution={"target": "label"}))
    table, plain = read(named.root), read(launch(job_of(datasets.keras_classifier, kind, out="plain")).root)
    assert np.array_equal(attributions(table), attributions(plain))
    assert table["label"].to_pylist() == labels and len(set(labels)) == 3
    assert table["target"].type == pa.int64() and table["target"].to_pylist() == plain["target"].to_pylist()
    assert verify_run(open_place(named.root), deep=True) == []


def test_an_unknown_name_costs_its_row(job_of: Any, tmp_path: pathlib.Path) -> None:
    labels: list[Any] = [NAMES[label] for label in datasets.rows()["label"]]
    labels[4], labels[9] = "dog", None
    source = datasets.write_parquet(tmp_path / "some.parquet", named_rows(labels))
    parts: dict[str, Any] = {"model": {"classes": NAMES}, "limits": {"quarantined": 0.5}}
    out = launch(job_of(datasets.keras_classifier, source, **parts))
    (refused,) = (pathlib.Path(out.root) / "_quarantine").glob("part-*.parquet")
    rows = {row["source_row"]: row for row in pq.read_table(refused).to_pylist()}
    assert {row: found["code"] for row, found in rows.items()} == {4: "E_TARGET_NAME", 9: "E_LABEL_MISSING"}
    assert "'dog'" in rows[4]["message"] and "nearest is 'dög'" in rows[4]["message"]
    assert out.manifest["rows"] == datasets.ROWS - 2


def test_the_names_decide_and_not_their_file(job_of: Any, tmp_path: pathlib.Path) -> None:
    job = job_of(datasets.keras_classifier, attribution={"target": {"contrast": ["emu", "cat"]}})
    (tmp_path / "names.txt").write_text("\n".join(NAMES) + "\n", encoding="utf-8")
    (tmp_path / "job.yaml").write_text(yaml.safe_dump(job.model_dump(mode="json")))
    loaded = load_config(tmp_path / "job.yaml", ["model.classes=names.txt"])
    (tmp_path / "names.txt").unlink()
    out = run(loaded, tmp_path)
    listed = load_config(tmp_path / "job.yaml", [f"model.classes={json.dumps(NAMES)}"])
    assert run(listed, tmp_path).computed == 0, "the same run"
    single = [
        attributions(read(launch(job_of(datasets.keras_classifier, out=f"{n}", attribution={"target": n})).root))
        for n in (2, 0)
    ]
    found, table = attributions(read(out.root)), read(out.root)
    # both sums and their difference are rounded to float32
    np.testing.assert_allclose(found, single[0] - single[1], rtol=0, atol=1e-6 * np.abs(single).max())
    assert table["target"].null_count == datasets.ROWS and np.abs(found).max() > 0.1
    other = load_config(tmp_path / "job.yaml", [f"model.classes={json.dumps(NAMES[::-1])}"])
    with pytest.raises(UsageError, match=r"E_OUTPUT_OTHER_RUN: .*model\.classes"):
        run(other, tmp_path)


@pytest.mark.parametrize(
    ("parts", "code"),
    [
        ({"model": {"classes": NAMES[:2]}}, "E_TARGET_CLASSES"),
        ({"model": {"classes": NAMES}, "attribution": {"target": {"name": "dog"}}}, "E_TARGET_NAME"),
        ({"attribution": {"target": {"contrast": [0, 3]}}}, "E_TARGET_RANGE"),
    ],
)
def test_what_does_not_fit_is_refused_at_launch(job_of: Any, parts: dict[str, Any], code: str) -> None:
    job = job_of(datasets.keras_classifier, **parts)
    with pytest.raises(UsageError, match=code):
        launch(job)
    assert not pathlib.Path(job.output.path).exists()


def test_a_sum_over_a_sequence_at_the_label(job_of: Any) -> None:
    table, rows = read(launch(job_of(datasets.sequence, attribution={"steps": 1})).root), datasets.rows()
    scale = (rows["label"] + 1)[:, np.newaxis].astype(np.float64)
    wanted = scale * LINEAR.astype(np.float64) * rows["pixels"].astype(np.float64) ** 2
    # the gradient is linear in x, and one node in the middle exact: six products in float32
    np.testing.assert_allclose(attributions(table), wanted, rtol=6 * 2.0**-23)
    assert table["target"].to_pylist() == rows["label"].tolist()
    assert table["label"].to_pylist() == rows["label"].tolist()


@pytest.fixture
def trusting(job_of: Any, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The current directory of a user who has a function there, and a configuration that names it."""
    folder = tmp_path / "work [x]"
    folder.mkdir()
    (folder / "my_targets.py").write_text(FUNCTION)
    job = job_of(datasets.sequence, attribution={"steps": 2, "target": {"function": "my_targets:times"}})
    (folder / "job.yaml").write_text(yaml.safe_dump(job.model_dump(mode="json")))
    monkeypatch.chdir(folder)
    monkeypatch.setattr(main.signal, "signal", lambda *_: None)
    monkeypatch.setattr(main.sys, "excepthook", sys.excepthook)
    yield folder
    sys.modules.pop("my_targets", None)


def called(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    """`attribeam ...` in this process: its exit code."""
    monkeypatch.setattr(sys, "argv", ["attribeam", *arguments, *(["--no-audit"] if arguments[0] == "run" else [])])
    with pytest.raises(SystemExit) as ended:
        main.main()
    return int(ended.value.code or 0)


def test_a_function_is_not_run_because_a_configuration_says_so(
    trusting: pathlib.Path, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for command in (["run", "job.yaml"], ["plan", "job.yaml"], ["run", "job.yaml", "--trust", "my_target"]):
        assert called(monkeypatch, *command) == 2
        said = capsys.readouterr().err
        assert "E_CODE_UNTRUSTED" in said and "--trust my_targets" in said
    assert "my_targets" not in sys.modules and not (tmp_path / "out").exists()


def test_a_trusted_function_of_the_current_directory(trusting: pathlib.Path, tmp_path: pathlib.Path) -> None:
    # as it is installed: there, the current directory is not on the path of itself
    script = pathlib.Path(sys.executable).with_name("attribeam")
    command = [script, "run", "--no-audit", "job.yaml", "--trust", "my_targets", "--trust", "other"]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    table = read(tmp_path / "out")
    # a polynomial of degree 4, and two nodes exact for its gradient; at most sixteen products in float32
    np.testing.assert_allclose(attributions(table), OWN_TERM, rtol=16 * 2.0**-23)
    np.testing.assert_allclose(table["output"].to_numpy(), OWN_TERM.sum(axis=1), rtol=16 * 2.0**-23)
    assert table["target"].null_count == datasets.ROWS
    assert verify_run(open_place(str(tmp_path / "out")), deep=True) == []


def test_another_source_is_another_run(
    trusting: pathlib.Path, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    trusted = ["job.yaml", "--trust", "my_targets"]
    assert called(monkeypatch, "plan", *trusted, "--pilot", "4") == 0
    assert called(monkeypatch, "run", *trusted) == 0
    recorded = json.loads((tmp_path / "out/_run.json").read_text())
    assert "code.my_targets:times" in recorded["decides"]
    assert called(monkeypatch, "run", *trusted) == 0
    assert "0 of 1 shards computed now" in capsys.readouterr().out
    (trusting / "my_targets.py").write_text(FUNCTION.replace("1]", "2]"))
    del sys.modules["my_targets"]
    assert called(monkeypatch, "run", *trusted) == 2
    assert "E_OUTPUT_OTHER_RUN" in (said := capsys.readouterr().err) and "code.my_targets:times" in said


def test_an_evaluation_runs_a_function_only_where_it_is_trusted(
    trusting: pathlib.Path, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    trusted, asked = ["--trust", "my_targets"], ["--metric", "infidelity", "--metric", "sensitivity_max"]
    assert called(monkeypatch, "run", "job.yaml", *trusted) == 0
    del sys.modules["my_targets"]
    evaluation = ["evaluate", str(tmp_path / "out"), "--rows", "5", *asked]
    assert called(monkeypatch, *evaluation) == 2
    assert "E_CODE_UNTRUSTED" in (said := capsys.readouterr().err) and "--trust my_targets" in said
    assert "my_targets" not in sys.modules and not (tmp_path / "out/_evaluation").exists()
    assert called(monkeypatch, *evaluation, *trusted) == 0
    (summary,) = (tmp_path / "out/_evaluation").glob("rows-*.json")
    metrics = json.loads(summary.read_text())["metrics"]
    assert [metrics[name]["n"] for name in asked[1::2]] == [5, 5]
    # each position has a term of F of its own: what any of them add up to is what F falls without them, to the
    # sixteen products of a term and the sum of them in float32
    assert metrics["infidelity"]["mean"] <= (32 * 2.0**-23 * OWN_TERM.sum(axis=1).max()) ** 2
    assert metrics["sensitivity_max"]["mean"] > 0
    (trusting / "my_targets.py").write_text(FUNCTION.replace("1]", "2]"))
    del sys.modules["my_targets"]
    assert called(monkeypatch, *evaluation, *trusted) == 2
    assert "E_EVALUATE_CHANGED" in (said := capsys.readouterr().err) and "code.my_targets:times" in said
