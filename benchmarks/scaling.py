"""Cost against rows, steps, row size and shards: seconds of the warm job, and what a row or a step adds.

    python -m benchmarks.scaling [--rounds 3] [--out benchmarks/results/scaling.json]     (from the repository's root)
    python -m benchmarks.scaling --simulate [--folder /dev/shm] [--out benchmarks/results/simulated.json]

One dense net with random weights; each series changes one thing and keeps the rest. `per_unit` is the slope of a line
fitted to the medians, `growth` the cost of the last over the first, beside the growth of what was changed.

With `--simulate` nothing is explained: what planning, publishing, finalizing and resuming cost for up to 100,000 shards
of 10,000 rows, 10^9 rows in all. `benchmarks/simulated.py` says what of it is real.
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
from benchmarks.simulated import STAGES, simulate
from transforms.attribution.engine.device import claim_device

BASE = {"rows": 4000, "steps": 32, "width": 256, "shard_rows": 1000}
SERIES = {
    "rows": (1000, 4000, 16_000, 64_000),
    "steps": (8, 32, 128, 512),
    "width": (64, 256, 1024, 4096),
    "shard_rows": (4000, 2000, 1000, 500),
}
HIDDEN, BATCH = 256, 1024
SIMULATED, SIMULATED_ROWS = (1000, 10_000, 100_000), 10_000


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


def simulated(folder: pathlib.Path | None) -> dict[str, Any]:
    """Of every number of shards: the stages, and the cost of a shard beside that with the fewest."""
    print(f"{'shards':>7} {'stage':9} {'seconds':>8} {'cpu s':>8} {'peak MB':>8} {'before':>8} {'cpu ms each':>11}")
    found = {shards: simulate(shards, SIMULATED_ROWS, folder) for shards in SIMULATED}
    growth = {}
    for stage in STAGES:
        each = {shards: stages[stage]["cpu_seconds"] / shards for shards, stages in found.items()}
        growth[stage] = each[SIMULATED[-1]] / each[SIMULATED[0]]
    last = found[SIMULATED[-1]]
    run = sum(last[stage]["seconds"] for stage in STAGES[:3])
    share = last["resume"]["seconds"] / run
    print("cost of a shard, last over first: " + ", ".join(f"{stage} {value:.2f}" for stage, value in growth.items()))
    print(f"a resume with 99 % done takes {share:.1%} of the run")
    return {"shard_rows": SIMULATED_ROWS, "shards": found, "growth_of_cost": growth, "resume_share": share}


def main() -> None:
    """Measure, print a table, and write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=pathlib.Path)
    parser.add_argument("--simulate", action="store_true", help="very many shards, none of them explained")
    parser.add_argument("--folder", type=pathlib.Path, help="where the simulated run stands: 3 GB")
    arguments = parser.parse_args()
    if arguments.simulate:
        report.store(simulated(arguments.folder), arguments.out)
    else:
        report.store(measured(arguments.rounds), arguments.out)


def measured(rounds: int) -> dict[str, Any]:
    """Of every series: seconds, slope and growth."""
    claim_device()  # before a model is made: as a worker does before it computes anything
    results: dict[str, Any] = {"base": BASE, "rounds": rounds}
    print(f"{'changed':10} {'to':>7} {'seconds':>8}  range")
    for name, values in SERIES.items():
        found = {value: report.spread(seconds(BASE | {name: value}, rounds)) for value in values}
        for value, spread in found.items():
            print(f"{name:10} {value:7,} {spread['median']:8.2f}  {spread['min']:.2f}-{spread['max']:.2f}")
        medians = [spread["median"] for spread in found.values()]
        slope = float(np.polyfit(values, medians, 1)[0])
        growth = {"of_cost": medians[-1] / medians[0], "of_it": values[-1] / values[0]}
        print(
            f"{'':10} {slope:.3g} s for each; cost grew {growth['of_cost']:.1f} times, it {growth['of_it']:.2g} times"
        )
        results[name] = {"seconds": found, "per_unit": slope, "growth": growth}
    return results


if __name__ == "__main__":
    main()
