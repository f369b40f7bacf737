"""End to end against raw gradients: how much of what the machine can do does the whole job reach.

    python -m benchmarks.pipeline [--rounds 5] [--out benchmarks/results/pipeline.json]     (from the repository's root)

Raw: the gradient of the same Keras model, called in a `tf.function` on one fixed batch over and over, at the best of
several batch sizes; nothing is read, accumulated or written. End to end: `launch.run`, Parquet in, Parquet out, 50
steps, all included but TensorFlow's import: loading, tracing, reading, writing, checking, finalizing. Both in one
process, in turn; the ratio of a round is that of neighbours in time.
"""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import platform
import statistics
import tempfile
import time
from importlib import metadata
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import tensorflow as tf

from pipeline import demo, launch
from pipeline.config import parse_config

STEPS, RAW_SECONDS, BATCHES = 50, 2.0, (32, 64, 128, 256, 512, 1024, 2048)


def digits() -> tuple[keras.Model, np.ndarray, np.ndarray]:
    """The demo's CNN and all 5,000 digits (training takes most of a minute)."""
    images, labels = demo.load_digits()
    parts = demo.split(images, labels)
    return demo.train(parts.train_images, parts.train_labels), images / 255, labels


def wide_mlp() -> tuple[keras.Model, np.ndarray, np.ndarray]:
    """1000-512-256-10 with random weights, on 20,000 random rows."""
    keras.utils.set_random_seed(0)
    entry = keras.Input((1000,), name="x")
    hidden = keras.layers.Dense(256, "relu")(keras.layers.Dense(512, "relu")(entry))
    model = keras.Model(entry, keras.layers.Dense(10)(hidden))
    generator = np.random.default_rng(0)
    return model, generator.random((20_000, 1000), np.float32), generator.integers(0, 10, 20_000)


def raw_rate(gradient: Any, batch: Any, target: Any) -> float:
    """Gradients a second on one fixed batch."""
    gradient(batch, target)
    calls, started = 0, time.perf_counter()
    while time.perf_counter() - started < RAW_SECONDS:
        gradient(batch, target)
        calls += 1
    return calls * len(batch) / (time.perf_counter() - started)


def best_raw(model: keras.Model, inputs: np.ndarray) -> tuple[int, Any]:
    """The batch size with the highest raw rate, and its measurement as a call."""
    rates: dict[int, tuple[float, Any]] = {}
    for size in BATCHES:
        batch, target = tf.constant(np.resize(inputs, (size, *inputs.shape[1:]))), tf.zeros(size, tf.int32)

        @tf.function(autograph=False)
        def gradient(points: Any, chosen: Any) -> Any:
            with tf.GradientTape() as tape:
                tape.watch(points)
                output = tf.gather(model(points, training=False), chosen, axis=1, batch_dims=1)
            return tape.gradient(output, points)

        measure = lambda g=gradient, b=batch, t=target: raw_rate(g, b, t)  # noqa: E731
        rates[size] = (measure(), measure)
    best = max(rates, key=lambda size: rates[size][0])
    return best, rates[best][1]


def job_rate(folder: pathlib.Path, name: str, rows: int) -> dict[str, float]:
    """One whole run in a fresh directory."""
    values = {
        "model": {"path": str(folder / "model.keras")},
        "input": {"files": str(folder / "rows.parquet"), "features": {name: "x"}, "label": "y"},
        "attribution": {"target": "label", "steps": STEPS},
        "output": {"path": tempfile.mkdtemp(dir=folder)},
    }
    started = time.perf_counter()
    outcome = launch.run(parse_config(values), folder)
    seconds = time.perf_counter() - started
    return {"rows_s": rows / seconds, "gradients_s": outcome.manifest["gradients"] / seconds}


def compare(make: Any, rounds: int, folder: pathlib.Path) -> dict[str, Any]:
    """Raw and end to end, in turn."""
    model, inputs, labels = make()
    model.save(folder / "model.keras")
    flat = pa.FixedSizeListArray.from_arrays(pa.array(inputs.reshape(-1)), int(np.prod(inputs.shape[1:])))
    pq.write_table(pa.table({"x": flat, "y": labels}), folder / "rows.parquet", row_group_size=1000)
    size, raw = best_raw(model, inputs)
    job_rate(folder, model.inputs[0].name, len(inputs))
    pairs = []
    for _ in range(rounds):
        before, job, after = raw(), job_rate(folder, model.inputs[0].name, len(inputs)), raw()
        pairs.append({"raw_s": (before + after) / 2, **job, "ratio": job["gradients_s"] / ((before + after) / 2)})
    ratios = sorted(pair["ratio"] for pair in pairs)
    medians = {key: statistics.median(pair[key] for pair in pairs) for key in pairs[0]}
    return {"rows": len(inputs), "raw_batch": size, **medians, "ratio_range": [ratios[0], ratios[-1]], "rounds": pairs}


def main() -> None:
    """Measure, print a table, and write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=pathlib.Path)
    parser.add_argument("--only", choices=["digits", "wide_mlp"])
    arguments = parser.parse_args()
    machine = {"cores": os.cpu_count(), "machine": platform.machine(), "python": platform.python_version()}
    versions = {name: metadata.version(name) for name in ("tensorflow", "apache-beam", "pyarrow")}
    results: dict[str, Any] = {"machine": machine | versions, "steps": STEPS}
    print(f"{'model':10} {'raw grad/s':>11} {'job grad/s':>11} {'rows/s':>8} {'ratio':>6}  range")
    for make in (digits, wide_mlp):
        if arguments.only not in (None, make.__name__):
            continue
        with tempfile.TemporaryDirectory() as folder:
            found = compare(make, arguments.rounds, pathlib.Path(folder))
        results[make.__name__] = found
        low, high = found["ratio_range"]
        print(
            f"{make.__name__:10} {found['raw_s']:11,.0f} {found['gradients_s']:11,.0f} {found['rows_s']:8,.1f}"
            f" {found['ratio']:6.2f}  {low:.2f}-{high:.2f} (raw at batch {found['raw_batch']})"
        )
    if arguments.out:
        arguments.out.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
