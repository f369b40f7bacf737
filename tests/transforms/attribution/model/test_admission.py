"""A model that could do more than arithmetic is not loaded: one for every hole that is known, and 0 canaries fire."""

from __future__ import annotations

import pathlib
import shutil
from typing import Any

import hostile_keras_files
import hostile_saved_models
import keras
import pytest
import tensorflow as tf
from hostile_keras_files import KERAS_FILES, plain_keras
from hostile_saved_models import LIVE, ONES, SAVED_MODELS, Make, exported, with_a_table
from keras import layers

from transforms.attribution.config import AttributionConfig, ModelConfig
from transforms.attribution.explainer import Explainer
from transforms.attribution.model import admission, anatomy, keras_archive
from transforms.attribution.model.model import load_model
from transforms.errors import UsageError

REFUSED = {"E_MODEL_RISKY", "E_MODEL_H5", "E_MODEL_INVALID"}
HOLES = [(hole, make) for made in (SAVED_MODELS, KERAS_FILES) for hole, make in made.items()]


def refusal(path: str, **config: Any) -> UsageError:
    with pytest.raises(UsageError) as caught:
        load_model(ModelConfig(path=path, **config))
    assert len(str(caught.value)) <= 500
    assert path in str(caught.value), "the message names the model, and not the copy of it"
    return caught.value


@pytest.mark.parametrize(("hole", "make"), HOLES, ids=[hole for hole, _ in HOLES])
def test_no_known_hole_is_open(hole: str, make: Make, tmp_path: pathlib.Path) -> None:
    canary = tmp_path / "canary"
    path = make(tmp_path / "model", canary)
    canary.unlink(missing_ok=True)
    if anatomy.kind_of(path) != "hdf5" and "weights" not in hole:
        assert anatomy.dissect(path).risks, "inspect tells what is refused"
    assert refusal(path).code in REFUSED
    assert not list(tmp_path.glob("canary*"))


@pytest.mark.parametrize("hole", LIVE)
def test_the_canaries_are_alive(hole: str, tmp_path: pathlib.Path) -> None:
    """A guard that refuses what is harmless anyway would show nothing."""
    path = LIVE[hole](tmp_path / "model", tmp_path / "canary")
    for canary in tmp_path.glob("canary*"):
        shutil.rmtree(canary) if canary.is_dir() else canary.unlink()
    x = tf.constant(ONES)
    with tf.GradientTape() as tape:
        tape.watch(x)
        loaded = tf.saved_model.load(path)
        (output,) = loaded.signatures["serving_default"](x=x).values()
    tape.gradient(output, x)
    del loaded
    assert list(tmp_path.glob("canary*"))


def test_a_trusted_model_is_loaded_all_the_same(tmp_path: pathlib.Path) -> None:
    canary = tmp_path / "canary"
    path = hostile_saved_models.writes(tmp_path / "model", canary)
    explainer = Explainer.load(ModelConfig(path=path, trust=True), AttributionConfig(target=0, steps=2))
    explainer.explain({"x": ONES})
    assert canary.exists()


@pytest.mark.parametrize("make", [hostile_keras_files.lambda_layer, hostile_keras_files.lambda_in_hdf5])
def test_a_trusted_lambda_runs_in_keras_files_of_both_kinds(make: Make, tmp_path: pathlib.Path) -> None:
    canary = tmp_path / "canary"
    path = make(tmp_path / "model", canary)
    canary.unlink(missing_ok=True)
    load_model(ModelConfig(path=path, trust=True))
    assert canary.exists()


def test_a_zip_that_is_named_like_hdf5_is_loaded_as_what_was_looked_at(tmp_path: pathlib.Path) -> None:
    """Keras goes by the name, and HDF5's readers look further down in a file than at its beginning."""
    canary = tmp_path / "canary"
    path = hostile_keras_files.hdf5_behind_a_zip(tmp_path / "model", canary)
    canary.unlink(missing_ok=True)
    load_model(ModelConfig(path=path))
    assert not canary.exists()
    keras.saving.load_model(path, compile=False, safe_mode=False)(ONES)
    assert canary.exists()


def test_a_digest_that_is_not_the_one_that_was_asked_for(tmp_path: pathlib.Path) -> None:
    path = exported(tmp_path / "m", lambda x: x * 2)
    digest = anatomy.digest(path)
    assert load_model(ModelConfig(path=path, sha256=digest)).digest == digest
    for trust in (False, True):
        error = refusal(path, sha256="0" * 64, trust=trust)
        assert error.code == "E_MODEL_DIGEST"
        assert digest in error.message
    with (tmp_path / "m" / "fingerprint.pb").open("ab") as file:
        file.write(b"\0")
    assert refusal(path, sha256=digest).code == "E_MODEL_DIGEST"


