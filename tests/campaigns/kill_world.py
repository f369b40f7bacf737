"""Processes that work on one output directory, forked from one that has imported everything; and what is asked of
them.

Storage, plan, parts, finalizing and launching are the real thing; the model is not (`fake_explainer`), nor is Beam:
shards are explained one after another by two threads, and then finalized, as by the pipeline's own functions.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
import pathlib
import random
import signal
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import datasets
import numpy as np
from campaigns.fake_explainer import FakeExplainer, Handle
from campaigns.steps import Act, never, stepping

from pipeline import launch, leftovers
from pipeline.config import JobConfig
from transforms.attribute import attribute_shard
from transforms.errors import AttribeamError
from transforms.finalize import RunPlan, every_shard, finalize_run
from transforms.runs.attribution_job import AttributionJob
from transforms.runs.checked_parts import check_parts
from transforms.runs.plan_file import read_shards, read_sizes
from transforms.runs.verify import verify_run
from transforms.runs.work_done import WorkDone
from transforms.storage import own_folder
from transforms.storage.manifest import RUN
from transforms.storage.place import LocalPlace, open_place

DEADLINE_S = 60.0
ROWS = 40
LOST, DONE, REFUSED, FAILED, HUNG = -signal.SIGKILL, 0, 2, 1, -1000


@dataclasses.dataclass(frozen=True)
class Task:
    """What a launcher does: `act` at its steps; `locked`: one at a time, as in a local directory."""

    job: JobConfig
    act: Act = never
    locked: bool = True
    seconds: float = 0.0


def job_in(folder: pathlib.Path, out: str, steps: int = 8, shard_bytes: int = 600) -> JobConfig:
    """A job of 6 shards or, as these may have more bytes, of fewer; three of its 40 rows are refused."""
    path = folder / "rows.parquet"
    if not path.exists():
        rows = datasets.rows(ROWS)
        rows["pixels"][[3, 4, 30], 1] = np.nan
        datasets.write_parquet(path, rows)
    parts: dict[str, Any] = {
        "input": {"id": "name", "keep": ["age"]},
        "attribution": {"steps": steps, "batch_size": 1},
        "output": {"shard_bytes": shard_bytes},
        "limits": {"quarantined": 0.5},
    }
    return datasets.job(folder / out, {"path": str(folder / "no-model")}, path, {"x": "pixels"}, **parts)


def launched(task: Task) -> None:
    """`attribeam run`, with a model that is none."""
    explainer = FakeExplainer(task.job.attribution, task.seconds)
    launch.run_pipeline = lambda build, options: _directly(build.keywords["todo"], build.keywords["plan"], explainer)
    launch._baseline_outputs = lambda *_: []
    if not task.locked:
        LocalPlace.alone = lambda _: contextlib.nullcontext()  # type: ignore[method-assign]
    handle: Any = Handle(explainer)
    with stepping(task.act):
        launch.run(task.job, pathlib.Path(task.job.input.files[0]).parent, (), handle)


def attempted(task: Task, order: random.Random) -> None:
    """A worker's attempt at every shard of a plan that stands there, in some order."""
    place, explainer = open_place(task.job.output.path), FakeExplainer(task.job.attribution, task.seconds)
    root = pathlib.Path(task.job.input.files[0]).parent
    job = launch.prepare(task.job, root, explainer, launch.known_before(place)).job  # type: ignore[arg-type]
    shards = read_shards(place, job.fingerprint, range(len(read_sizes(place))))
    order.shuffle(shards)
    with stepping(task.act):
        for shard in shards:
            attribute_shard(shard, job, explainer, place)  # type: ignore[arg-type]


def _directly(todo: Any, plan: RunPlan, explainer: Any) -> None:
    place, job = open_place(plan.job.root), plan.job
    with ThreadPoolExecutor(2) as pool:
        results = list(pool.map(lambda one: attribute_shard(one, job, explainer, place), _of(todo, job)))
    known = {result.number: result.whole for result in results if result.whole}
    checked = (check_parts(numbers, job, place, known) for numbers in every_shard(plan, place))
    finalize_run(plan, place, checked, sum(map(WorkDone.of, results), WorkDone()))


def _of(todo: Any, job: AttributionJob) -> Any:
    return read_shards(open_place(job.root), job.fingerprint, todo) if todo else []


