"""Tiny datasets, models and jobs for the tests: a few rows, a handful of weights, names that are hard on file code."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.config import JobConfig, parse_config
from pipeline.launch import run
from pipeline.outcome import Outcome

ROWS, VALUES, CLASSES = 23, 4, 3
STEM = "rows [1] #é%20"
FORMATS = {"parquet": ".parquet", "none": ".tfrecord", "gzip": ".tfrecord.gz", "zlib": ".tfrecord.zlib"}
Features = Mapping[str, Any]
# what the fixture `attribeam` gives
Command = Callable[..., tuple[int, str, str]]


def rows(count: int = ROWS, seed: int = 1) -> dict[str, Any]:
    """Columns of a small dataset: numbers, whole numbers, one number, a label and an id a row."""
    random = np.random.default_rng(seed)
    return {
        "pixels": random.normal(size=(count, VALUES)).astype(np.float32),
        "counts": random.integers(1, 9, (count, VALUES)),
        "age": random.normal(size=(count, 1)).astype(np.float32),
        "label": random.integers(0, CLASSES, count),
        "name": [f"row/{number} é" for number in range(count)],
    }


def write_parquet(path: pathlib.Path, columns: Mapping[str, Any], group_rows: int = 5) -> pathlib.Path:
    """Arrays become columns: [rows, n] a list, [rows, 1] and [rows] plain ones."""
    plain = {name: value if isinstance(value, pa.Array) else _column(value) for name, value in columns.items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(plain), path, row_group_size=group_rows)
    return path


def write_tfrecord(path: pathlib.Path, columns: Mapping[str, Any], codec: str = "none") -> pathlib.Path:
    """The same rows as Examples; a None in a column leaves the feature out."""
    import tensorflow as tf

    path.parent.mkdir(parents=True, exist_ok=True)
    kind = "" if codec == "none" else codec.upper()
    with tf.io.TFRecordWriter(str(path), kind) as writer:
        for record in examples(columns):
            writer.write(record)
    return path


def examples(columns: Mapping[str, Any]) -> list[bytes]:
    """Each row as a serialised Example."""
    import tensorflow as tf

    count = len(next(iter(columns.values())))
    records = []
    for row in range(count):
        present = {name: _feature(value[row]) for name, value in columns.items() if value[row] is not None}
        records.append(tf.train.Example(features=tf.train.Features(feature=present)).SerializeToString())
    return records


def write(folder: pathlib.Path, kind: str, columns: Mapping[str, Any], stem: str = STEM) -> pathlib.Path:
    """The rows in one of `FORMATS`."""
    path = folder / (stem + FORMATS[kind])
    return write_parquet(path, columns) if kind == "parquet" else write_tfrecord(path, columns, kind)


def job(folder: pathlib.Path, model: Mapping[str, Any], files: Any, features: Features, **parts: Any) -> JobConfig:
    """A validated job that writes to `folder`; `parts` are merged into the configuration's groups."""
    files = [str(path) for path in files] if isinstance(files, (list, tuple)) else str(files)
    groups: dict[str, dict[str, Any]] = {
        "model": dict(model),
        "input": {"files": files, "features": dict(features)},
        "attribution": {"steps": 8},
        "output": {"path": str(folder)},
        "limits": {},
    }
    for name, values in parts.items():
        groups[name] |= values
    return parse_config(groups)


def launch(config: JobConfig) -> Outcome:
    """`attribeam run` in this process; file names are written relative to the folder of the first file."""
    return run(config, pathlib.Path(config.input.files[0]).parent)


def read(out: str | pathlib.Path) -> pa.Table:
    """All parts of a run, in order."""
    return pa.concat_tables([pq.read_table(path) for path in parts(out)])


def parts(out: str | pathlib.Path) -> list[pathlib.Path]:
    """The part files of a run, in order."""
    return sorted(pathlib.Path(out).glob("part-*.parquet"))


def attributions(table: pa.Table, name: str = "x") -> np.ndarray:
    """An attribution column as float64 [rows, *shape]."""
    return table[f"attribution_{name}"].combine_chunks().to_numpy_ndarray().astype(np.float64)


