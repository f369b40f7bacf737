"""A model's anatomy, held against the real loaded model, and against damage and malice."""

import json
import pathlib
import random
import shutil
import zipfile

import keras
import pytest
import tensorflow as tf
from keras import layers
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

from transforms.attribution import anatomy, risks
from transforms.errors import AttribeamError, UsageError


@keras.saving.register_keras_serializable("test_anatomy")
class Custom(layers.Layer):
    def call(self, x):
        return x


class Writer(tf.Module):
    """Its signature writes a file, two calls deep."""

    def __init__(self, canary):
        super().__init__()
        self.canary = str(canary)

    @tf.function
    def inner(self, x):
        tf.io.write_file(self.canary, "written")
        return x

    @tf.function(input_signature=[tf.TensorSpec([None, 2], tf.float32, name="x")])
    def __call__(self, x):
        return tf.cond(tf.reduce_sum(x) > 0, lambda: self.inner(x), lambda: x)


class TwoSignatures(tf.Module):
    def __init__(self):
        super().__init__()
        self.w = tf.Variable(tf.ones([2, 3]))

    @tf.function(input_signature=[tf.TensorSpec([None, 2], tf.float32, name="x")])
    def product(self, x):
        return {"y": tf.matmul(x, self.w, name="product"), "n": tf.shape(x)[0]}

    @tf.function(input_signature=[tf.TensorSpec([4, None], tf.int64, name="k")])
    def twice(self, k):
        return {"z": k * 2}


class OwnFunction(tf.Module):
    """A module around any function of a [batch, 2] tensor."""

    def __init__(self, function):
        super().__init__()
        self.call = tf.function(function, input_signature=[tf.TensorSpec([None, 2], tf.float32, name="x")])


def two_ends():
    a, b = keras.Input((4,), name="a"), keras.Input((6, 6, 1), name="b")
    both = layers.Concatenate()([a, layers.Flatten()(layers.Conv2D(2, 3, name="conv")(b))])
    return keras.Model([a, b], [layers.Dense(3, name="probs")(both), layers.Dense(1, name="score")(both)])


def sequential():
    return keras.Sequential(
        [keras.Input((4,)), layers.Dense(3, activation="relu"), layers.Dropout(0.5), layers.Softmax()]
    )


def nested():
    inner = keras.Sequential([keras.Input((4,)), layers.Dense(5, name="same")], name="inner")
    x = keras.Input((4,), name="x")
    return keras.Model(x, keras.ops.relu(layers.Dense(2, name="same")(inner(x))))


def saved(model, path):
    model.save(path)
    return str(path)


def exported(module, path, **options):
    tf.saved_model.save(module, str(path), **options)
    return str(path)


def code_of(function, *arguments):
    with pytest.raises(UsageError) as caught:
        function(*arguments)
    assert len(str(caught.value)) <= 500
    return caught.value.code


@pytest.mark.parametrize("make", [two_ends, sequential, nested])
def test_keras_file_as_keras_loads_it(make, tmp_path):
    path = saved(make(), tmp_path / "m.keras")
    found, real = anatomy.dissect(path), keras.saving.load_model(path)
    (signature,) = found.signatures
    assert (found.kind, found.risks, found.versions) == ("keras", (), {"keras": keras.__version__})
    assert found.bytes == pathlib.Path(path).stat().st_size
    assert [(t.name, t.shape, t.dtype) for t in signature.inputs] == [(t.name, t.shape, t.dtype) for t in real.inputs]
    assert [(t.shape, t.dtype) for t in signature.outputs] == [(t.shape, t.dtype) for t in real.outputs]
    top = {layer.name: layer for layer in found.layers if "/" not in layer.name}
    # Keras leaves InputLayers out of Sequential.layers
    assert set(top) >= {layer.name for layer in real.layers}
    for layer in real.layers:
        assert (top[layer.name].kind, top[layer.name].output) == (type(layer).__name__, layer.output.shape)


def test_nested_models_and_dicts_of_ends(tmp_path):
    assert (
        anatomy.LayerInfo("inner/same", "Dense", (None, 5))
        in anatomy.dissect(saved(nested(), tmp_path / "n.keras")).layers
    )
    x = keras.Input((4,), name="x", dtype="float64")
    model = keras.Model({"x": x}, {"left": layers.Dense(2)(x), "right": layers.Dense(3)(x)})
    (signature,) = anatomy.dissect(saved(model, tmp_path / "d.keras")).signatures
    assert signature.inputs == (anatomy.TensorInfo("x", (None, 4), "float64"),)
    assert [(t.name, t.shape) for t in signature.outputs] == [("left", (None, 2)), ("right", (None, 3))]


def test_keras_code_is_flagged(tmp_path):
    bare = keras.Sequential([keras.Input((4,)), layers.Lambda(lambda x: x * 2), Custom()])
    flags = anatomy.dissect(saved(bare, tmp_path / "m.keras")).risks
    assert [flag.partition(":")[0] for flag in flags] == ["'Custom'", "Lambda", "__lambda__"]
    assert anatomy.dissect(str(tmp_path / "m.keras")).layers[-1].kind == "Custom"


