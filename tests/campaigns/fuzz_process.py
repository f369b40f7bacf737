"""Fuzzing in a process of its own, which may crash, hang and take no more memory than it is given; and what watches it.

The process says on a pipe how each input ended, a line each; one that dies or falls silent is counted under the input
that it was at, and another one goes on behind it.
"""

from __future__ import annotations

import dataclasses
import faulthandler
import os
import pathlib
import random
import resource
import select
import signal
import subprocess
import sys
import tempfile
import traceback
from collections import Counter
from collections.abc import Iterator

MEMORY_BYTES = 6 * 2**30
"""Beyond what TensorFlow has mapped when it is imported."""
SILENT_S, STARTING_S = 60.0, 600.0
FOUND = "!"


@dataclasses.dataclass(frozen=True)
class Finding:
    """An input that ended otherwise than it may: which one, how, and where a copy of it is."""

    target: str
    index: int
    what: str

    def __str__(self) -> str:
        return f"{self.target} {self.index}: {self.what}"


@dataclasses.dataclass(frozen=True)
class Report:
    """How some inputs ended, by outcome, and those that are findings."""

    outcomes: Counter[str]
    findings: tuple[Finding, ...]

    @property
    def inputs(self) -> int:
        """How many there were."""
        return self.outcomes.total() + len(self.findings)


def mutant(seeds: list[bytes], mutate: object, name: str, index: int) -> tuple[bytes, int]:
    """The input of this number, the same in every process, and the seed that it was made of."""
    dice = random.Random(f"{name}/{index}")
    seed = dice.randrange(len(seeds))
    return mutate(seeds, seed, dice), seed  # type: ignore[operator]


def watched(name: str, corpus: pathlib.Path, indices: range, silent_s: float = SILENT_S) -> Report:
    """Run a target on these inputs, however often it must be started again."""
    outcomes, findings, at = Counter[str](), list[Finding](), indices.start
    while at < indices.stop:
        with _child(name, corpus, range(at, indices.stop)) as child:
            for line in child.lines(silent_s):
                if line.startswith(FOUND):
                    findings.append(Finding(name, at, line[1:]))
                else:
                    outcomes[line] += 1
                at += 1
            if at < indices.stop:
                findings.append(Finding(name, at, child.ended()))
                at += 1
    return Report(outcomes, tuple(findings))


@dataclasses.dataclass
class _Child:
    process: subprocess.Popen[bytes]
    pipe: int
    silent: bool = False

    def lines(self, silent_s: float) -> Iterator[str]:
        """What it says, until it ends or says nothing for so long."""
        held, patience = b"", STARTING_S
        while True:
            ready, _, _ = select.select([self.pipe], [], [], patience)
            said = os.read(self.pipe, 65536) if ready else b""
            if not said:
                self.silent = not ready
                return
            *whole, held = (held + said).split(b"\n")
            for line in whole:
                if line:
                    yield line.decode()
            patience = silent_s

    def ended(self) -> str:
        """How it ended before its time."""
        if self.silent:
            return "hang"
        code = self.process.wait()
        return f"crash by {signal.Signals(-code).name}" if code < 0 else f"exit with {code}"

    def __enter__(self) -> _Child:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self.pipe)


def _child(name: str, corpus: pathlib.Path, indices: range) -> _Child:
    reading, writing = os.pipe()
    arguments = [name, str(corpus), str(indices.start), str(indices.stop), str(writing)]
    folders = [str(pathlib.Path(__file__).parents[number]) for number in (1, 2)]
    known = os.environ.get("PYTHONPATH", "")
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([*folders, known])}
    command = [sys.executable, "-m", "campaigns.fuzz_process", *arguments]
    process = subprocess.Popen(command, pass_fds=[writing], env=environment, stdout=subprocess.DEVNULL)
    os.close(writing)
    return _Child(process, reading)


def serve(name: str, corpus: pathlib.Path, indices: range, pipe: int) -> None:
    """In the child: each input of the range, and a line for each."""
    from campaigns.fuzz_targets import built

    with tempfile.TemporaryDirectory(prefix="fuzz-", dir=_fast_folder()) as own, os.fdopen(pipe, "w") as report:
        target, seeds, run = built(name, corpus, pathlib.Path(own))
        run(seeds[0], 0)  # what is imported late is imported now
        print(file=report, flush=True)
        confine()
        for index in indices:
            data, seed = mutant(seeds, target.mutate, name, index)
            print(attempt(run, data, seed, corpus / f"found-{name}-{index}"), file=report, flush=True)


def attempt(run: object, data: bytes, seed: int, copy: pathlib.Path) -> str:
    """How it ended; of what is a finding a copy is kept."""
    try:
        return str(run(data, seed))  # type: ignore[operator]
    except Exception as error:  # noqa: BLE001 -- whatever it is, it is what is looked for
        copy.write_bytes(data)
        copy.with_suffix(".txt").write_text(traceback.format_exc())
        return FOUND + " ".join(f"{type(error).__name__}: {error}".split())[:300]


def confine() -> None:
    """No more memory than a share of what a machine has, no core files; a crash says where."""
    mapped = int(pathlib.Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (mapped + MEMORY_BYTES, mapped + MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    faulthandler.enable()


def _fast_folder() -> str | None:
    return "/dev/shm" if os.access("/dev/shm", os.W_OK) else None


if __name__ == "__main__":
    serve(sys.argv[1], pathlib.Path(sys.argv[2]), range(int(sys.argv[3]), int(sys.argv[4])), int(sys.argv[5]))
