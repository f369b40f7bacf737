"""Interrupted and finished runs, run again: nothing is computed or read twice, nothing damaged is kept."""

from __future__ import annotations

import pathlib
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import Any, BinaryIO

import datasets
import pyarrow.parquet as pq
import pytest
import yaml
from datasets import launch, parts

from pipeline.launch import run
from transforms import attribute
from transforms.errors import UsageError
from transforms.runs.verify import verify_run
from transforms.storage import listing
from transforms.storage.place import LocalPlace, open_place

SMALL = {"shard_bytes": 300}  # four rows a shard
GIVEN = {"batch_size": 16}  # whose bytes do not depend on what the machine does fastest
KILLED = -signal.SIGKILL


def contents(out: str | pathlib.Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in parts(out)}


def assert_whole(out: str | pathlib.Path, wanted: dict[str, bytes]) -> None:
    assert contents(out) == wanted
    assert verify_run(open_place(str(out)), deep=True) == []
    assert not (pathlib.Path(out) / "_scratch").exists()


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every input file that is opened from here on, by any part of the job."""
    paths: list[str] = []

    def recorded(path: str) -> BinaryIO:
        paths.append(path)
        return listing.open_file(path)

    for module in ("transforms.attribute", "pipeline.plan", "pipeline.survey"):
        monkeypatch.setattr(f"{module}.open_file", recorded)
    return paths


@pytest.fixture
def shards_read(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The number of every shard whose rows are read from here on."""
    numbers: list[int] = []
    real = attribute.read_examples

    def recorded(shard: Any, job: Any, batch_rows: int) -> Any:
        numbers.append(shard.number)
        return real(shard, job, batch_rows)

    monkeypatch.setattr(attribute, "read_examples", recorded)
    return numbers


def unfinish(out: str | pathlib.Path, *lost: int) -> dict[str, bytes]:
    """Make a finished run look as if it had been killed before some shards; returns what the parts were."""
    whole = contents(out)
    for name in ("_SUCCESS", "_manifest.json", "_files.parquet"):
        (pathlib.Path(out) / name).unlink()
    for name in [sorted(whole)[number] for number in lost]:
        (pathlib.Path(out) / name).unlink()
    return whole


@pytest.mark.parametrize("kind", ["parquet", "none"])
def test_only_shards_without_a_part_are_read(job_of: Any, shards_read: list[int], kind: str) -> None:
    job = job_of(datasets.keras_classifier, kind, output=SMALL, attribution=GIVEN)
    first = launch(job)
    assert sorted(shards_read) == list(range(first.computed))
    whole = unfinish(first.root, 1, 3)
    shards_read.clear()
    again = launch(job)
    assert sorted(shards_read) == [1, 3]
    assert (again.computed, again.manifest["resumed_shards"]) == (2, first.computed - 2)
    assert_whole(again.root, whole)


def test_finished_input_files_are_not_opened_again(job_of: Any, tmp_path: pathlib.Path, opened: list[str]) -> None:
    folder = tmp_path / "in"
    files = [datasets.write(folder, "none", datasets.rows(9, seed), f"{seed} [f]") for seed in range(3)]
    job = job_of(datasets.keras_classifier, folder, output=SMALL, attribution=GIVEN)
    out = launch(job).root
    assert set(opened) == set(map(str, files))
    lost = [row for row, path in enumerate(parts(out)) if pq.read_table(path)["source_file"][0].as_py()[:4] == "in/1"]
    whole = unfinish(out, lost[-1])
    opened.clear()
    files[0].write_bytes(b"x" * files[0].stat().st_size)  # whoever opens it now, fails
    launch(job)
    assert set(opened) == {str(files[1])}
    assert_whole(out, whole)


def test_a_finished_run_run_again_computes_and_opens_nothing(job_of: Any, opened: list[str]) -> None:
    job = job_of(datasets.keras_classifier)
    first = launch(job)
    before = {path.name: path.read_bytes() for path in pathlib.Path(first.root).iterdir()}
    opened.clear()
    again = launch(job)
    assert (opened, again.computed, again.manifest) == ([], 0, first.manifest)
    assert {path.name: path.read_bytes() for path in pathlib.Path(first.root).iterdir()} == before


def test_rows_that_no_launch_could_try_do_not_stop_a_resumed_run(job_of: Any, tmp_path: pathlib.Path) -> None:
    labels = [99 if 12 <= row < 16 else 1 for row in range(20)]  # the whole of the fourth shard
    path = datasets.write_parquet(tmp_path / "l.parquet", datasets.rows(20) | {"label": datasets.np.array(labels)})
    job = job_of(datasets.keras_classifier, path, output=SMALL, attribution=GIVEN, limits={"quarantined": 0.5})
    out = launch(job)
    assert out.manifest["quarantined"] == 4
    whole = unfinish(out.root, *range(3, out.computed))
    launch(job)
    assert_whole(out.root, whole)