@dataclasses.dataclass(frozen=True)
class Built:
    """A model on disk: its part of the configuration, its inputs' columns, and its attribution settings."""

    model: dict[str, Any]
    features: Features
    attribution: dict[str, Any] = dataclasses.field(default_factory=dict)


def _column(values: Any) -> pa.Array:
    array = values if isinstance(values, np.ndarray) else np.asarray(values)
    if array.ndim > 1 and array.shape[1] > 1:
        return pa.array(list(values), pa.list_(pa.from_numpy_dtype(array.dtype)))
    return pa.array(values.ravel()) if isinstance(values, np.ndarray) else pa.array(values)


def _feature(value: Any) -> Any:
    import tensorflow as tf

    values: Sequence[Any] = value if isinstance(value, (np.ndarray, list)) else [value]
    if isinstance(values[0], (str, bytes)):
        stored = [one.encode() if isinstance(one, str) else one for one in values]
        return tf.train.Feature(bytes_list=tf.train.BytesList(value=stored))
    if isinstance(values[0], (int, np.integer)):
        return tf.train.Feature(int64_list=tf.train.Int64List(value=values))
    return tf.train.Feature(float_list=tf.train.FloatList(value=values))


# The closed forms' weights; small, and exact in float32.
LINEAR = np.array([0.5, -2.0, 0.25, 1.0], np.float32)
QUADRATIC = np.array([[2, 1, 0, 0], [1, 1, -1, 0], [0, -1, 0.5, 2], [0, 0, 2, -1]], np.float32)
X = {"x": "pixels"}


def linear(path: pathlib.Path) -> Built:
    """F(x) = LINEAR · x."""
    return _saved(path, lambda x: {"y": _tf().reduce_sum(x * LINEAR, axis=1)})


def quadratic(path: pathlib.Path) -> Built:
    """F(x) = xᵀ QUADRATIC x."""
    return _saved(path, lambda x: {"y": _tf().einsum("bi,ij,bj->b", x, QUADRATIC, x)})


def sigmoid(path: pathlib.Path) -> Built:
    """F(x) = σ(LINEAR · x)."""
    return _saved(path, lambda x: {"y": _tf().sigmoid(_tf().reduce_sum(x * LINEAR, axis=1))})


def sequence(path: pathlib.Path) -> Built:
    """y[t, c] = (c + 1) LINEAR_t x_t², [batch, 4, 3]: each position's output is its own input's."""

    def squared(x: Any) -> Any:
        return {"y": (x**2 * LINEAR)[..., None] * np.arange(1, CLASSES + 1, dtype=np.float32)}

    return dataclasses.replace(_saved(path, squared), attribution={"target": {"reduce": "sum", "of": "label"}})


def product(path: pathlib.Path) -> Built:
    """F(a, b) = a · b, of two inputs."""
    specs = {"a": (1, "float32"), "b": (1, "float32")}
    built = _saved(path, lambda a, b: {"y": a * b}, specs)
    return dataclasses.replace(built, features={"a": "age", "b": {"column": "weight", "shape": [1]}})


def keras_classifier(path: pathlib.Path) -> Built:
    """A .keras file: 4 inputs, a curved layer, 3 logits; explained at the label."""
    keras = _keras()
    x = keras.Input((VALUES,), name="x")
    hidden = keras.layers.Dense(3, activation="tanh")(x)
    return _kept(keras.Model(x, keras.layers.Dense(CLASSES)(hidden)), path.with_suffix(".keras"))


def keras_multi_input(path: pathlib.Path) -> Built:
    """Two inputs in a list, one of them a single number."""
    keras = _keras()
    x, age = keras.Input((VALUES,), name="x"), keras.Input((1,), name="age")
    joined = keras.layers.Concatenate()([x, age])
    logits = keras.layers.Dense(CLASSES)(keras.layers.Dense(3, activation="tanh")(joined))
    return _kept(keras.Model([x, age], logits), path.with_suffix(".keras"), {"x": "pixels", "age": "age"})


def keras_multi_output(path: pathlib.Path) -> Built:
    """Two outputs, of which the second is explained."""
    keras = _keras()
    x = keras.Input((VALUES,), name="x")
    heads = [keras.layers.Dense(1, name="first")(x), keras.layers.Dense(CLASSES, activation="tanh", name="second")(x)]
    built = _kept(keras.Model(x, heads), path.with_suffix(".keras"))
    return dataclasses.replace(built, model=built.model | {"output": 1})


