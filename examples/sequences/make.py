"""Makes what config.yaml explains: python examples/sequences/make.py DIR

Recordings of three sensors, made up so that the truth is known: each lasts 12 to 48 moments and wavers around 0.5. At
one moment, `fault_at`, one sensor jumps; which of them it is, is the class. Smaller jumps of all sensors distract, and
the recording goes on for a while. DIR gets a Parquet file of new recordings, a recurrent Keras model that was trained
on others, and config.yaml.
"""

from __future__ import annotations

import pathlib
import sys

import keras
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

SEED = 1
SENSORS = 3
SHORTEST, LONGEST, AFTERWARDS = 12, 48, 4
QUIET, WAVER, DISTRACTION, JUMP = 0.5, 0.05, 0.4, 1.5
# No reading is negative: the model takes this for the end of a recording.
PAD = -1.0
TRAINING, EXPLAINED, EPOCHS = 1500, 300, 8


def make(directory: pathlib.Path) -> None:
    """Data, model and configuration, in a folder."""
    random = np.random.default_rng(SEED)
    model = train(*recordings(random, TRAINING)[:2])
    directory.mkdir(parents=True, exist_ok=True)
    write_rows(directory / "recordings.parquet", *recordings(random, EXPLAINED))
    model.save(directory / "model.keras")
    (directory / "config.yaml").write_bytes(pathlib.Path(__file__).with_name("config.yaml").read_bytes())


def recordings(random: np.random.Generator, count: int) -> tuple[list[np.ndarray], np.ndarray, np.ndarray]:
    """Recordings, float32 [length, 3] each; which sensor jumps, and when: int64 [count]."""
    lengths = random.integers(SHORTEST, LONGEST + 1, count)
    sensors, moments = random.integers(0, SENSORS, count), random.integers(0, lengths - AFTERWARDS)
    rows = []
    for length, sensor, moment in zip(lengths, sensors, moments, strict=True):
        readings = QUIET + WAVER * random.standard_normal((length, SENSORS))
        readings[random.integers(0, length, SENSORS), np.arange(SENSORS)] += DISTRACTION
        readings[moment, sensor] += JUMP
        rows.append(np.maximum(readings, 0).astype(np.float32))
    return rows, sensors, moments


def write_rows(path: pathlib.Path, rows: list[np.ndarray], sensors: np.ndarray, moments: np.ndarray) -> None:
    """A row a recording: a list of moments, each a list of three readings."""
    table = {
        "id": [f"recording-{row:03d}" for row in range(len(rows))],
        "readings": pa.array([row.tolist() for row in rows], pa.list_(pa.list_(pa.float32()))),
        "sensor": sensors,
        "fault_at": moments,
    }
    pq.write_table(pa.table(table), path)


def train(rows: list[np.ndarray], sensors: np.ndarray) -> keras.Model:
    """float32 [batch, length, 3] → a logit for each sensor; moments of −1 count for nothing."""
    keras.utils.set_random_seed(SEED)
    entry = keras.Input((None, SENSORS), name="readings")
    hidden = keras.layers.GRU(16, return_sequences=True)(keras.layers.Masking(PAD)(entry))
    logits = keras.layers.Dense(SENSORS, name="sensor")(keras.layers.GlobalAveragePooling1D()(hidden))
    model = keras.Model(entry, logits)
    model.compile(keras.optimizers.Adam(1e-2), keras.losses.SparseCategoricalCrossentropy(True), metrics=["accuracy"])
    filled = np.stack([np.pad(row, ((0, LONGEST - len(row)), (0, 0)), constant_values=PAD) for row in rows])
    model.fit(filled, sensors, batch_size=64, epochs=EPOCHS, verbose=0)
    return model


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    make(pathlib.Path(sys.argv[1]))
