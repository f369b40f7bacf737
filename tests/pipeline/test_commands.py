"""The commands as a user meets them: help with an example, exit codes, short errors, nothing written by `plan`."""

from __future__ import annotations

import os
import pathlib
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import datasets
import pytest
import typer.testing
import yaml
from datasets import Command

from pipeline import main


@pytest.fixture
def written(job_of: Any, tmp_path: pathlib.Path) -> Callable[..., pathlib.Path]:
    """A job as a YAML file in a folder with a name that is hard on shells."""

    def write(**parts: Any) -> pathlib.Path:
        path = tmp_path / "jobs & [x]" / "job é.yaml"
        path.parent.mkdir(exist_ok=True)
        path.write_text(yaml.safe_dump(job_of(datasets.keras_classifier, **parts).model_dump(mode="json")))
        return path

    return write


@pytest.mark.parametrize("command", [command.__name__.replace("_", "-") for command in main.COMMANDS])
def test_every_command_explains_itself_with_an_example(command: str) -> None:
    result = typer.testing.CliRunner().invoke(main.app, [command, "--help"])
    assert result.exit_code == 0
    assert f"Example: attribeam {command}" in " ".join(result.output.split())


def test_a_shell_completes_commands() -> None:
    """As the script does that `attribeam --install-completion` puts into bash's start-up."""
    asked = {"_ATTRIBEAM_COMPLETE": "complete_bash", "COMP_WORDS": "attribeam ver", "COMP_CWORD": "1"}
    script = pathlib.Path(sys.executable).with_name("attribeam")
    ended = subprocess.run([script], env=os.environ | asked, capture_output=True, text=True, check=False)
    assert ended.stdout.split() == ["verify"]


def test_run_then_status_then_verify(attribeam: Command, written: Any, tmp_path: pathlib.Path) -> None:
    config, out = written(), tmp_path / "out"
    code, said, _ = attribeam("run", config, "--set", "output.shard_bytes=400")
    assert (code, "23 rows (23 ok), 0 quarantined" in said) == (0, True)
    assert f"{out}: " in said
    code, said, _ = attribeam("status", out)
    assert (code, said.startswith("finished: rows 23/23")) == (0, True)
    assert attribeam("verify", out, "--deep") == (0, f"{out} holds, every value of it\n", "")
    (out / "_SUCCESS").unlink()
    code, said, _ = attribeam("status", out)
    assert (code, said.startswith("unfinished: rows 23/23")) == (0, True)
    code, _, errors = attribeam("verify", out)
    assert (code, "E_RUN_UNFINISHED" in errors) == (1, True)


def test_a_runner_that_beam_does_not_know_is_bad_usage(attribeam: Command, written: Any) -> None:
    code, _, errors = attribeam("run", written(), "--", "--runner=NoSuchRunner")
    assert (code, "E_RUNNER" in errors, "NoSuchRunner" in errors) == (2, True, True)


def test_a_plan_for_the_directory_of_another_run_is_refused(attribeam: Command, written: Any) -> None:
    assert attribeam("run", written())[0] == 0
    code, _, errors = attribeam("plan", written(), "--set", "attribution.steps=9")
    assert (code, "E_OUTPUT_OTHER_RUN" in errors, "attribution.steps" in errors) == (2, True, True)


def test_the_unexpected_is_said_in_few_lines(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ValueError, match="nobody") as caught:
        raise ValueError("what nobody foresaw\n" * 30)
    main._unexpected(caught.type, caught.value, caught.tb)
    said = capsys.readouterr().err
    assert "error: ValueError: what nobody foresaw" in said
    assert len(said.splitlines()) <= 15
    log = pathlib.Path(said.split()[-1])
    assert "Traceback" in log.read_text()
    log.unlink()


def test_plan_writes_nothing(attribeam: Command, written: Any, tmp_path: pathlib.Path) -> None:
    config = written()
    before = sorted(tmp_path.rglob("*"))
    code, said, _ = attribeam("plan", config)
    assert code == 0
    for fact in ("23 rows in 1 files", "184 (8 steps a row)", "x [4]", str(tmp_path / "out")):
        assert "".join(fact.split()) in "".join(said.split()), "a table folds its lines"
    assert sorted(tmp_path.rglob("*")) == before


def test_plan_tells_what_steps_auto_may_take(attribeam: Command, written: Any) -> None:
    code, said, _ = attribeam("plan", written(attribution={"steps": "auto", "target": {"top_k": 2}, "max_steps": 100}))
    assert code == 0
    # 23 rows of 2 targets, from the second level's 4 nodes to the last level's 64
    assert "184 to 2,944 (steps: auto, tolerance 0.02)" in said and "tuned while running" in said


