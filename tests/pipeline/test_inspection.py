"""What `attribeam inspect` prints: everything that matters, nothing that a stranger could use against the terminal."""

import io
import subprocess
import sys

import keras
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tensorflow as tf
from keras import layers
from rich.console import Console

from pipeline.facts import hoisted
from pipeline.inspection import MAX_FILES, MAX_LINES, inspect_path, shown
from transforms.attribution.config import ModelConfig
from transforms.attribution.model import anatomy
from transforms.attribution.model.model import load_model
from transforms.errors import UsageError

HOSTILE = "[red]x[/red]\x1b[31m\n\u202eevil"


def printed(path, **options):
    """As it comes out of a pipe, 80 columns wide, unless the options say otherwise."""
    stream = io.StringIO()
    inspect_path(str(path), Console(file=stream, **({"width": 80} | options)))
    return stream.getvalue()


def line_of(text, start):
    return next(line for line in text.splitlines() if line.split()[:1] == [start]).split()


def model(name="x", hidden="hidden"):
    x = keras.Input((28, 28, 1), name=name)
    return keras.Model(x, layers.Dense(3, name="scores")(layers.Dense(4, name=hidden)(layers.Flatten()(x))))


def write_parquet(path, rows=5, **columns):
    pixels = pa.array([[0.1 * row] * 784 for row in range(rows)], pa.list_(pa.float32()))
    pq.write_table(pa.table({"pixels": pixels, "label": list(range(40, 40 + rows)), **columns}), path)


def write_tfrecord(path, rows=5):
    with tf.io.TFRecordWriter(str(path)) as writer:
        for row in range(rows):
            features = {
                "image": tf.train.Feature(bytes_list=tf.train.BytesList(value=[b"\x89PNG" + bytes(10_000)])),
                "label": tf.train.Feature(int64_list=tf.train.Int64List(value=[40 + row])),
            }
            writer.write(tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString())


def test_a_keras_file(tmp_path):
    path = tmp_path / "m.keras"
    model().save(path)
    text = printed(path)
    digest = anatomy.digest(str(path))
    assert line_of(text, "digest")[1] == digest[:12]
    assert line_of(text, "sha256") == ["sha256", digest]
    assert line_of(text, "size") == ["size", f"{path.stat().st_size:,}", "bytes"]
    assert f"keras {keras.__version__}" in text
    assert "serving_default  input   x       [?, 28, 28, 1]  float32" in text
    assert line_of(text, "output") == ["output", "scores", "[?,", "3]", "float32"]
    assert line_of(text, "hidden") == ["hidden", "Dense", "[?,", "4]", "affine"]
    assert text.count("affine") == 5  # the header, three layers, and below the table what it means
    assert "attribution.hoist" in text and "attribeam plan" in text
    assert text.endswith("no risky operations found\n")


def test_a_saved_model(tmp_path):
    model().export(tmp_path / "m", verbose=False)
    text = printed(tmp_path / "m")
    assert "TensorFlow SavedModel" in text
    assert f"tensorflow {tf.__version__}" in text
    assert "MatMul" in text
    assert "affine" not in text
    assert "[?, 28, 28, 1]" in text


def test_a_lambda_is_shown_as_a_risk_in_red(tmp_path):
    keras.Sequential([keras.Input((4,)), layers.Lambda(lambda x: x * 2)]).save(tmp_path / "m.keras")
    text = printed(tmp_path / "m.keras")
    assert "risky operations (2)" in text
    assert "  Lambda: runs a Python function\n" in text
    assert "\x1b[31m  Lambda: runs" in printed(tmp_path / "m.keras", force_terminal=True, color_system="standard")


def test_where_a_model_is_not_affine_there_is_no_such_column(tmp_path):
    keras.Sequential([keras.Input((4,)), layers.ReLU(), layers.Dense(2)]).save(tmp_path / "m.keras")
    assert "affine" not in printed(tmp_path / "m.keras")
    keras.Sequential([keras.Input((4,)), layers.Dense(2, "relu")]).save(tmp_path / "m.keras")
    assert "affine, then relu\n" in printed(tmp_path / "m.keras")


