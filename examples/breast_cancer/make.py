"""Makes what config.yaml explains: python examples/breast_cancer/make.py DIR

The Wisconsin breast cancer data come inside scikit-learn (pip install 'attribeam[examples]'): of 569 tumours, ten
measurements of their cell nuclei, each as mean, standard error and worst value. DIR gets a Parquet file of them, a
small Keras model that was trained on three quarters of them, and config.yaml.
"""

from __future__ import annotations

import pathlib
import sys

import keras
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from sklearn.datasets import load_breast_cancer

SEED = 1
EPOCHS = 60


def make(directory: pathlib.Path) -> None:
    """Data, model and configuration, in a folder."""
    data = load_breast_cancer()
    measured, malignant = data.data.astype(np.float32), (data.target == 0).astype(np.int64)
    training = np.random.default_rng(SEED).random(len(measured)) < 0.75
    directory.mkdir(parents=True, exist_ok=True)
    write_rows(directory / "tumours.parquet", measured, malignant, training)
    train(measured[training], malignant[training]).save(directory / "model.keras")
    (directory / "config.yaml").write_bytes(pathlib.Path(__file__).with_name("config.yaml").read_bytes())


def write_rows(path: pathlib.Path, measured: np.ndarray, malignant: np.ndarray, training: np.ndarray) -> None:
    """A row a tumour. `typical` is the same in all of them: the median of the benign tumours of the training rows."""
    typical = np.median(measured[training & (malignant == 0)], axis=0)
    table = {
        "id": [f"tumour-{row:03d}" for row in range(len(measured))],
        "measurements": pa.array(list(measured), pa.list_(pa.float32())),
        "typical": pa.array([typical] * len(measured), pa.list_(pa.float32())),
        "diagnosis": np.where(malignant == 1, "malignant", "benign"),
        "split": np.where(training, "training", "held out"),
    }
    pq.write_table(pa.table(table), path)


def train(measured: np.ndarray, malignant: np.ndarray) -> keras.Model:
    """float32 [batch, 30], in the units of the data, to the logit of `malignant` [batch, 1]."""
    keras.utils.set_random_seed(SEED)
    scaled = keras.layers.Normalization(name="standardised")
    scaled.adapt(measured)
    entry = keras.Input((measured.shape[1],), name="measurements")
    hidden = keras.layers.Dense(16, activation="relu", kernel_regularizer=keras.regularizers.L2(1e-2))(scaled(entry))
    model = keras.Model(entry, keras.layers.Dense(1, name="logit")(hidden))
    model.compile(keras.optimizers.Adam(5e-3), keras.losses.BinaryCrossentropy(from_logits=True))
    model.fit(measured, malignant[:, None], batch_size=32, epochs=EPOCHS, verbose=0)
    return model


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    make(pathlib.Path(sys.argv[1]))