def truncate(path: pathlib.Path, other: pathlib.Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flip_in_a_page(path: pathlib.Path, other: pathlib.Path) -> None:
    metadata = pq.read_metadata(path)
    names = [metadata.row_group(0).column(index).path_in_schema for index in range(metadata.num_columns)]
    column = metadata.row_group(0).column(names.index("delta"))
    data = bytearray(path.read_bytes())
    data[column.data_page_offset + column.total_compressed_size - 3] ^= 4
    path.write_bytes(data)


def garbage(path: pathlib.Path, other: pathlib.Path) -> None:
    path.write_bytes(random.Random(1).randbytes(3000))


def another_runs_part(path: pathlib.Path, other: pathlib.Path) -> None:
    shutil.copy(other, path)


def another_table(path: pathlib.Path, other: pathlib.Path) -> None:
    pq.write_table(datasets.pa.table({"steps": ["a"], "status": [1]}), path)


DAMAGES = (truncate, flip_in_a_page, garbage, another_runs_part, another_table)


def test_nothing_that_is_done_is_opened_before_the_rest_is_computed(job_of: Any, monkeypatch: Any) -> None:
    job = job_of(datasets.keras_classifier, output=SMALL, attribution=GIVEN)
    out = launch(job).root
    whole, opened = unfinish(out, 2), list[str]()
    real = LocalPlace.open

    def recorded(place: LocalPlace, name: str) -> BinaryIO:
        opened.append(name)
        return real(place, name)

    monkeypatch.setattr(LocalPlace, "open", recorded)
    monkeypatch.setattr(attribute, "read_examples", lambda *_: 1 / 0)
    with pytest.raises(Exception, match="division by zero"):
        launch(job)
    assert set(opened) == {"_run.json", "_plan.parquet"}
    monkeypatch.undo()
    launch(job)
    assert_whole(out, whole)


def test_a_plan_without_a_run_is_of_a_launcher_that_was_killed(job_of: Any) -> None:
    job = job_of(datasets.linear, output=SMALL)
    out = pathlib.Path(launch(job_of(datasets.linear, output=SMALL, attribution={"steps": 3})).root)
    stale = (out / "_plan.parquet").read_bytes()
    for path in [*out.glob("part-*"), *out.glob("_[rfmS]*")]:
        path.unlink()
    assert [path.name for path in out.iterdir()] == ["_plan.parquet"]
    launch(job)
    assert (out / "_plan.parquet").read_bytes() != stale
    assert verify_run(open_place(str(out)), deep=True) == []


@pytest.mark.parametrize("finished", [True, False])
def test_damaged_parts_are_moved_aside_and_redone(job_of: Any, finished: bool) -> None:
    other = launch(job_of(datasets.keras_classifier, out="other", output=SMALL, attribution={"steps": 3}))
    job = job_of(datasets.keras_classifier, output=SMALL, attribution=GIVEN)
    out = pathlib.Path(launch(job).root)
    whole = contents(out) if finished else unfinish(out)
    chosen = parts(out)[: len(DAMAGES)]
    damaged = []
    for damage, path in zip(DAMAGES, chosen, strict=True):
        damage(path, parts(other.root)[0])
        damaged.append(path.read_bytes())
    assert launch(job).computed == len(DAMAGES)
    assert_whole(out, whole)
    moved = sorted((out / "_quarantine/damaged").iterdir(), key=lambda path: path.name.split("-", 1)[1])
    assert [path.read_bytes() for path in moved] == damaged


def test_success_is_gone_before_a_damaged_part_is(job_of: Any, monkeypatch: Any) -> None:
    job = job_of(datasets.linear, output=SMALL)
    out = pathlib.Path(launch(job).root)
    DAMAGES[0](parts(out)[0], parts(out)[0])
    monkeypatch.setattr(LocalPlace, "remove", removed_until_a_part(LocalPlace.remove))
    with pytest.raises(KeyboardInterrupt):
        launch(job)
    assert {"_SUCCESS", "_manifest.json", "_files.parquet"}.isdisjoint(path.name for path in out.iterdir())
    monkeypatch.undo()
    assert launch(job).computed == 1
    assert verify_run(open_place(str(out)), deep=True) == []


def removed_until_a_part(remove: Callable[[LocalPlace, str], None]) -> Callable[[LocalPlace, str], None]:
    """A launcher that is killed just after it has removed a part."""

    def removing(place: LocalPlace, name: str) -> None:
        remove(place, name)
        if name.startswith("part-"):
            raise KeyboardInterrupt

    return removing


def test_any_flipped_bit_of_a_finished_part_is_redone(job_of: Any) -> None:
    job = job_of(datasets.keras_classifier, output=SMALL, attribution=GIVEN)
    out = launch(job).root
    whole, dice = contents(out), random.Random(3)
    for path in parts(out):
        data = bytearray(path.read_bytes())
        data[dice.randrange(len(data))] ^= 1 << dice.randrange(8)
        path.write_bytes(data)
    assert launch(job).computed == len(whole)
    assert_whole(out, whole)


def test_a_lost_quarantine_file_is_made_again(job_of: Any, tmp_path: pathlib.Path) -> None:
    path = datasets.write_parquet(tmp_path / "l.parquet", datasets.rows() | {"label": datasets.np.arange(23) % 4})
    job = job_of(datasets.keras_classifier, path, output=SMALL, attribution=GIVEN, limits={"quarantined": 0.5})
    out = pathlib.Path(launch(job).root)
    before = {file.name: file.read_bytes() for file in (out / "_quarantine").glob("*.parquet")}
    (out / "_quarantine" / sorted(before)[1]).unlink()
    assert launch(job).computed == 1
    assert {file.name: file.read_bytes() for file in (out / "_quarantine").glob("*.parquet")} == before
    assert verify_run(open_place(str(out)), deep=True) == []


def test_a_stale_listing_of_an_interrupted_run_is_made_anew(job_of: Any) -> None:
    job = job_of(datasets.linear, output=SMALL)
    out = pathlib.Path(launch(job).root)
    table = pq.read_table(out / "_files.parquet")
    for name in ("_SUCCESS", "_manifest.json"):
        (out / name).unlink()
    pq.write_table(table.slice(1), out / "_files.parquet")
    assert launch(job).computed == 0
    assert verify_run(open_place(str(out)), deep=True) == []
    assert pq.read_table(out / "_files.parquet").equals(table)


def test_a_run_that_was_claimed_and_not_planned_goes_on(job_of: Any, attribeam: datasets.Command) -> None:
    job = job_of(datasets.linear, output=SMALL)
    out = pathlib.Path(launch(job).root)
    whole, stale = unfinish(out), out / "_plan.parquet"
    stale.unlink()
    code, _, said = attribeam("status", out)
    assert (code, "E_RUN_UNFINISHED" in said) == (1, True)
    other = pathlib.Path(launch(job_of(datasets.linear, out="other", attribution={"steps": 3})).root)
    shutil.copy(other / "_plan.parquet", stale)  # of a configuration that began at the same time
    launch(job)
    assert_whole(out, whole)


def test_two_launchers_at_once_both_end_well(job_of: Any) -> None:
    job, outcomes = job_of(datasets.keras_classifier, output=SMALL), []
    threads = [threading.Thread(target=lambda: outcomes.append(launch(job))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(outcomes) == 2
    assert outcomes[0].manifest == outcomes[1].manifest
    assert sorted(outcome.computed > 0 for outcome in outcomes) == [False, True]
    assert verify_run(open_place(job.output.path), deep=True) == []


def test_a_changed_configuration_is_refused_with_the_fields(job_of: Any) -> None:
    out = launch(job_of(datasets.linear, output=SMALL)).root
    unfinish(out, 2)
    with pytest.raises(UsageError, match=r"E_OUTPUT_OTHER_RUN.*attribution.steps \(8 there, 4 now\)"):
        launch(job_of(datasets.linear, output=SMALL, attribution={"steps": 4}))


def start(config: pathlib.Path) -> subprocess.Popen[str]:
    """`attribeam run`, as a user starts it."""
    command = str(pathlib.Path(sys.executable).with_name("attribeam"))
    return subprocess.Popen(
        [command, "run", "--no-audit", str(config)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def stop_after(process: subprocess.Popen[str], number: signal.Signals, ready: Callable[[], bool]) -> tuple[int, str]:
    """Send a signal as soon as `ready`; the exit code and what was said."""
    while process.poll() is None and not ready():
        time.sleep(0.01)
    process.send_signal(number)
    _, said = process.communicate(timeout=60)
    return process.returncode, said


def slow_job(job_of: Any, out: str) -> Any:
    """Enough to do for a signal to find it at work."""
    slow = {"steps": 150, "batch_size": 1}
    return job_of(datasets.keras_classifier, "none", out, attribution=slow, output={"shard_bytes": 100})


def test_signals_interrupt_and_the_same_command_finishes(job_of: Any, tmp_path: pathlib.Path) -> None:
    job, dice = slow_job(job_of, "out"), random.Random(8)
    out, config = pathlib.Path(job.output.path), tmp_path / "job é.yaml"
    config.write_text(yaml.safe_dump(job.model_dump(mode="json")))
    for number, code in ((signal.SIGTERM, 75), (signal.SIGKILL, KILLED), (signal.SIGINT, 75)):
        wanted = len(parts(out)) + 1 + dice.randrange(2)
        found, said = stop_after(start(config), number, lambda wanted=wanted: len(parts(out)) >= wanted)
        assert found == code, said
        assert number == signal.SIGKILL or "run the same command again" in said
        assert not (out / "_SUCCESS").exists()
    kept = contents(out)
    done = run(job, config.parent)
    assert done.manifest["resumed_shards"] == len(kept) >= 3
    assert_whole(out, contents(run(slow_job(job_of, "undisturbed"), config.parent).root))
