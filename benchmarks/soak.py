"""Long jobs, watched from outside: memory and descriptors stay flat, and no row costs more than those before it.

    python -m benchmarks.soak [--job rows | images] [--scale 1.0] [--out benchmarks/results/soak.json]
                                                                               (from the repository's root)

A million rows of a small dense net, and ten thousand PNG images of a small CNN, each through `attribeam run` in a
process of its own, whose resident bytes, descriptors, threads and processor time are read from /proc four times a
second. What counts is compared between the two halves of the rows, from the first published part to the last:

- memory: the median of the second half over that of the first
- descriptors: the median of the second half, and of the first; how many are open at a moment varies, and what leaks
  stays
- processor time per row: of `WINDOWS` equal pieces, the median of the second half's over that of the first half's.
  Unlike the time of the clock it hardly depends on what else the machine does.
"""

from __future__ import annotations

import argparse
import dataclasses
import io
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from benchmarks import report

ROWS, IMAGES, WIDTH, SIDE, SHARDS = 1_000_000, 10_000, 8, 32, 128
PERIOD_S, WINDOWS = 0.25, 16
# What the second half may have of the first
GROWTH = 1.05


@dataclasses.dataclass(frozen=True)
class Sample:
    """A process at one moment: parts that it has published, what it holds, what it has spent."""

    parts: int
    resident_bytes: int
    descriptors: int
    threads: int
    processor_s: float


def small_rows(folder: pathlib.Path, rows: int) -> dict[str, Any]:
    """Eight random numbers a row, a dense net, 8 steps."""
    generator = np.random.default_rng(0)
    _save(folder, [keras.layers.Dense(16, "relu"), keras.layers.Dense(1)], (WIDTH,))
    schema = pa.schema([("x", pa.list_(pa.float32(), WIDTH))])
    with pq.ParquetWriter(folder / "rows.parquet", schema) as writer:
        for first in range(0, rows, 100_000):
            values = generator.random((min(100_000, rows - first), WIDTH), np.float32)
            writer.write_table(pa.table([pa.FixedSizeListArray.from_arrays(values.ravel(), WIDTH)], schema=schema))
    return {"steps": 8, "batch_size": 8192}


def images(folder: pathlib.Path, rows: int) -> dict[str, Any]:
    """PNG images of random gradients, a CNN, 16 steps."""
    from PIL import Image

    generator = np.random.default_rng(0)
    layers = [keras.layers.Conv2D(8, 3, 2, activation="relu"), keras.layers.Conv2D(8, 3, 2, activation="relu")]
    _save(folder, [*layers, keras.layers.Flatten(), keras.layers.Dense(1)], (SIDE, SIDE, 3))

    def png() -> bytes:
        ends = generator.integers(0, 256, (2, 3))
        ramp = np.linspace(ends[0], ends[1], SIDE).astype(np.uint8)
        written = io.BytesIO()
        Image.fromarray(np.broadcast_to(ramp, (SIDE, SIDE, 3)).copy()).save(written, "PNG")
        return written.getvalue()

    pq.write_table(pa.table({"x": [png() for _ in range(rows)]}), folder / "rows.parquet", row_group_size=500)
    return {"steps": 16, "batch_size": 256}


JOBS: dict[str, tuple[Callable[[pathlib.Path, int], dict[str, Any]], int, dict[str, Any]]] = {
    "rows": (small_rows, ROWS, {"column": "x"}),
    "images": (images, IMAGES, {"column": "x", "decode": "image", "shape": [SIDE, SIDE, 3]}),
}


