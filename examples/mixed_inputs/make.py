"""Makes what config.yaml explains: python examples/mixed_inputs/make.py DIR

1,000 made-up inspections of a workshop, so that the truth is known: a photo with a bright spot on it, five readings,
and the number of the machine. DIR gets a Parquet file of them, a Keras model with three inputs, and config.yaml.
"""

from __future__ import annotations

import pathlib
import sys

import keras
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

SEED = 5
ROWS, PIXELS, SPOT, MACHINES = 1000, 12, 3, 4
EPOCHS = 40


def make(directory: pathlib.Path) -> None:
    """Data, model and configuration, in a folder."""
    rows = inspections(np.random.default_rng(SEED))
    directory.mkdir(parents=True, exist_ok=True)
    lists = {name: pa.array(list(rows[name].reshape(ROWS, -1))) for name in ("photo", "readings")}
    pq.write_table(pa.table({**rows, **lists}), directory / "inspections.parquet")
    train(rows).save(directory / "model.keras")
    (directory / "config.yaml").write_bytes(pathlib.Path(__file__).with_name("config.yaml").read_bytes())


def inspections(random: np.random.Generator) -> dict[str, np.ndarray]:
    """By column: photos [rows, 12, 12, 3] of 0 to 255 with a spot of 3 x 3 pixels, readings [rows, 5] as deviations
    from their set points, the machine, and the score: what the spot, the climate and the pressures add up to.

    Machine 3 is cooled: there the climate does not count. The last reading, the clock, never does.
    """
    readings = random.normal(size=(ROWS, 5)).astype(np.float32)
    machine = random.integers(0, MACHINES, ROWS)
    row, column = random.integers(0, PIXELS - SPOT + 1, (2, ROWS))
    brightness = random.integers(0, 160, ROWS)
    photo = random.integers(30, 51, (ROWS, PIXELS, PIXELS, 3))
    for at in range(ROWS):
        photo[at, row[at] : row[at] + SPOT, column[at] : column[at] + SPOT] += brightness[at]
    climate = np.where(machine == 3, 0, readings[:, 0] + 0.5 * readings[:, 1])
    score = brightness / 40 + climate + readings[:, 2] - readings[:, 3]
    return {
        "photo": photo.astype(np.uint8),
        "readings": readings,
        "machine": machine,
        "score": score.astype(np.float32),
        "spot_row": row,
        "spot_column": column,
    }


def train(rows: dict[str, np.ndarray]) -> keras.Model:
    """Photos in 0 to 1 [batch, 12, 12, 3], readings [batch, 5] and machines [batch] to the score [batch, 1]."""
    keras.utils.set_random_seed(SEED)
    layers = keras.layers
    photo = keras.Input((PIXELS, PIXELS, 3), name="photo")
    readings = keras.Input((5,), name="readings")
    machine = keras.Input((), dtype="int32", name="machine")
    seen = layers.GlobalMaxPooling2D()(layers.Conv2D(8, SPOT, activation="relu")(photo))
    known = layers.Concatenate()([seen, readings, layers.Embedding(MACHINES, 2)(machine)])
    hidden = layers.Dense(32, activation="relu")(layers.Dense(32, activation="relu")(known))
    model = keras.Model([photo, readings, machine], layers.Dense(1)(hidden))
    model.compile(keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(1e-2, EPOCHS * ROWS // 64)), "mse")
    scaled = (rows["photo"].astype(np.float32) / 255, rows["readings"], rows["machine"])
    model.fit(scaled, rows["score"][:, None], batch_size=64, epochs=EPOCHS, verbose=0)
    return model


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    make(pathlib.Path(sys.argv[1]))