def test_what_a_pilot_says_of_it(tmp_path):
    model().save(tmp_path / "m.keras")
    config = ModelConfig(path=str(tmp_path / "m.keras"))
    found = load_model(config)
    assert hoisted(found) == f"x: computed from {found.stem.tensors['x']} [3] instead of [28, 28, 1]"
    assert hoisted(load_model(config, hoist=False)) == "nothing"


@pytest.mark.parametrize("kind", ["keras", "saved_model"])
def test_embeddings_are_marked(tmp_path, kind):
    ids = keras.Input((5,), dtype="int32", name="ids")
    path = tmp_path / "m.keras"
    network = keras.Model(ids, layers.Dense(2)(layers.Flatten()(layers.Embedding(9, 3, name="vectors")(ids))))
    network.save(path)
    if kind == "saved_model":
        path = tmp_path / "m"
        network.export(path, verbose=False)
    text = printed(path, width=200)
    (line,) = (line for line in text.splitlines() if "[?, 5, 3]" in line)
    assert line.split()[1:3] == (["Embedding", "[?,"] if kind == "keras" else ["GatherV2", "(embedding)"])
    assert text.count("model.layer: NAME") == 1


def test_layers_are_capped(tmp_path, monkeypatch):
    monkeypatch.setattr("pipeline.inspection.MAX_LINES", 3)
    stack = [layers.Dense(1, name=f"d{index}") for index in range(MAX_LINES + 7)]
    keras.Sequential([keras.Input((1,)), *stack]).save(tmp_path / "m.keras")
    text = printed(tmp_path / "m.keras")
    assert f"layers ({MAX_LINES + 8})" in text
    assert "… and 8 more" in text
    assert f"d{MAX_LINES - 2} " in text
    assert f"d{MAX_LINES - 1} " not in text


def test_a_parquet_directory(tmp_path):
    for index in range(MAX_FILES + 2):
        write_parquet(tmp_path / f"part-{index:02}.parquet", rows=5 + index)
    text = printed(tmp_path)
    assert line_of(text, "files") == ["files", str(MAX_FILES + 2)]
    assert line_of(text, "rows") == ["rows", str(sum(5 + index for index in range(MAX_FILES + 2)))]
    assert line_of(text, "part-03.parquet") == ["part-03.parquet", "8"]
    assert "… and 2 more" in text
    assert line_of(text, "label") == ["label", "int64", "40", "·", "41", "·", "42"]
    assert "[0.1, 0.1, 0.1, 0.1, … 784 values]" in text
    assert "43" not in text.replace(str(tmp_path), "")  # which may have any number in it


@pytest.mark.parametrize("pattern", ["d.tfrecord", "*.tfrecord"])
def test_tfrecord(tmp_path, pattern):
    write_tfrecord(tmp_path / "d.tfrecord")
    text = printed(tmp_path / pattern)
    assert "TFRecord dataset" in text
    assert line_of(text, "rows") == ["rows", "5"]
    assert line_of(text, "label") == ["label", "int64_list[1]", "40", "·", "41", "·", "42"]
    assert text.count(r"b'\x89PNG") == text.count("… (10,004 bytes)") == 3
    # payloads of 10,000 bytes were not poured out
    assert len(text) < 2000


def test_kinds_of_values(tmp_path):
    offsets = pa.array(range(0, 24, 4), pa.int32()).buffers()[1]
    columns = {
        "gone": pa.array([None] * 5, pa.int32()),
        "bad": pa.StringArray.from_buffers(5, offsets, pa.py_buffer(b"\xff" * 20)),
        "text": pa.array(["a" * 100_000] * 5),
        "struct": pa.array([{"a": [1]}] * 5),
        "tensor": pa.ExtensionArray.from_storage(
            pa.fixed_shape_tensor(pa.int8(), [2]), pa.array([[7, 8]] * 5, pa.list_(pa.int8(), 2))
        ),
        "kind": pa.array(["cat"] * 5).dictionary_encode(),
    }
    write_parquet(tmp_path / "d.parquet", **columns)
    text = printed(tmp_path / "d.parquet", width=200)
    assert "null · null · null" in text
    assert "unreadable string" in text
    assert "[7, 8] · [7, 8] · [7, 8]" in text
    assert "'cat' · 'cat' · 'cat'" in text
    assert "{'a': [1]}" in text
    assert "a" * 40 not in text