def saved_model(path: pathlib.Path) -> Built:
    """A SavedModel with variables and a signature of another name."""
    tf = _tf()
    weights = tf.Variable(np.linspace(-1, 1, VALUES * CLASSES).reshape(VALUES, CLASSES).astype(np.float32))
    built = _saved(path, lambda x: {"logits": tf.tanh(x @ weights)}, signature="explain", held=weights)
    return dataclasses.replace(built, attribution={"target": "label"})


def int_input(path: pathlib.Path) -> Built:
    """Whole numbers that the model casts to float at once."""
    keras = _keras()
    x = keras.Input((VALUES,), name="x", dtype="int64")
    square = keras.ops.cast(x, "float32") ** 2
    built = _kept(keras.Model(x, keras.layers.Dense(1)(square)), path.with_suffix(".keras"), {"x": "counts"})
    return dataclasses.replace(built, attribution={})


def int_saved_model(path: pathlib.Path) -> Built:
    """The same as a SavedModel."""
    tf = _tf()
    built = _saved(path, lambda x: {"y": tf.reduce_sum(tf.cast(x, tf.float32) ** 2, axis=1)}, {"x": (VALUES, "int64")})
    return dataclasses.replace(built, features={"x": "counts"})


def fixed_batch(path: pathlib.Path) -> Built:
    """A model that takes batches of exactly 5."""
    return _saved(path, lambda x: {"y": _tf().reduce_sum(x * x * LINEAR, axis=1)}, batch=5)


def pixel_grid(path: pathlib.Path) -> Built:
    """Images of 1 x 2 pixels with 2 channels."""
    keras = _keras()
    x = keras.Input((1, 2, 2), name="x")
    logits = keras.layers.Dense(1)(keras.layers.Flatten()(keras.ops.sin(x)))
    return dataclasses.replace(_kept(keras.Model(x, logits), path.with_suffix(".keras")), attribution={})


def images(path: pathlib.Path) -> Built:
    """Images of 44 x 44 pixels with one channel, 3 logits; the smallest that have a second level in a pyramid."""
    keras = _keras()
    x = keras.Input((44, 44, 1), name="x")
    maps = keras.layers.Conv2D(2, 11, strides=11, activation="tanh")(x)
    logits = keras.layers.Dense(CLASSES)(keras.layers.Flatten()(maps))
    return _kept(keras.Model(x, logits), path.with_suffix(".keras"))


def float64(path: pathlib.Path) -> Built:
    """A model in double precision, fed from float32."""
    built = _saved(path, lambda x: {"y": _tf().reduce_sum(x**3, axis=1)}, {"x": (VALUES, "float64")})
    return dataclasses.replace(built, features={"x": {"column": "pixels", "dtype": "float32"}})


MODELS = {
    build.__name__: build
    for build in (
        keras_classifier,
        saved_model,
        keras_multi_input,
        keras_multi_output,
        int_input,
        int_saved_model,
        fixed_batch,
        float64,
    )
}


def _tf() -> Any:
    import tensorflow as tf

    return tf


def _keras() -> Any:
    import keras

    keras.utils.set_random_seed(7)
    return keras


def _kept(model: Any, path: pathlib.Path, features: Features = X) -> Built:
    model.save(path)
    return Built({"path": str(path)}, features, {"target": "label"})


def _saved(
    path: pathlib.Path,
    function: Any,
    inputs: Mapping[str, tuple[int, str]] | None = None,
    *,
    batch: int | None = None,
    signature: str = "serving_default",
    held: Any = None,
) -> Built:
    tf = _tf()
    inputs = inputs or {"x": (VALUES, "float32")}
    specs = [tf.TensorSpec((batch, size), dtype, name) for name, (size, dtype) in inputs.items()]
    module = tf.Module()
    module.held = held
    module.function = tf.function(function, input_signature=specs, autograph=False)
    tf.saved_model.save(module, str(path), {signature: module.function.get_concrete_function()})
    return Built({"path": str(path), "signature": signature}, X)