@pytest.mark.parametrize(
    "harmful",
    [
        {"module": "builtins", "class_name": "function", "config": "exec", "registered_name": "function"},
        {"module": "keras.utils", "class_name": "get_file", "config": {}, "registered_name": None},
        {"module": "keras.src.saving.serialization_lib", "class_name": "enable_unsafe_deserialization", "config": {}},
        {"module": "keras.layers", "class_name": "TFSMLayer", "config": {"filepath": "/x"}, "registered_name": None},
        {"module": "keras.layers", "class_name": "StringLookup", "config": {"vocabulary": "/etc/passwd"}},
        {"module": "keras.layers", "class_name": "Dense", "config": {}, "registered_name": "mine>Dense"},
    ],
)
def test_harmful_keras_objects_are_found_anywhere(harmful):
    clean = {"module": "keras.layers", "class_name": "Dense", "config": {"activation": "relu"}, "registered_name": None}
    assert risks.keras_risks({"layers": [clean]}) == ()
    assert len(risks.keras_risks({"layers": [clean, {"deep": [[harmful]]}]})) == 1


def test_saved_model_with_two_signatures(tmp_path):
    module = TwoSignatures()
    path = exported(module, tmp_path / "m", signatures={"serving_default": module.product, "twice": module.twice})
    found, real = anatomy.dissect(path), tf.saved_model.load(path)
    assert (found.kind, found.risks, found.versions) == ("saved_model", (), {"tensorflow": tf.__version__})
    assert [signature.name for signature in found.signatures] == sorted(real.signatures)
    for signature in found.signatures:
        loaded = real.signatures[signature.name]
        expected = {
            name: (tuple(spec.shape), spec.dtype.name) for name, spec in loaded.structured_input_signature[1].items()
        }
        assert {tensor.name: (tensor.shape, tensor.dtype) for tensor in signature.inputs} == expected
        expected = {name: (tuple(spec.shape), spec.dtype.name) for name, spec in loaded.structured_outputs.items()}
        assert {tensor.name: (tensor.shape, tensor.dtype) for tensor in signature.outputs} == expected


def test_exported_keras_model_shows_the_flat_graphs_ops(tmp_path):
    two_ends().export(tmp_path / "m", verbose=False)
    found = anatomy.dissect(str(tmp_path / "m"))
    # the loaded object owns the variables: it must live as long as its signatures
    real = tf.saved_model.load(str(tmp_path / "m"))
    graph = convert_variables_to_constants_v2(real.signatures["serving_default"]).graph
    assert found.risks == ()
    assert {layer.kind for layer in found.layers} >= {"Conv2D", "MatMul", "ConcatV2"}
    for layer in found.layers:
        operation = graph.get_operation_by_name(layer.name)
        assert (operation.type, tuple(operation.outputs[0].shape)) == (layer.kind, layer.output)


def test_keras_2_metadata_names_the_layers(tmp_path):
    from tensorflow.core.protobuf import saved_model_pb2
    from tensorflow.python.keras.protobuf import saved_metadata_pb2

    path = pathlib.Path(exported(TwoSignatures(), tmp_path / "m"))
    text = '{"name": "dense_7", "class_name": "Dense", "config": {}}'
    model = saved_model_pb2.SavedModel.FromString((path / "saved_model.pb").read_bytes())
    model.meta_graphs[0].object_graph_def.nodes[0].user_object.identifier = "_tf_keras_layer"
    model.meta_graphs[0].object_graph_def.nodes[0].user_object.metadata = text
    (path / "saved_model.pb").write_bytes(model.SerializeToString())
    assert anatomy.dissect(str(path)).layers == (anatomy.LayerInfo("dense_7", "Dense", None),)
    metadata = saved_metadata_pb2.SavedMetadata()
    metadata.nodes.add(identifier="_tf_keras_layer", metadata=text.replace("7", "8"))
    (path / "keras_metadata.pb").write_bytes(metadata.SerializeToString())
    assert anatomy.dissect(str(path)).layers == (anatomy.LayerInfo("dense_8", "Dense", None),)


def test_a_signature_that_writes_a_file_is_flagged_and_does_not_write(tmp_path):
    canary = tmp_path / "canary"
    path = exported(Writer(canary), tmp_path / "m")
    assert any(flag.startswith("WriteFile: writes files") for flag in anatomy.dissect(path).risks)
    assert not canary.exists()
    # the canary is real: a call does write it
    tf.saved_model.load(path).signatures["serving_default"](x=tf.ones([1, 2]))
    assert canary.exists()


def save_as_a_checkpoint(x):
    tf.raw_ops.SaveV2(prefix="/x", tensor_names=["x"], shape_and_slices=[""], tensors=[x])
    return x


def wicked_gradient(x):
    @tf.custom_gradient
    def identity(value):
        def gradient(upstream):
            with tf.control_dependencies([tf.io.write_file("/x", "y")]):
                return tf.identity(upstream)

        return tf.identity(value), gradient

    return identity(x)