def contents(out: pathlib.Path) -> dict[str, str]:
    """The sha256 of every part and every file of refused rows, by name."""
    found = [*out.glob("part-*"), *(out / "_quarantine").glob("part-*")]
    return {str(path.relative_to(out)): hashlib.sha256(path.read_bytes()).hexdigest() for path in found}


def mended(jobs: Mapping[str, JobConfig], wanted: Mapping[str, Mapping[str, str]], locked: bool = True) -> None:
    """The same command again, from wherever the others stopped: it must end well, with the rows of an undisturbed run;
    then nothing is left over but what the run is made of.

    Args:
        jobs: by configuration, of which the one that `_run.json` names counts; the first where there is none.
        wanted: by configuration, `contents` of an undisturbed run.
    """
    out = pathlib.Path(next(iter(jobs.values())).output.path)
    name = next(iter(jobs))
    if (out / RUN).exists():
        steps = json.loads((out / RUN).read_text())["config"]["attribution"]["steps"]
        name = next(key for key, job in jobs.items() if job.attribution.steps == steps)
    launched(Task(jobs[name], locked=locked))
    assert contents(out) == wanted[name], "the rows are not those of an undisturbed run"
    place = open_place(str(out))
    assert (faults := verify_run(place, deep=True)) == [], faults
    own_folder.GRACE_S = -1.0
    before = place.names()
    for leftover in leftovers.find_leftovers(place):
        assert leftovers.remove(place, leftover), leftover
    assert place.names() == before, "gc removed a file of the run"
    assert not [*out.glob("_scratch/*")], "gc left something over"


def forked(action: Callable[[], None], log: pathlib.Path) -> int:
    """A child process that does something; it ends with DONE, REFUSED or FAILED. Its number."""
    pid = os.fork()
    if pid:
        return pid
    code = FAILED
    try:
        action()
        code = DONE
    except AttribeamError as error:
        code = REFUSED if error.code == "E_OUTPUT_OTHER_RUN" else FAILED
        if code == FAILED:
            _note(log)
    except BaseException:  # noqa: BLE001 - whatever it is, it is told
        _note(log)
    finally:
        os._exit(code)


def _note(log: pathlib.Path) -> None:
    with log.open("a") as file:
        traceback.print_exc(file=file)


def ended(pid: int, deadline_s: float = DEADLINE_S) -> int:
    """How a child ends: its exit code, minus the signal that killed it, or HUNG, and then it is killed here."""
    end = time.monotonic() + deadline_s
    while time.monotonic() < end:
        found, status = os.waitpid(pid, os.WNOHANG)
        if found:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.002)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    return HUNG


def reading(out: pathlib.Path, wanted: Mapping[str, Mapping[str, str]], log: pathlib.Path) -> None:
    """Look at a directory until SIGTERM: what stands under a final name is whole at its first sight, and `_SUCCESS`,
    once there, stays, over every part."""
    known, seen, finished, looks = set().union(*(set(one.items()) for one in wanted.values())), set[str](), False, 0
    ends = list[int]()
    signal.signal(signal.SIGTERM, lambda number, frame: ends.append(number))
    while not ends:
        success = (out / "_SUCCESS").exists()
        with contextlib.suppress(FileNotFoundError):
            there = contents_of_new(out, seen)
            wrong = [name for name, digest in there.items() if (name, digest) not in known]
            if wrong or (finished and not success) or (success and not complete(seen, wanted)):
                with log.open("a") as file:
                    print("a reader saw", wrong, "gone" if finished and not success else "", sorted(seen), file=file)
        finished, looks = success, looks + 1
        time.sleep(0.003)
    with (log.parent / "looks").open("a") as file:
        print(looks, file=file)


def contents_of_new(out: pathlib.Path, seen: set[str]) -> dict[str, str]:
    """The sha256 of the files that were not seen before; they are now."""
    found = [str(path.relative_to(out)) for path in (*out.glob("part-*"), *(out / "_quarantine").glob("part-*"))]
    new = [name for name in found if name not in seen]
    seen.update(new)
    return {name: hashlib.sha256((out / name).read_bytes()).hexdigest() for name in new}


def complete(seen: set[str], wanted: Mapping[str, Mapping[str, str]]) -> bool:
    """Whether all files of one of the configurations were seen."""
    return any(seen >= set(one) for one in wanted.values())


if __name__ == "__main__":
    sys.exit("this is a part of campaigns.kill")
