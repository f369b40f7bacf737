"""Peak memory of a whole job against steps, rows and the dataset's size: it must not grow.

    python -m benchmarks.memory [--out benchmarks/results/memory.json]     (from the repository's root)

Every job is a process of its own, `attribeam run`, with the same batch size; its peak is what the manifest says.
Few rows end before any buffer is full: each of a run's 32 shards, or more, has less than a row group for its part.
"""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import subprocess
import sys
import tempfile
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import yaml

from benchmarks import report
from benchmarks.scaling import case

WIDTH, BATCH, ROUNDS = 256, 1024, 3
# name: rows and steps
JOBS: dict[str, tuple[int, int | str]] = {
    "base": (100_000, 10),
    "30 times the steps": (100_000, 300),
    "steps: auto": (100_000, "auto"),
    "a tenth of the rows": (10_000, 10),
    "3 times the rows": (300_000, 10),
    "10 times the rows": (1_000_000, 10),
    "30 times the rows": (3_000_000, 10),
}


def peak(rows: int, steps: int | str) -> int:
    """Bytes, of one job."""
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder)
        values = case(rows, WIDTH).save(path)
        values["attribution"] |= {"steps": steps, "batch_size": BATCH}
        values["output"] = {"path": str(path / "out")}
        (path / "job.yaml").write_text(yaml.safe_dump(values), encoding="utf-8")
        subprocess.run(
            [sys.executable, "-m", "pipeline.main", "run", str(path / "job.yaml")], check=True, capture_output=True
        )
        manifest = json.loads((path / "out" / "_manifest.json").read_text(encoding="utf-8"))
        return int(manifest["peak_memory_bytes"])


def main() -> None:
    """Measure, print a table, and write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=pathlib.Path)
    arguments = parser.parse_args()
    results: dict[str, Any] = {"width": WIDTH, "batch_size": BATCH, "rounds": ROUNDS}
    print(f"{'job':20} {'rows':>8} {'steps':>6} {'peak MB':>8}  beside base")
    for name, (rows, steps) in JOBS.items():
        found = report.spread([peak(rows, steps) for _ in range(ROUNDS)])
        ratio = found["median"] / results.get("base", {"bytes": found})["bytes"]["median"]
        results[name] = {"rows": rows, "steps": steps, "bytes": found, "ratio": ratio}
        print(f"{name:20} {rows:8,} {steps:>6} {found['median'] / 1e6:8.0f}  {ratio:.3f}")
    report.store(results, arguments.out)


if __name__ == "__main__":
    main()