def test_plan_shows_what_is_done_already(attribeam: Command, written: Any, tmp_path: pathlib.Path) -> None:
    config, out = written(output={"shard_bytes": 300}), tmp_path / "out"
    assert attribeam("run", config)[0] == 0
    datasets.parts(out)[0].unlink()
    before = sorted(out.rglob("*"))
    _, said, _ = attribeam("plan", config)
    assert "done already" in said
    assert "shards 7/8" in said
    assert sorted(out.rglob("*")) == before


def test_exit_codes_and_short_errors(attribeam: Command, written: Any, tmp_path: pathlib.Path) -> None:
    config = written()
    cases: list[tuple[int, str, tuple[object, ...]]] = [
        (2, "E_CONFIG_MISSING", ("run", tmp_path / "none.yaml")),
        (2, "E_CONFIG_KEY", ("run", config, "--set", "attribution.stepz=1")),
        (2, "E_COLUMN_MISSING", ("run", config, "--set", "input.label=lable")),
        (2, "E_MODEL_MISSING", ("plan", config, "--set", "model.path=nowhere")),
        (2, "stepz", ("plan", config, "--stepz")),
        (2, "", ("run",)),
        (1, "E_RUN_MISSING", ("status", tmp_path / "nothing")),
        (1, "E_RUN_UNFINISHED", ("verify", tmp_path / "nothing")),
    ]
    for wanted, says, arguments in cases:
        code, _, errors = attribeam(*arguments)
        assert code == wanted, arguments
        assert says in errors, arguments
        assert 1 <= len(errors.splitlines()) <= 15, arguments
    assert not (tmp_path / "nothing").exists()
    assert not (tmp_path / "out").exists()


def test_over_the_quarantine_limit_the_code_is_3(attribeam: Command, written: Any, tmp_path: pathlib.Path) -> None:
    rows = datasets.rows() | {"label": datasets.np.arange(23) % 4}
    path = datasets.write_parquet(tmp_path / "in" / "rows.parquet", rows)
    config = written()
    code, _, errors = attribeam("run", config, "--set", f"input.files={path}")
    assert (code, "E_QUARANTINE_LIMIT" in errors) == (3, True)
    assert len(errors.splitlines()) <= 15
    assert not (tmp_path / "out" / "_SUCCESS").exists()
    code, said, _ = attribeam("run", config, "--set", f"input.files={path}", "--set", "limits.quarantined=0.5")
    assert (code, "0 of 1 shards computed now" in said) == (0, True)


def test_the_installed_script_says_its_error_in_few_lines(tmp_path: pathlib.Path) -> None:
    script = pathlib.Path(sys.executable).with_name("attribeam")
    ended = subprocess.run([script, "verify", tmp_path / "none"], capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stdout) == (1, "")
    assert "E_RUN_UNFINISHED" in ended.stderr
    assert len(ended.stderr.splitlines()) <= 15


def test_evaluate_compares_runs(attribeam: Command, written: Any, tmp_path: pathlib.Path) -> None:
    roots = []
    for method in ("integrated_gradients", "saliency"):
        roots.append(tmp_path / f"by [b]{method}[/b]")
        named = ("--set", f"attribution.method={method}", "--set", f"output.path={roots[-1]}")
        assert attribeam("run", written(), *named)[0] == 0
    few = ("--rows", 4, "--metric", "gini", "--metric", "insertion", "--metric", "atv", "--fill", "{constant: 0.5}")
    code, said, _ = attribeam("evaluate", roots[0], *few, "--compare", roots[1], "--", "--runner=FnApiRunner")
    assert code == 0
    for fact in (
        "gini",
        "insertion ↑",
        "atv: 4 rows without: the maps are not those of one image",
        "less run 1",
        f"run 2: {roots[1]}",
    ):
        assert fact in said
    written_files = {path.name.split("-")[0] for path in (roots[0] / "_evaluation").iterdir()}
    assert written_files == {"rows", "comparison"}
    code, said, _ = attribeam("evaluate", roots[0], *few)
    assert (code, "mean" in said, "was there already" in said) == (0, True, True)
    for arguments, says in (
        ((roots[0], roots[1], "--rows", 3), "--compare"),
        ((roots[0], "--rows", 0), "--rows"),
        ((roots[0],), "--rows"),
        ((roots[0], "--rows", 3, "--metric", "gyni"), "E_EVALUATE_METRIC"),
        ((roots[0], "--rows", 3, "--fill", "black"), "E_EVALUATE_FILL"),
        ((roots[0], "--rows", 3, "--fill", "{constant: [1, 2]}"), "E_BASELINE_SHAPE"),
    ):
        code, _, errors = attribeam("evaluate", *arguments)
        assert (code, says in errors) == (2, True), errors
