"""The models and rows that the benchmarks run on: small ones trained here, large ones with random weights."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline import demo


@dataclasses.dataclass(frozen=True)
class Case:
    """A model with logits, and rows for it.

    Attributes:
        inputs: float32 [rows, *shape], as the model takes them; token ids int64.
        labels: int64 [rows], the entry of the output that is explained.
    """

    model: keras.Model
    inputs: npt.NDArray[Any]
    labels: npt.NDArray[np.int64]

    def save(self, folder: pathlib.Path, rows: int | None = None) -> dict[str, Any]:
        """Write model.keras and rows.parquet (columns x and y); the job's configuration without output."""
        inputs, labels = self.inputs[:rows], self.labels[:rows]
        self.model.save(folder / "model.keras")
        flat = pa.FixedSizeListArray.from_arrays(pa.array(inputs.reshape(-1)), int(np.prod(inputs.shape[1:])))
        table = pa.table({"x": flat, "y": labels})
        pq.write_table(table, folder / "rows.parquet", row_group_size=1000, use_dictionary=False)
        return {
            "model": {"path": str(folder / "model.keras")},
            "input": {
                "files": str(folder / "rows.parquet"),
                "features": {self.model.inputs[0].name: "x"},
                "label": "y",
            },
            "attribution": {"target": "label"},
        }


def digits() -> Case:
    """The demo's CNN (ReLU) and all 5,000 digits, the held-out 1,000 first; training takes most of a minute."""
    parts = demo.split(*demo.load_digits())
    model = demo.train(parts.train_images, parts.train_labels)
    images = np.concatenate([parts.held_out_images, parts.train_images]) / np.float32(255)
    return Case(model, images, np.concatenate([parts.held_out_labels, parts.train_labels]))


def tabular_mlp() -> Case:
    """A ReLU net of 30-64-64-2 on scikit-learn's breast cancer table, standardised; the last 169 rows come first."""
    from sklearn.datasets import load_breast_cancer

    table, labels = load_breast_cancer(return_X_y=True)
    table = ((table - table.mean(axis=0)) / table.std(axis=0)).astype(np.float32)
    order = np.random.default_rng(0).permutation(len(table))
    table, labels = table[order], labels[order].astype(np.int64)
    keras.utils.set_random_seed(0)
    entry = keras.Input((30,), name="table")
    hidden = keras.layers.Dense(64, "relu")(keras.layers.Dense(64, "relu")(entry))
    model = keras.Model(entry, keras.layers.Dense(2)(hidden))
    _fit(model, table[169:], labels[169:], epochs=20)
    return Case(model, table, labels)


def gelu_residual() -> Case:
    """A residual CNN with GELU and layer normalisation on the digits, trained until it is sharp; held-out first."""
    parts = demo.split(*demo.load_digits())
    keras.utils.set_random_seed(0)
    entry = keras.Input((28, 28, 1), name="image")
    value = keras.layers.Conv2D(16, 4, strides=4)(entry)
    for _ in range(2):
        inner = keras.layers.LayerNormalization()(value)
        inner = keras.layers.Conv2D(32, 3, padding="same", activation="gelu")(inner)
        value = value + keras.layers.Conv2D(16, 3, padding="same")(inner)
    flat = keras.layers.Flatten()(keras.layers.LayerNormalization()(value))
    model = keras.Model(entry, keras.layers.Dense(10)(flat))
    _fit(model, parts.train_images / np.float32(255), parts.train_labels, epochs=8)
    images = np.concatenate([parts.held_out_images, parts.train_images]) / np.float32(255)
    return Case(model, images, np.concatenate([parts.held_out_labels, parts.train_labels]))


def tokens() -> Case:
    """An embedding of 12 tokens of 50, and a tanh net of 96-32-3 over it, with random weights, on random tokens."""
    keras.utils.set_random_seed(0)
    entry = keras.Input((12,), dtype="int64", name="tokens")
    value = keras.layers.Embedding(50, 8, embeddings_initializer=keras.initializers.RandomNormal(stddev=1.0))(entry)
    value = keras.layers.Dense(32, "tanh", bias_initializer="random_normal")(keras.layers.Flatten()(value))
    model = keras.Model(entry, keras.layers.Dense(3)(value))
    generator = np.random.default_rng(0)
    return Case(model, generator.integers(1, 50, (1000, 12)), generator.integers(0, 3, 1000))


def wide_mlp() -> Case:
    """1000-512-256-10 with random weights, on 160,000 random rows."""
    keras.utils.set_random_seed(0)
    entry = keras.Input((1000,), name="x")
    hidden = keras.layers.Dense(256, "relu")(keras.layers.Dense(512, "relu")(entry))
    model = keras.Model(entry, keras.layers.Dense(10)(hidden))
    generator = np.random.default_rng(0)
    return Case(model, generator.random((160_000, 1000), np.float32), generator.integers(0, 10, 160_000))


def resnet50() -> Case:
    """ResNet-50 at 224×224 with random weights, on 64 random images: the size is what matters here."""
    keras.utils.set_random_seed(0)
    entry = keras.Input((224, 224, 3), name="image")
    model = keras.applications.ResNet50(weights=None, input_tensor=entry, classifier_activation=None)
    generator = np.random.default_rng(0)
    return Case(model, generator.random((64, 224, 224, 3), np.float32), generator.integers(0, 1000, 64))


CASES: dict[str, Callable[[], Case]] = {
    case.__name__: case for case in (digits, tabular_mlp, gelu_residual, tokens, wide_mlp, resnet50)
}


def _fit(model: keras.Model, inputs: Any, labels: Any, epochs: int) -> None:
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(2e-3), loss, metrics=["accuracy"])
    model.fit(inputs, labels, batch_size=64, epochs=epochs, verbose=0)