def soak(name: str, scale: float) -> dict[str, Any]:
    """One job, to its end; raises when it fails."""
    prepare, rows, feature = JOBS[name]
    rows = int(rows * scale)
    with tempfile.TemporaryDirectory() as temporary:
        folder = pathlib.Path(temporary)
        attribution = prepare(folder, rows)
        values = int(np.prod(feature.get("shape", [WIDTH])))
        config = {
            "model": {"path": str(folder / "model.keras")},
            "input": {"files": str(folder / "rows.parquet"), "features": {"x": feature}},
            "attribution": attribution,
            "output": {"path": str(folder / "out"), "shard_bytes": -(-rows // SHARDS) * (4 * values + 64)},
        }
        (folder / "job.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
        started = time.monotonic()
        samples = _watched(folder)
        seconds = time.monotonic() - started
        manifest = json.loads((folder / "out/_manifest.json").read_text(encoding="utf-8"))
        assert (manifest["rows"], manifest["quarantined"]) == (rows, 0)
        about = {"rows": rows, "shards": manifest["shards"], "gradients": manifest["gradients"], "seconds": seconds}
        return about | compared(samples, rows / manifest["shards"])


def compared(samples: Sequence[Sample], part_rows: float) -> dict[str, Any]:
    """The two halves of the rows, between the first part and the last."""
    parts = np.array([sample.parts for sample in samples])
    working = [sample for sample in samples if 0 < sample.parts < parts.max()]
    middle = (1 + parts.max()) / 2
    halves = [[s for s in working if s.parts < middle], [s for s in working if s.parts >= middle]]
    resident = [float(np.median([sample.resident_bytes for sample in half])) for half in halves]
    descriptors = [int(np.median([sample.descriptors for sample in half])) for half in halves]
    # processor time at the moment at which so many parts were there
    counts, first = np.unique(parts[parts > 0], return_index=True)
    spent = np.array([sample.processor_s for sample in samples])[parts > 0][first]
    borders = np.linspace(counts[0], counts[-1], WINDOWS + 1)
    pieces = np.diff(np.interp(borders, counts, spent)) / (np.diff(borders) * part_rows)
    per_row = [float(np.median(half)) for half in (pieces[: WINDOWS // 2], pieces[WINDOWS // 2 :])]
    return {
        "samples": len(samples),
        "resident_bytes": resident,
        "resident_ratio": resident[1] / resident[0],
        "descriptors": descriptors,
        "threads": [max(sample.threads for sample in half) for half in halves],
        "processor_us_per_row": [1e6 * value for value in per_row],
        "processor_ratio": per_row[1] / per_row[0],
        "pieces_us_per_row": [round(1e6 * float(piece), 3) for piece in pieces],
        "flat": resident[1] <= GROWTH * resident[0]
        and descriptors[1] <= descriptors[0]
        and per_row[1] <= GROWTH * per_row[0],
    }


def _save(folder: pathlib.Path, layers: Sequence[keras.Layer], shape: tuple[int, ...]) -> None:
    keras.utils.set_random_seed(0)
    value = entry = keras.Input(shape, name="x")
    for layer in layers:
        value = layer(value)
    keras.Model(entry, value).save(folder / "model.keras")


def _watched(folder: pathlib.Path) -> list[Sample]:
    command = [sys.executable, "-m", "pipeline.main", "run", str(folder / "job.yaml")]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        samples = list[Sample]()
        while process.poll() is None:
            if found := _sample(process.pid, folder / "out"):
                samples.append(found)
            time.sleep(PERIOD_S)
    if process.returncode:
        raise RuntimeError(f"attribeam run ended with exit code {process.returncode}")
    return samples


def _sample(process: int, out: pathlib.Path) -> Sample | None:
    """None when the process has just ended."""
    proc = pathlib.Path(f"/proc/{process}")
    try:
        fields = (proc / "stat").read_text().rpartition(")")[2].split()
        descriptors = len(os.listdir(proc / "fd"))  # noqa: PTH208 - a Path for each takes longer than the list
    except OSError:
        return None
    parts = sum(1 for _ in out.glob("part-*.parquet"))
    # utime, stime, num_threads, rss: https://man7.org/linux/man-pages/man5/proc_pid_stat.5.html
    processor_s = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return Sample(parts, int(fields[21]) * os.sysconf("SC_PAGE_SIZE"), descriptors, int(fields[17]), processor_s)


def main() -> None:
    """Run, print a table, and write the JSON; exit code 1 when anything grows."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--job", choices=sorted(JOBS), action="append")
    parser.add_argument("--scale", type=float, default=1.0, help="of the number of rows")
    parser.add_argument("--out", type=pathlib.Path)
    arguments = parser.parse_args()
    results = {name: soak(name, arguments.scale) for name in arguments.job or sorted(JOBS)}
    for name, found in results.items():
        memory, cost = (found[key] for key in ("resident_bytes", "processor_us_per_row"))
        print(f"{name:7} {found['rows']:>9,} rows  {found['seconds']:6.0f} s", end="  ")
        print(f"{memory[0] / 1e6:.0f} → {memory[1] / 1e6:.0f} MB ({found['resident_ratio']:.3f})", end="  ")
        print("descriptors {} → {}".format(*found["descriptors"]), end="  ")
        print(f"{cost[0]:.1f} → {cost[1]:.1f} µs of processor a row ({found['processor_ratio']:.3f})")
    report.store(results, arguments.out)
    sys.exit(not all(found["flat"] for found in results.values()))


if __name__ == "__main__":
    main()
