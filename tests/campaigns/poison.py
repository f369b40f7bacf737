"""A longer campaign: `pytest -m campaign tests/campaigns/poison.py` runs jobs over rows that kill their process."""

from __future__ import annotations

import pathlib
import signal
import subprocess
import sys
import time
from typing import Any

import datasets
import poisons
import pyarrow.parquet as pq
import pytest
import yaml

from pipeline.config import JobConfig
from transforms.runs.verify import verify_run
from transforms.storage.place import open_place

pytestmark = [pytest.mark.campaign, pytest.mark.timeout(1800)]
SHARD_BYTES = 800
# of a child with TensorFlow and the model; what a poisoned one takes beyond it is seen before the machine has no more
MEMORY = 3 * 2**30
ISOLATED = {"isolate": True, "shard_s": 60, "memory": MEMORY, "quarantined": 0.5}
CODES = {
    "segfault": "E_POISON_CRASH",
    "abort": "E_POISON_CRASH",
    "exit": "E_POISON_CRASH",
    "segfault in decoding": "E_POISON_CRASH",
    "hang": "E_POISON_TIMEOUT",
    "hang in C": "E_POISON_TIMEOUT",
    "grow": "E_POISON_MEMORY",
}


@pytest.fixture
def attributed(job_of: Any, tmp_path: pathlib.Path) -> Any:
    """attributed(poison, data, out, **limits) → exit code and directory of `attribeam run`, in a process of its own."""
    poisons.write_module(tmp_path)

    def run(poison: dict[int, str], data: str, out: str | None = None, **limits: Any) -> tuple[int, str]:
        process, config = started(poison, data, out, limits)
        return process.wait(), config.output.path

    def started(
        poison: dict[int, str], data: str, out: str | None, limits: dict[str, Any]
    ) -> tuple[subprocess.Popen[bytes], JobConfig]:
        output = {"path": str(tmp_path / (out or data)), "shard_bytes": SHARD_BYTES}
        config: JobConfig = poisons.job(job_of, tmp_path, poison, data, limits=limits, output=output)
        path = tmp_path / f"{out or data}.yaml"
        path.write_text(yaml.safe_dump(config.model_dump(mode="json")))
        script = pathlib.Path(sys.executable).with_name("attribeam")
        command = [script, "run", "--no-audit", path, "--trust", poisons.MODULE]
        return subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.DEVNULL), config

    run.started = started  # type: ignore[attr-defined]
    return run


def check(out: str, sound: str, refused: dict[int, str]) -> None:
    """Exactly these rows are refused, each with its code; the others are those of a run without them."""
    table, whole = datasets.read(out), datasets.read(sound)
    others = [row for row in range(datasets.ROWS) if row not in refused]
    assert table["source_row"].to_pylist() == others
    assert table.drop_columns("source_file").equals(whole.take(others).drop_columns("source_file"))
    quarantine = pathlib.Path(out, "_quarantine").glob("part-*.parquet")
    found = [row for path in quarantine for row in pq.read_table(path).to_pylist()]
    assert {row["source_row"]: row["code"] for row in found} == refused
    assert len(found) == len(refused)


def test_every_kind_of_poison_costs_its_row_and_nothing_else(attributed: Any) -> None:
    code, sound = attributed({}, "sound")
    assert code == 0
    poison = dict(zip((1, 4, 8, 11, 15, 18, 22), CODES, strict=True))
    code, out = attributed(poison, "poisoned", **ISOLATED)
    assert code == 0
    check(out, sound, {row: CODES[kind] for row, kind in poison.items()})
    assert verify_run(open_place(out), deep=True) == []


def test_without_poison_nothing_is_different(attributed: Any) -> None:
    (code, sound), (other, out) = attributed({}, "sound"), attributed({}, "sound", out="isolated", **ISOLATED)
    assert (code, other) == (0, 0)
    assert [path.name for path in datasets.parts(sound)] == [path.name for path in datasets.parts(out)]
    assert [path.read_bytes() for path in datasets.parts(sound)] == [path.read_bytes() for path in datasets.parts(out)]


def test_over_the_limit_the_exit_code_tells_and_a_run_that_died_is_resumed_with_isolation(attributed: Any) -> None:
    code, out = attributed({9: "abort"}, "poisoned")
    assert code == -signal.SIGABRT
    assert attributed({9: "abort"}, "poisoned", **{**ISOLATED, "quarantined": 0.0})[0] == 3
    assert not pathlib.Path(out, "_SUCCESS").exists()
    assert attributed({9: "abort"}, "poisoned", **ISOLATED)[0] == 0


def test_a_child_that_hangs_ends_soon_after_its_parent(attributed: Any, tmp_path: pathlib.Path) -> None:
    for kind in ("hang", "hang in C"):
        launcher, _ = attributed.started({22: kind}, kind.replace(" ", "-"), None, {**ISOLATED, "shard_s": 20})
        deadline = time.monotonic() + 300
        while not (tmp_path / "hanging").exists() and time.monotonic() < deadline:
            time.sleep(0.2)
        (tmp_path / "hanging").unlink()
        children = children_of(launcher.pid)
        assert children
        launcher.kill()
        launcher.wait()
        deadline = time.monotonic() + 60  # twice shard_s, and what a busy machine takes
        while any(map(runs, children)) and time.monotonic() < deadline:
            time.sleep(0.2)
        assert not any(map(runs, children)), kind


def children_of(process: int) -> list[int]:
    """Numbers of the processes that one has started."""
    found = subprocess.run(["pgrep", "-P", str(process)], capture_output=True, text=True, check=False)
    return [int(line) for line in found.stdout.split()]


def runs(process: int) -> bool:
    """Whether there is such a process, and it has not ended."""
    stat = pathlib.Path(f"/proc/{process}/stat")
    return stat.exists() and stat.read_text().rpartition(")")[2].split()[0] != "Z"
