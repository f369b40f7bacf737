"""How far a run is, from its files alone."""

from __future__ import annotations

import json
import pathlib
import threading
from typing import Any

import datasets
import pytest
from datasets import launch

from pipeline.progress import describe
from pipeline.status import Status, Watch, open_watch
from transforms.errors import AttribeamError
from transforms.runs.plan_file import read_sizes
from transforms.storage.place import LocalPlace, open_place


def test_a_finished_and_an_unfinished_run(job_of: Any, tmp_path: pathlib.Path) -> None:
    rows = datasets.rows() | {"label": datasets.np.arange(23) % 4}
    path = datasets.write_parquet(tmp_path / "in.parquet", rows)
    limits = {"limits": {"quarantined": 0.5}, "output": {"shard_bytes": 300}}
    out = launch(job_of(datasets.keras_classifier, path, **limits))
    found = open_watch(open_place(out.root)).look()
    assert (found.finished, found.rows, found.rows_done, found.quarantined) == (True, 23, 23, 5)
    assert found.shards == found.shards_done == out.manifest["shards"]
    assert found.seconds_left == 0
    (pathlib.Path(out.root) / "_SUCCESS").unlink()
    datasets.parts(out.root)[0].unlink()
    found = open_watch(open_place(out.root)).look()
    assert (found.finished, found.shards_done) == (False, out.manifest["shards"] - 1)
    assert 0 < found.rows_done < 23


def test_looking_opens_quarantine_files_only_and_each_once(
    job_of: Any, tmp_path: pathlib.Path, monkeypatch: Any
) -> None:
    rows = datasets.rows() | {"label": datasets.np.arange(23) % 4}
    path = datasets.write_parquet(tmp_path / "in.parquet", rows)
    limits = {"limits": {"quarantined": 0.5}, "output": {"shard_bytes": 300}}
    place, opened = open_place(launch(job_of(datasets.keras_classifier, path, **limits)).root), list[str]()
    run = json.loads(place.read("_run.json"))
    watch, real = Watch(place, run["fingerprint"], read_sizes(place)), LocalPlace.open

    def recorded(place: LocalPlace, name: str) -> Any:
        opened.append(name)
        return real(place, name)

    monkeypatch.setattr(LocalPlace, "open", recorded)
    assert watch.look() == watch.look()
    refused = [name for name in place.names() if name.startswith("_quarantine/")]
    assert len(refused) > 1 and sorted(opened) == refused
    pathlib.Path(place.root, pathlib.Path(refused[0]).name).unlink()  # without its part it does not count
    assert watch.look().quarantined < 5


def test_a_folder_without_a_run_is_said_so_and_not_made(tmp_path: pathlib.Path) -> None:
    with pytest.raises(AttribeamError, match="E_RUN_MISSING"):
        open_watch(open_place(str(tmp_path / "none")))
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize(("name", "code"), [("_run.json", "E_RUN_DAMAGED"), ("_plan.parquet", "E_PLAN_DAMAGED")])
def test_damaged_records_are_named(job_of: Any, name: str, code: str) -> None:
    out = launch(job_of(datasets.linear)).root
    (pathlib.Path(out) / name).write_bytes(b"[1, 2")
    with pytest.raises(AttribeamError, match=f"{code}.*{name}"):
        open_watch(open_place(out))


def test_watching_ends_with_the_run(job_of: Any, attribeam: datasets.Command) -> None:
    out = launch(job_of(datasets.linear)).root
    success = pathlib.Path(out, "_SUCCESS")
    proof = success.read_bytes()
    success.unlink()
    written = threading.Timer(1.0, success.write_bytes, [proof])
    written.start()
    assert attribeam("status", out)[1].startswith("unfinished: rows 23/23")
    code, said, progress = attribeam("status", out, "--watch")
    assert code == 0 and said.startswith("finished: rows 23/23") and not written.is_alive()
    assert progress.startswith("rows 23/23")


def test_the_line_says_rows_rate_time_left_and_quarantined() -> None:
    status = Status(10, 4, 20_000, 8_000, 3, 2.0, False)
    assert describe(status) == "8,000/20,000 | shards 4/10 | 2.0/s | left 1h40m | quarantined 3"
    assert "left -" in describe(Status(10, 1, 100, 10, 0, None, False))
