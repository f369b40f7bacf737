"""A damaged or made-up model is refused with a code, never with another exception."""

import json
import os
import pathlib
import random
import zipfile

import pytest
from anatomy_models import (
    TwoSignatures,
    Writer,
    code_of,
    exported,
    nested,
    saved,
    sequential,
    two_ends,
    zipped,
)
from tensorflow.core.protobuf import saved_model_pb2

from transforms.attribution.model import anatomy, keras_anatomy
from transforms.errors import AttribeamError, UsageError


@pytest.mark.parametrize("function", [anatomy.dissect, anatomy.digest])
def test_what_is_no_model(function, tmp_path):
    assert code_of(function, str(tmp_path / "none")) == "E_MODEL_MISSING"
    assert code_of(function, "null\0byte") == "E_MODEL_MISSING"
    assert code_of(function, str(tmp_path)) == "E_MODEL_INVALID"
    (tmp_path / "text.keras").write_text("hello " * 300)
    assert code_of(function, str(tmp_path / "text.keras")) == "E_MODEL_INVALID"
    os.mkfifo(tmp_path / "pipe.keras")
    assert code_of(function, str(tmp_path / "pipe.keras")) == "E_MODEL_INVALID"


def test_hdf5_is_not_looked_into(tmp_path):
    sequential().save(tmp_path / "old.h5")
    assert code_of(anatomy.dissect, str(tmp_path / "old.h5")) == "E_MODEL_H5"


@pytest.mark.parametrize(
    "config", ["", "[]", "null", "{}", '{"config": {"layers": [3]}}', "[" * 100_000, "9" * 5000, "\xff"]
)
def test_damaged_keras_configurations(config, tmp_path):
    assert code_of(anatomy.dissect, zipped(tmp_path / "m.keras", config)) == "E_MODEL_INVALID"


def test_a_zip_bomb_is_not_unpacked(tmp_path, monkeypatch):
    monkeypatch.setattr(keras_anatomy, "MAX_CONFIG_BYTES", 1000)
    path = zipped(tmp_path / "m.keras", " " * 100_000)
    with pytest.raises(UsageError, match=r"more than 1000 bytes") as caught:
        anatomy.dissect(path)
    assert caught.value.code == "E_MODEL_INVALID"


def test_damaged_saved_models(tmp_path):
    for content in (b"", b"hello", b"\x08\x01"):
        (tmp_path / "saved_model.pb").write_bytes(content)
        assert code_of(anatomy.dissect, str(tmp_path)) == "E_MODEL_INVALID"


def mutated(content, seed):
    """1 to 8 bytes changed, and sometimes a piece cut out."""
    rng, damaged = random.Random(seed), bytearray(content)
    for _ in range(rng.randint(1, 8)):
        damaged[rng.randrange(len(damaged))] = rng.randrange(256)
    if rng.random() < 0.3:
        start = rng.randrange(len(damaged))
        del damaged[start : start + rng.randint(1, 64)]
    return bytes(damaged)


def outcome(path):
    """The code of the error, or `read`: any other exception fails the test."""
    try:
        anatomy.dissect(str(path))
    except AttribeamError as error:
        assert len(str(error)) <= 500
        return error.code
    return "read"


def test_mutations_of_a_saved_model(tmp_path):
    path = pathlib.Path(exported(Writer(tmp_path / "canary"), tmp_path / "m"))
    content, outcomes = (path / "saved_model.pb").read_bytes(), []
    for seed in range(200):
        (path / "saved_model.pb").write_bytes(mutated(content, seed))
        outcomes.append(outcome(path))
    assert set(outcomes) == {"read", "E_MODEL_INVALID"}
    assert not (tmp_path / "canary").exists()


@pytest.mark.parametrize("packed", [True, False])
def test_mutations_of_a_keras_file(packed, tmp_path):
    path = pathlib.Path(saved(nested(), tmp_path / "m.keras"))
    with zipfile.ZipFile(path) as archive:
        config = archive.read("config.json")
    content, outcomes = path.read_bytes(), []
    for seed in range(200):
        if packed:
            path.write_bytes(mutated(content, seed))
        else:
            zipped(path, mutated(config, seed))
        outcomes.append(outcome(path))
    assert set(outcomes) == {"read", "E_MODEL_INVALID"}


def mutated_value(value, rng):
    """The same JSON with one value somewhere replaced by another kind."""
    if isinstance(value, (dict, list)) and value and rng.random() < 0.9:
        key = rng.choice(list(value)) if isinstance(value, dict) else rng.randrange(len(value))
        value[key] = mutated_value(value[key], rng)
        return value
    return rng.choice([None, 3, "x", [], {}, [[]], {"x": 1}, True, 1e300])


def test_well_formed_nonsense_in_a_keras_configuration(tmp_path):
    with zipfile.ZipFile(saved(two_ends(), tmp_path / "m.keras")) as archive:
        config = archive.read("config.json")
    outcomes = []
    for seed in range(300):
        broken = mutated_value(json.loads(config), random.Random(seed))
        outcomes.append(outcome(zipped(tmp_path / "m.keras", json.dumps(broken))))
    assert set(outcomes) == {"read", "E_MODEL_INVALID"}


def test_an_op_that_looks_up_nothing(tmp_path):
    """Found by fuzzing: `GatherV2` without inputs."""
    module = TwoSignatures()
    path = pathlib.Path(exported(module, tmp_path / "m", signatures={"product": module.product}))
    model = saved_model_pb2.SavedModel.FromString((path / "saved_model.pb").read_bytes())
    for function in model.meta_graphs[0].graph_def.library.function:
        for node in function.node_def:
            if node.op == "MatMul":
                node.op = "GatherV2"
                node.attr["Tparams"].type = node.attr["T"].type
                del node.input[:]
    (path / "saved_model.pb").write_bytes(model.SerializeToString())
    (layer,) = [layer for layer in anatomy.dissect(str(path)).layers if layer.kind == "GatherV2"]
    assert not layer.embedding


def test_a_history_of_the_wrong_length(tmp_path):
    with zipfile.ZipFile(saved(two_ends(), tmp_path / "m.keras")) as archive:
        config = archive.read("config.json").replace(b'"keras_history": ["a", 0, 0]', b'"keras_history": ["a", 0]')
    assert code_of(anatomy.dissect, zipped(tmp_path / "m.keras", config)) == "E_MODEL_INVALID"


@pytest.mark.parametrize("kind", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_compression_that_keras_does_not_write_is_not_unpacked(tmp_path, kind):
    """It would be unpacked without a limit, whatever its size."""
    with zipfile.ZipFile(tmp_path / "m.keras", "w", kind) as archive:
        archive.writestr("config.json", b" " * 2**20)
        archive.writestr("metadata.json", "{}")
    assert code_of(anatomy.dissect, str(tmp_path / "m.keras")) == "E_MODEL_INVALID"