def test_damage_is_named_and_the_rest_is_shown(tmp_path):
    write_parquet(tmp_path / "b.parquet")
    (tmp_path / "a.parquet").write_bytes(b"PAR1 and no more")
    text = printed(tmp_path)
    assert line_of(text, "files") == ["files", "2,", "1", "of", "them", "damaged"]
    assert "E_PARQUET_INVALID" in text
    assert line_of(text, "label")[2] == "40"
    (tmp_path / "b.parquet").unlink()
    with pytest.raises(UsageError, match="E_PARQUET_INVALID"):
        printed(tmp_path)


def test_a_damaged_record_is_named(tmp_path):
    write_tfrecord(tmp_path / "d.tfrecord")
    content = bytearray((tmp_path / "d.tfrecord").read_bytes())
    content[len(content) // 5 + 100] ^= 1
    (tmp_path / "d.tfrecord").write_bytes(bytes(content))
    assert "row 1 cannot be read: E_RECORD_CRC" in printed(tmp_path / "d.tfrecord")


def test_files_without_rows(tmp_path):
    write_parquet(tmp_path / "d.parquet", rows=0)
    assert line_of(printed(tmp_path), "label") == ["label", "null"]


def harmless(text):
    letters = set(text) - {"\n"}
    assert all(letter.isprintable() for letter in letters)
    assert r"[red]x[/red]\x1b[31m\n\u202eevil" in text


def test_hostile_names_in_data(tmp_path):
    write_parquet(tmp_path / "d.parquet", **{HOSTILE: [HOSTILE] * 5})
    text = printed(tmp_path / "d.parquet", width=200)
    harmless(text)
    # the column's name, and cut at 32 bytes three times its value
    assert text.count("[red]x[/red]") == 4


def test_hostile_names_in_a_model(tmp_path):
    name = HOSTILE.replace("/", "|")
    model(name, f"{name}2").save(tmp_path / "m.keras")
    text = printed(tmp_path / "m.keras", width=200)
    harmless(text.replace("[|red]", "[/red]"))
    assert text.count("[red]x") == 3


def test_hostile_names_of_files(tmp_path):
    write_parquet(tmp_path / f"{HOSTILE.replace('/', '|')}.parquet")
    harmless(printed(tmp_path, width=200).replace("[|red]", "[/red]"))


def test_names_are_cut():
    assert shown("a" * 1000) == "a" * 200 + "…"
    assert shown("größe \udcff") == "größe \\udcff"


def test_eighty_columns_are_enough_and_pipes_get_no_colour(tmp_path):
    model("a_rather_long_name_for_an_input_" * 3, "b" * 150).save(tmp_path / "m.keras")
    write_parquet(tmp_path / "d.parquet", **{"a_rather_long_column_" * 4: ["z" * 100] * 5})
    for name in ("m.keras", "d.parquet"):
        text = printed(tmp_path / name)
        assert "\x1b" not in text
        # the path in the first line is never broken
        assert max(map(len, text.splitlines()[1:])) <= 80


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("none", "E_INPUT_NOT_FOUND"),
        ("none-*.parquet", "E_INPUT_NOT_FOUND"),
        ("n" * 5000, "E_INPUT_NOT_FOUND"),
        ("none.keras", "E_MODEL_MISSING"),
    ],
)
def test_what_is_missing(name, code, tmp_path):
    with pytest.raises(UsageError) as caught:
        printed(tmp_path / name)
    assert caught.value.code == code


def test_the_module_does_not_import_tensorflow_or_beam():
    check = "import sys, pipeline.inspection; sys.exit('tensorflow' in sys.modules or 'apache_beam' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", check], check=False).returncode == 0