@pytest.mark.parametrize(
    ("function", "op"),
    [
        (lambda x: tf.ensure_shape(tf.py_function(lambda y: y, [x], tf.float32), [None, 2]), "EagerPyFunc"),
        (lambda x: tf.ensure_shape(tf.numpy_function(lambda y: y, [x], tf.float32), [None, 2]), "PyFunc"),
        (lambda x: x + tf.cast(tf.size(tf.io.matching_files("/*")), tf.float32), "MatchingFiles"),
        (lambda x: tf.strings.length(tf.io.read_file("/x")) + tf.cast(x, tf.int32), "ReadFile"),
        (save_as_a_checkpoint, "SaveV2"),
        (wicked_gradient, "WriteFile"),
    ],
)
def test_ops_that_reach_outside_are_flagged(function, op, tmp_path):
    options = tf.saved_model.SaveOptions(experimental_custom_gradients=True)
    path = exported(OwnFunction(function), tmp_path / "m", options=options)
    assert [flag.partition(":")[0] for flag in anatomy.dissect(path).risks] == [op]


def test_an_initialiser_that_reads_a_file_is_flagged(tmp_path):
    (tmp_path / "words").write_text("a\nb\n")
    whole, number = tf.lookup.TextFileIndex.WHOLE_LINE, tf.lookup.TextFileIndex.LINE_NUMBER
    source = tf.lookup.TextFileInitializer(str(tmp_path / "words"), tf.string, whole, tf.int64, number)
    module = OwnFunction(lambda x: x)
    module.table = tf.lookup.StaticHashTable(source, -1)
    (flag,) = anatomy.dissect(exported(module, tmp_path / "m")).risks
    assert flag.startswith("InitializeTableFromTextFileV2: reads files")


def test_an_op_of_a_native_library_is_flagged(tmp_path):
    path = pathlib.Path(exported(OwnFunction(lambda x: tf.nn.softsign(x)), tmp_path / "m"))
    file = path / "saved_model.pb"
    file.write_bytes(file.read_bytes().replace(b"Softsign", b"Evilsign"))
    assert any(flag.startswith("Evilsign: is no op") for flag in anatomy.dissect(str(path)).risks)


def test_digest_is_of_the_bytes_and_names_and_not_of_the_place(tmp_path):
    first = pathlib.Path(exported(OwnFunction(lambda x: x * 2), tmp_path / "m"))
    second = pathlib.Path(shutil.copytree(first, tmp_path / "elsewhere"))
    before = anatomy.digest(str(first))
    assert before == anatomy.digest(str(second)) == anatomy.dissect(str(second)).digest
    seen = {before}
    for file in sorted(file for file in second.rglob("*") if file.is_file()):
        content = bytearray(file.read_bytes())
        content[-1] ^= 1
        file.write_bytes(bytes(content))
        seen.add(anatomy.digest(str(second)))
    (second / "assets").rename(second / "renamed")
    (second / "renamed" / "new").write_text("")
    seen.add(anatomy.digest(str(second)))
    assert len(seen) == 2 + sum(file.is_file() for file in first.rglob("*"))


def test_digest_of_a_file(tmp_path):
    path = saved(sequential(), tmp_path / "m.keras")
    shutil.copy(path, tmp_path / "n.keras")
    assert anatomy.digest(path) == anatomy.digest(str(tmp_path / "n.keras"))
    with pathlib.Path(path).open("ab") as stream:
        stream.write(b"\0")
    assert anatomy.digest(path) != anatomy.digest(str(tmp_path / "n.keras"))


@pytest.mark.parametrize("function", [anatomy.dissect, anatomy.digest])
def test_what_is_no_model(function, tmp_path):
    assert code_of(function, str(tmp_path / "none")) == "E_MODEL_MISSING"
    assert code_of(function, "null\0byte") == "E_MODEL_MISSING"
    assert code_of(function, str(tmp_path)) == "E_MODEL_INVALID"
    (tmp_path / "text.keras").write_text("hello " * 300)
    assert code_of(function, str(tmp_path / "text.keras")) == "E_MODEL_INVALID"
    sequential().save(tmp_path / "old.h5")
    assert code_of(function, str(tmp_path / "old.h5")) == "E_MODEL_H5"


def zipped(path, config, metadata='{"keras_version": "3"}'):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("config.json", config)
        archive.writestr("metadata.json", metadata)
    return str(path)


@pytest.mark.parametrize(
    "config", ["", "[]", "null", "{}", '{"config": {"layers": [3]}}', "[" * 100_000, "9" * 5000, "\xff"]
)
def test_damaged_keras_configurations(config, tmp_path):
    assert code_of(anatomy.dissect, zipped(tmp_path / "m.keras", config)) == "E_MODEL_INVALID"


def test_a_zip_bomb_is_not_unpacked(tmp_path, monkeypatch):
    monkeypatch.setattr(anatomy, "MAX_CONFIG_BYTES", 1000)
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
