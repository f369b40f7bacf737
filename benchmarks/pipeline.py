"""End to end against raw gradients: how much of what the machine can do does the whole job reach.

    python -m benchmarks.pipeline [--rounds 5] [--out benchmarks/results/pipeline.json]     (from the repository's root)

Raw: the gradient of the same Keras model over and over, at its best batch size (`benchmarks.raw`). End to end: the Beam
job, Parquet in, Parquet out, 50 Gauss-Legendre steps a row: checking, planning, reading, decoding, F(x), gradients,
writing, reading every part again, the manifest. After warm-up: the model is loaded (`start_s`), and by one run that is
not counted its programs are traced and the batch size is found. Each in its own process, in turn, the other one idle; a
round's ratio is that of neighbours in time.
"""

from __future__ import annotations

import argparse
import os
import pathlib
import statistics
import tempfile
import time
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np

from benchmarks import report
from benchmarks.job import Job
from benchmarks.models import CASES
from benchmarks.raw import Raw
from transforms.attribution.engine.device import claim_device

STEPS, SIZES = 50, tuple(2**power for power in range(12))
# rows that take up to a minute or so; raw batches that are tried
ROWS = {"digits": 4000, "wide_mlp": 160_000, "resnet50": 16}
BATCHES = {"digits": SIZES[5:], "wide_mlp": SIZES[5:], "resnet50": SIZES[:6]}


def compare(name: str, rounds: int, folder: pathlib.Path) -> dict[str, Any]:
    """Raw and end to end, in turn."""
    claim_device()  # before the model is trained: as a worker does before it computes anything
    case, rows = CASES[name](), ROWS[name]
    values = case.save(folder, rows)
    values["attribution"]["steps"] = STEPS
    np.save(folder / "rows.npy", case.inputs[: BATCHES[name][-1]])
    with Raw(folder / "model.keras", folder / "rows.npy", BATCHES[name]) as raw:
        return {"rows": rows, "raw_batch": raw.size, **in_turn(raw, values, rows, rounds, folder)}


def in_turn(raw: Raw, values: dict[str, Any], rows: int, rounds: int, folder: pathlib.Path) -> dict[str, Any]:
    """The rounds, after one run that is not counted."""
    started = time.perf_counter()
    job = Job(values, folder)
    start = time.perf_counter() - started
    job.seconds()
    pairs = []
    for _ in range(rounds):
        before, seconds, after = raw.rate(), job.seconds(), raw.rate()
        rate, reached = (before + after) / 2, rows * STEPS / seconds
        pairs.append({"raw": rate, "job": reached, "ratio": reached / rate})
    found = {key: report.spread([pair[key] for pair in pairs]) for key in ("raw", "job", "ratio")}
    rows_s = statistics.median(pair["job"] for pair in pairs) / STEPS
    about = {"job_batch": job.manifest["batch_sizes"], "start_s": start, "hoisted": job.manifest["hoisted"]}
    return {**about, "traces": job.explainer.traces(), "rows_s": rows_s, **found}


def main() -> None:
    """Measure, print a table, and write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=pathlib.Path)
    parser.add_argument("--only", choices=list(ROWS))
    arguments = parser.parse_args()
    results: dict[str, Any] = {"steps": STEPS, "rounds": arguments.rounds}
    print(f"{'model':10} {'raw grad/s':>11} {'job grad/s':>11} {'rows/s':>8} {'ratio':>6}  range        raw/job batch")
    for name in [arguments.only] if arguments.only else ROWS:
        with tempfile.TemporaryDirectory() as folder:
            found = results[name] = compare(name, arguments.rounds, pathlib.Path(folder))
        ratio = found["ratio"]
        print(
            f"{name:10} {found['raw']['median']:11,.0f} {found['job']['median']:11,.0f} {found['rows_s']:8,.2f}"
            f" {ratio['median']:6.2f}  {ratio['min']:.2f}-{ratio['max']:.2f}"
            f"    {found['raw_batch']}/{max(found['job_batch'])}"
        )
    report.store(results, arguments.out)


if __name__ == "__main__":
    main()
