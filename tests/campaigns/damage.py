"""Damage after the fact: `PYTHONPATH=tests python -m campaigns.damage RUN [--sample N] [--file NAME ...]`.

Flips bits of a copy of a finished run, one at a time, and asks `verify --deep` whether the run still holds: every bit
of every file, or a sample of each. Then whole files: gone, cut, grown, exchanged, doubled, strange. It prints a line
for each file and names what was not found; 1 if there is any.
"""

from __future__ import annotations

import argparse
import pathlib
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator

from transforms.errors import AttribeamError
from transforms.runs.verify import verify_run
from transforms.storage.place import open_place

Spoil = Callable[[pathlib.Path], None]


def seen(run: pathlib.Path) -> bool:
    """Whether `verify --deep` says of a run that it is not what it was."""
    try:
        return bool(verify_run(open_place(str(run)), deep=True))
    except AttribeamError:
        return True


def missed_flips(run: pathlib.Path, name: str, bits: Iterable[int]) -> list[int]:
    """The bits of a file that can be flipped, one at a time, without being seen; the file is whole again afterwards."""
    path, missed = run / name, list[int]()
    kept = path.read_bytes()
    for bit in bits:
        data = bytearray(kept)
        data[bit // 8] ^= 1 << bit % 8
        path.write_bytes(data)
        if not seen(run):
            missed.append(bit)
    path.write_bytes(kept)
    return missed


def files_of(run: pathlib.Path) -> list[str]:
    """Every file of a run."""
    return sorted(path.relative_to(run).as_posix() for path in run.rglob("*") if path.is_file())


def damages(run: pathlib.Path) -> Iterator[tuple[str, Spoil]]:
    """What can happen to whole files, each with a name."""
    names = files_of(run)
    for name in names:
        size = (run / name).stat().st_size
        for keep in {0, 1, size // 2, size - 1} - {size}:
            yield (
                f"{name} cut to {keep} bytes",
                lambda at, name=name, keep=keep: _rewrite(at / name, lambda b: b[:keep]),
            )
        for more in (b"\0", b"\n", bytes(4096)):
            yield (
                f"{name} and {len(more)} bytes",
                lambda at, name=name, more=more: _rewrite(at / name, lambda b: b + more),
            )
        yield f"{name} gone", lambda at, name=name: (at / name).unlink()
        yield f"{name} renamed", lambda at, name=name: _move(at / name, at / f"{name}.bak")
        yield f"{name} doubled", lambda at, name=name: _copy(at / name, at / f"{name}-2")
        yield f"{name} all zeros", lambda at, name=name: _rewrite(at / name, lambda b: bytes(len(b)))
    for one, other in ((one, other) for one in names for other in names if one < other):
        yield f"{one} and {other} exchanged", lambda at, one=one, other=other: _exchange(at / one, at / other)
    for strange in ("part-00000-0123456789ab.parquet", "_quarantine/part-00009-0123456789ab.parquet", "x/y", ".hidden"):
        yield f"{strange} is there too", lambda at, strange=strange: _copy(at / names[-1], at / strange)


def missed_damages(run: pathlib.Path) -> tuple[int, list[str]]:
    """How many were tried on copies of a run, and those that were not seen."""
    tried, missed = 0, list[str]()
    for what, spoil in damages(run):
        with tempfile.TemporaryDirectory(dir=run.parent) as folder:
            copy = pathlib.Path(folder, "run")
            shutil.copytree(run, copy)
            spoil(copy)
            tried += 1
            if not seen(copy):
                missed.append(what)
    return tried, missed


def _rewrite(path: pathlib.Path, change: Callable[[bytes], bytes]) -> None:
    path.write_bytes(change(path.read_bytes()))


def _move(path: pathlib.Path, to: pathlib.Path) -> None:
    path.rename(to)


def _copy(path: pathlib.Path, to: pathlib.Path) -> None:
    to.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(path, to)


def _exchange(one: pathlib.Path, other: pathlib.Path) -> None:
    first, second = one.read_bytes(), other.read_bytes()
    one.write_bytes(second)
    other.write_bytes(first)


def main() -> int:
    """Every file of a run, bit by bit or in a sample."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=pathlib.Path)
    parser.add_argument("--sample", type=int, help="flips of each file; without, every bit")
    parser.add_argument("--file", action="append")
    asked, failed = parser.parse_args(), 0
    with tempfile.TemporaryDirectory(prefix="damage-", dir="/dev/shm") as folder:
        copy = pathlib.Path(folder, "run")
        shutil.copytree(asked.run, copy)
        if seen(copy):
            print(f"{asked.run} does not hold to begin with")
            return 1
        for name in asked.file or files_of(copy):
            started, bits = time.monotonic(), range(8 * (copy / name).stat().st_size)
            chosen = bits if asked.sample is None else random.Random(name).choices(bits, k=asked.sample)
            missed = missed_flips(copy, name, chosen)
            failed += len(missed)
            seconds = time.monotonic() - started
            print(
                f"| {name} | {len(chosen):,} of {len(bits):,} | {len(missed)} | {seconds:.0f} s |",
                *missed[:5],
                flush=True,
            )
        if not asked.file:
            tried, unseen = missed_damages(copy)
            failed += len(unseen)
            print(f"| whole files | {tried:,} | {len(unseen)} |", *unseen, flush=True)
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
