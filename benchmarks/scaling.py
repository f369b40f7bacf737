"""Cost against rows, steps, row size and shards: seconds of the warm job, and what a row or a step adds.

    python -m benchmarks.scaling [--rounds 3] [--out benchmarks/results/scaling.json]     (from the repository's root)

One dense net with random weights; each series changes one thing and keeps the rest. `per_unit` is the slope of a line
fitted to the medians, `growth` the cost of the last over the first, beside the growth of what was changed.
"""

from __future__ import annotations

import argparse
import os
import pathlib
import tempfile
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import numpy as np

from benchmarks import report
from benchmarks.job import Job
from benchmarks.models import Case
from transforms.attribution.engine.device import claim_device

BASE = {"rows": 4000, "steps": 32, "width": 256, "shard_rows": 1000}
SERIES = {
    "rows": (1000, 4000, 16_000, 64_000),
    "steps": (8, 32, 128, 512),
    "width": (64, 256, 1024, 4096),
    "shard_rows": (4000, 2000, 1000, 500),
}
HIDDEN, BATCH = 256, 1024


def case(rows: int, width: int) -> Case:
    """A net of two wide hidden layers on rows of `width` random numbers."""
    keras.utils.set_random_seed(0)
    entry = keras.Input((width,), name="x")
    hidden = keras.layers.Dense(HIDDEN, "relu")(keras.layers.Dense(HIDDEN, "relu")(entry))
    model = keras.Model(entry, keras.layers.Dense(10)(hidden))
    generator = np.random.default_rng(0)
    return Case(model, generator.random((rows, width), np.float32), generator.integers(0, 10, rows))


def seconds(setting: dict[str, int], rounds: int) -> list[float]:
    """Of some runs of one job."""
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder)
        values = case(setting["rows"], setting["width"]).save(path)
        values["attribution"] |= {"steps": setting["steps"], "batch_size": BATCH, "hoist": False}
        row_bytes = setting["width"] * 4 + 64
        job, shard_bytes = Job(values, path), setting["shard_rows"] * row_bytes
        job.seconds(shard_bytes=shard_bytes)
        return [job.seconds(shard_bytes=shard_bytes) for _ in range(rounds)]


def main() -> None:
    """Measure, print a table, and write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=pathlib.Path)
    arguments = parser.parse_args()
    claim_device()  # before a model is made: as a worker does before it computes anything
    results: dict[str, Any] = {"base": BASE, "rounds": arguments.rounds}
    print(f"{'changed':10} {'to':>7} {'seconds':>8}  range")
    for name, values in SERIES.items():
        found = {value: report.spread(seconds(BASE | {name: value}, arguments.rounds)) for value in values}
        for value, spread in found.items():
            print(f"{name:10} {value:7,} {spread['median']:8.2f}  {spread['min']:.2f}-{spread['max']:.2f}")
        medians = [spread["median"] for spread in found.values()]
        slope = float(np.polyfit(values, medians, 1)[0])
        growth = {"of_cost": medians[-1] / medians[0], "of_it": values[-1] / values[0]}
        print(
            f"{'':10} {slope:.3g} s for each; cost grew {growth['of_cost']:.1f} times, it {growth['of_it']:.2g} times"
        )
        results[name] = {"seconds": found, "per_unit": slope, "growth": growth}
    report.store(results, arguments.out)


if __name__ == "__main__":
    main()