@pytest.mark.parametrize("written", ["0" * 63, "G" * 64, "0" * 65, 0])
def test_what_is_no_digest(written: Any) -> None:
    with pytest.raises(ValueError, match="sha256"):
        ModelConfig(path="m", sha256=written)


def test_what_is_checked_is_what_is_loaded(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Replaced as soon as it was looked at: the copy that was looked at is loaded."""
    canary = tmp_path / "canary"
    evil = hostile_saved_models.writes_when_loaded(tmp_path / "evil", canary)
    path = exported(tmp_path / "m", lambda x: x * 2)
    digest, check = anatomy.digest(path), admission._check_risks
    canary.unlink(missing_ok=True)

    def replaced(*arguments: Any) -> None:
        check(*arguments)
        shutil.copytree(evil, path, dirs_exist_ok=True)

    monkeypatch.setattr(admission, "_check_risks", replaced)
    assert load_model(ModelConfig(path=path)).digest == digest
    assert anatomy.digest(path) != digest
    assert not canary.exists()


def test_nothing_is_left_of_the_copy(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr(admission.tempfile, "tempdir", str(temporary))
    load_model(ModelConfig(path=plain_keras(tmp_path / "m.keras")))
    refusal(hostile_keras_files.lambda_layer(tmp_path / "evil", tmp_path / "canary"))
    assert not list(temporary.iterdir())


def test_a_link_to_a_folder_is_refused(tmp_path: pathlib.Path) -> None:
    """Its files would be loaded without being in the digest."""
    path = pathlib.Path(exported(tmp_path / "m", lambda x: x * 2))
    (path / "variables").rename(tmp_path / "elsewhere")
    (path / "variables").symlink_to(tmp_path / "elsewhere")
    assert refusal(str(path)).code == "E_MODEL_INVALID"


def held(x: Any) -> Any:
    held.module.count.assign_add(1.0)
    noise = tf.random.normal(tf.shape(x)) * 0
    with tf.control_dependencies([tf.debugging.assert_all_finite(x, "finite")]):
        return tf.map_fn(lambda row: row * held.module.count, x + noise)


def harmless_state(folder: pathlib.Path) -> str:
    held.module = tf.Module()
    held.module.count = tf.Variable(1.0)
    return exported(folder, held, held.module)


def table_of_the_model(folder: pathlib.Path) -> str:
    table = tf.lookup.StaticHashTable(tf.lookup.KeyValueTensorInitializer([1], [2.0]), -1.0)
    return exported(folder, lambda x: x * table.lookup(tf.constant([1])), table)


def recurrent(folder: pathlib.Path) -> str:
    model = keras.Sequential([keras.Input((3, 2)), layers.LSTM(2), layers.Dropout(0.5), layers.Dense(2)])
    model.export(folder, verbose=False)
    return str(folder)


def of_every_kind_of_layer(folder: pathlib.Path) -> str:
    entry = keras.Input((8, 8, 3), name="image")
    normalisation = layers.Normalization(mean=[0.1, 0.2, 0.3], variance=[1.0, 2.0, 3.0])
    value = layers.BatchNormalization()(layers.Conv2D(4, 3, activation="relu")(normalisation(entry)))
    value = layers.Dense(3, activation=keras.ops.tanh, kernel_regularizer="l2")(layers.GlobalMaxPooling2D()(value))
    path = folder.with_suffix(".keras")
    keras.Model(entry, layers.Rescaling(2.0)(value)).save(path)
    return str(path)


def with_words(folder: pathlib.Path) -> str:
    """Its vocabulary is an asset of the archive."""
    entry = keras.Input((2,), dtype="int64", name="ids")
    value = layers.Embedding(5, 3)(layers.IntegerLookup(vocabulary=[3, 5, 7])(entry))
    path = folder.with_suffix(".keras")
    keras.Model(entry, layers.Dense(2)(layers.Flatten()(value))).save(path)
    return str(path)


@pytest.mark.parametrize(
    "make", [harmless_state, table_of_the_model, with_a_table, recurrent, of_every_kind_of_layer, with_words]
)
def test_what_only_computes_is_admitted(make: Any, tmp_path: pathlib.Path) -> None:
    path = make(tmp_path / "m")
    assert anatomy.dissect(path).risks == ()
    with admission.admitted(ModelConfig(path=path)) as (copy, digest):
        assert (anatomy.digest(copy), copy == path) == (digest, False)


def test_a_member_that_is_packed_is_looked_at_too(tmp_path: pathlib.Path) -> None:
    """HDF5's reader is given the whole of it, and finds the same."""
    path = tmp_path / "m.keras"
    plain_keras(path)
    assert keras_archive.weight_risks(path) == ()
