"""A disk that fails: `PYTHONPATH=tests python -m campaigns.disk_faults [--long]`, from the root.

The n-th call of a run to the operating system fails once, or each one from there on, for every n (the short form:
some): listing, looking, opening, reading, writing, closing, linking, syncing, removing; and the disk is full after so
many bytes (a small tmpfs, where this is root). Each time the run ends well, or names what failed and where; nothing
that is not whole has a final name; and the same command ends well afterwards.
"""

from __future__ import annotations

import dataclasses
import errno
import itertools
import os
import pathlib
import random
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from campaigns import kill_world as world
from campaigns.kill_world import DONE, Task, ended, forked
from campaigns.steps import Act, stepping

from transforms.records.part_writer import PartWriter
from transforms.storage.disk import _NamedFile

CALLS: Sequence[tuple[Any, str]] = (
    *((os, name) for name in ("link", "fsync", "scandir", "stat", "mkdir", "unlink", "open")),
    *((_NamedFile, name) for name in ("__init__", "readinto")),
    *((PartWriter, name) for name in ("write", "__exit__")),
)


def failing(out: str, wanted: Callable[[int], bool], number: Callable[[int], object]) -> Act:
    """At those of the calls that concern a directory whose number is wanted, the operating system says no.

    A file that is read is put in place of one that cannot be; one that is written, in place of a full one.
    """
    counted = itertools.count(1)

    def act(_: int, what: str, subject: Any) -> None:
        about = str(getattr(subject, "name", getattr(subject, "_sink", subject)))
        concerns = isinstance(subject, int | PartWriter | _NamedFile) or about.startswith(out)
        if not what.startswith("before") or not concerns:
            return
        count = next(counted)
        number(count)
        if not wanted(count):
            return
        if isinstance(subject, PartWriter):
            _replace(subject._sink.fileno(), "/dev/full", os.O_WRONLY)
        elif isinstance(subject, _NamedFile) and what.endswith("readinto"):
            _replace(subject.fileno(), "/dev/null", os.O_WRONLY)
        else:
            raise OSError(errno.EIO, os.strerror(errno.EIO), about)

    return act


def _replace(descriptor: int, path: str, flags: int) -> None:
    other = _open(path, flags)
    os.dup2(other, descriptor)
    os.close(other)


_open = os.open  # the one that does not fail


def attempt(job: world.JobConfig, act: Act, said: pathlib.Path) -> int:
    """A launcher, as a process, whose calls go through `act`."""

    def go() -> None:
        with stepping(act, CALLS):
            world.launched(Task(job))

    return ended(forked(go, said))


def checked(job: world.JobConfig, wanted: dict[str, str], code: int, said: pathlib.Path) -> Iterator[str]:
    """What is wrong after a fault: whoever did not end well names where and what; all that stands is whole."""
    out = pathlib.Path(job.output.path)
    text = said.read_text() if said.exists() else ""
    last = text.strip().splitlines()[-1] if text.strip() else ""
    if code == world.HUNG:
        yield "hung"
    elif code != DONE and not (
        last.startswith("transforms.errors.") and "E_DISK: " in last and str(out.parent) in last
    ):
        yield f"ended with {code} and said {last!r}"
    there = world.contents(out) if out.exists() else {}
    yield from (f"{name} is not whole" for name, digest in there.items() if wanted.get(name) != digest)
    again = said.with_name("again")
    again.unlink(missing_ok=True)
    if ended(forked(lambda: world.mended({"": job}, {"": wanted}), again)) != DONE:
        yield f"the same command does not end well: {again.read_text()[-1500:]}"


@dataclasses.dataclass
class Faults:
    """A folder to work in, an undisturbed run, and what happened so far."""

    folder: pathlib.Path
    found: list[str] = dataclasses.field(default_factory=list)
    counts: Counter[str] = dataclasses.field(default_factory=Counter)

    def __post_init__(self) -> None:
        job, counted = world.job_in(self.folder, "counted"), self.folder / "count"
        none = failing(job.output.path, lambda _: False, lambda number: counted.write_text(str(number)))
        assert attempt(job, none, self.folder / "said") == DONE, (self.folder / "said").read_text()
        self.wanted, self.calls = world.contents(pathlib.Path(job.output.path)), int(counted.read_text())

    def one(self, wanted: Callable[[int], bool], what: str, folder: pathlib.Path | None = None) -> None:
        """One run with a fault, and what is wrong after it."""
        job, said = world.job_in(self.folder, "out"), self.folder / "said"
        shutil.rmtree(job.output.path, ignore_errors=True)
        said.unlink(missing_ok=True)
        code = attempt(job, failing(job.output.path, wanted, lambda _: None), said)
        self._note(what, job, code, said)

    def full(self, size: int) -> None:
        """One run on a disk of so many bytes, which is larger when the same command comes again."""
        job, said = world.job_in(self.folder, "small/out"), self.folder / "said"
        mount = pathlib.Path(job.output.path).parent
        mount.mkdir(exist_ok=True)
        said.unlink(missing_ok=True)
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", mount], check=True)
        try:
            code = ended(forked(lambda: world.launched(Task(job)), said))
            subprocess.run(["mount", "-o", "remount,size=16m", mount], check=True)
            self._note(f"a disk of {size} bytes", job, code, said)
        finally:
            subprocess.run(["umount", mount], check=True)

    def _note(self, what: str, job: world.JobConfig, code: int, said: pathlib.Path) -> None:
        self.counts["faults"] += 1
        self.counts["failed by name"] += code != DONE
        self.found += [f"{what}: {fault}" for fault in checked(job, self.wanted, code, said)]


def mountable(folder: pathlib.Path) -> bool:
    """Whether a tmpfs can be mounted here."""
    (folder / "tried").mkdir()
    tried = subprocess.run(["mount", "-t", "tmpfs", "tmpfs", folder / "tried"], capture_output=True, check=False)
    return tried.returncode == 0 and not subprocess.run(["umount", folder / "tried"], check=True).returncode


def main(long: bool) -> int:
    """All faults; 1 if one of them was not borne."""
    with tempfile.TemporaryDirectory(prefix="attribeam-disk-") as name:
        faults, dice = Faults(pathlib.Path(name)), random.Random(0)
        every = range(1, faults.calls + 1)
        for at in every if long else sorted(dice.sample(every, 4)):
            faults.one(lambda count, at=at: count == at, f"call {at} of {faults.calls}")  # type: ignore[misc]
            if at % 10 == 0:
                faults.one(lambda count, at=at: count >= at, f"every call from {at} on")  # type: ignore[misc]
        if mountable(faults.folder):
            for pages in range(1, 60, 3) if long else (17,):
                faults.full(pages * 4096)
        else:
            print("no tmpfs can be mounted here: a full disk was not tried")
        print(f"{dict(faults.counts)}, {len(faults.found)} not borne", *faults.found[:10], sep="\n")
    return int(bool(faults.found))


if __name__ == "__main__":
    sys.exit(main("--long" in sys.argv[1:]))
