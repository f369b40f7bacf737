"""Fuzzing at length: `PYTHONPATH=tests python -m campaigns.fuzz CORPUS [--inputs N] [--first I] [--target NAME ...]`.

The corpus is made where there is none. It prints a line of a table for each target, and each finding, of which a copy
lies in the corpus; 1 if there is any. `docs/reliability_fuzz.md` tells what is fuzzed and what was found.
"""

from __future__ import annotations

import argparse
import pathlib
import sys
import time

from campaigns.fuzz_corpus import write_corpus
from campaigns.fuzz_process import watched
from campaigns.fuzz_targets import TARGETS


def main() -> int:
    """Run the targets one after another."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("corpus", type=pathlib.Path)
    parser.add_argument("--inputs", type=int, default=10_000, help="of each target")
    parser.add_argument("--first", type=int, default=0, help="number of the first input, which decides what it is")
    parser.add_argument("--target", action="append", choices=TARGETS)
    asked, found = parser.parse_args(), 0
    if not asked.corpus.exists():
        write_corpus(asked.corpus)
    for name in asked.target or TARGETS:
        started = time.monotonic()
        report = watched(name, asked.corpus.resolve(), range(asked.first, asked.first + asked.inputs))
        often = ", ".join(f"{outcome} {count:,}" for outcome, count in report.outcomes.most_common(4))
        seconds = time.monotonic() - started
        print(f"| {name} | {report.inputs:,} | {len(report.findings)} | {seconds:.0f} s | {often} |", flush=True)
        print(*report.findings, sep="\n", flush=True)
        found += len(report.findings)
    return int(found > 0)


if __name__ == "__main__":
    sys.exit(main())
