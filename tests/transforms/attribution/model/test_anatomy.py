"""A model's anatomy, held against the real loaded model."""

import pathlib
import shutil

import keras
import pytest
import tensorflow as tf
from anatomy_models import OwnFunction, TwoSignatures, exported, nested, saved, sequential, two_ends
from keras import layers
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

from transforms.attribution.config import ModelConfig
from transforms.attribution.model import anatomy
from transforms.attribution.model.anatomy_parts import LayerInfo, TensorInfo
from transforms.attribution.model.model import load_model


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
        LayerInfo("inner/same", "Dense", (None, 5), "affine")
        in anatomy.dissect(saved(nested(), tmp_path / "n.keras")).layers
    )
    x = keras.Input((4,), name="x", dtype="float64")
    model = keras.Model({"x": x}, {"left": layers.Dense(2)(x), "right": layers.Dense(3)(x)})
    (signature,) = anatomy.dissect(saved(model, tmp_path / "d.keras")).signatures
    assert signature.inputs == (TensorInfo("x", (None, 4), "float64"),)
    assert [(t.name, t.shape) for t in signature.outputs] == [("left", (None, 2)), ("right", (None, 3))]


def affine(model, tmp_path):
    """By layer, what its model's anatomy says; without the layers of which it says nothing."""
    found = anatomy.dissect(saved(model, tmp_path / "m.keras")).layers
    return {layer.name: layer.affine for layer in found if layer.affine}


def stack(*named):
    return keras.Sequential([keras.Input((4, 4, 2), name="x"), *named])


def test_the_affine_layers_of_a_sequence(tmp_path):
    model = stack(
        layers.Rescaling(0.5, name="scale"),
        layers.Conv2D(3, 2, name="conv"),
        layers.BatchNormalization(name="norm"),
        layers.Dropout(0.5, name="drop"),
        layers.Activation("linear", name="idle"),
        layers.GlobalAveragePooling2D(name="mean"),
        layers.Dense(3, activation="relu", name="bend"),
        layers.Dense(2, name="late"),
    )
    names = ("scale", "conv", "norm", "drop", "idle", "mean")
    assert affine(model, tmp_path) == dict.fromkeys(names, "affine") | {"bend": "affine, then relu"}


@pytest.mark.parametrize(
    "first",
    [
        layers.ReLU(),
        layers.Activation("tanh"),
        layers.MaxPooling2D(),
        layers.LayerNormalization(),
        layers.Conv2DTranspose(2, 2),
        layers.Dense(2, dtype="mixed_bfloat16"),
    ],
    ids=lambda layer: type(layer).__name__,
)
def test_nothing_is_affine_behind_a_layer_that_is_not(first, tmp_path):
    assert affine(stack(first, layers.Flatten(), layers.Dense(2)), tmp_path) == {}


def test_affine_in_one_input_and_no_more(tmp_path):
    a, b = keras.Input((4,), name="a"), keras.Input((4,), name="b")
    first, second = layers.Dense(3, name="first")(a), layers.Dense(3, name="second")(b)
    own = layers.Add(name="own")([first, layers.Dense(3, name="third")(first)])
    shared = layers.Dense(3, name="shared")
    both = layers.Concatenate(name="both")([own, second, shared(a), shared(b)])
    model = keras.Model([a, b], layers.Dense(2, name="end")(both))
    assert affine(model, tmp_path) == dict.fromkeys(("first", "second", "third", "own"), "affine")


def test_affine_through_nested_models(tmp_path):
    # `inner` is affine as a whole; what keras.ops adds is no layer of that kind
    assert affine(nested(), tmp_path) == {"inner": "affine", "inner/same": "affine", "same": "affine"}
    y = keras.Input((5,), name="y")
    head = keras.Model(y, layers.Dense(2, activation=keras.ops.tanh, name="bend")(layers.Dense(3, name="first")(y)))
    x = keras.Input((4,), name="x")
    model = keras.Model(x, layers.Dense(2, name="late")(head(layers.Dense(5, name="before")(x))))
    found = affine(model, tmp_path)
    assert found == {"before": "affine", f"{head.name}/first": "affine", f"{head.name}/bend": "affine, then tanh"}


def test_a_class_of_ones_own_is_not_taken_for_kerass(tmp_path):
    @keras.saving.register_keras_serializable("own")
    class Dense(layers.Dense):
        """Only its name is affine."""

    assert affine(stack(Dense(3), layers.Dense(2)), tmp_path) == {}


def test_the_stem_ends_at_an_affine_layer(tmp_path):
    """What is read from the file, against what is found in the graph."""
    model = stack(layers.Conv2D(2, 2, name="conv"), layers.Flatten(name="flat"), layers.Dense(3, "tanh", name="bend"))
    found = affine(model, tmp_path)
    loaded = load_model(ModelConfig(path=str(tmp_path / "m.keras")))
    assert found == {"conv": "affine", "flat": "affine", "bend": "affine, then tanh"}
    assert loaded.stem.heads[0].shape == (3,)


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
    assert not any(layer.affine for layer in found.layers)
    assert {layer.kind for layer in found.layers} >= {"Conv2D", "MatMul", "ConcatV2"}
    for layer in found.layers:
        operation = graph.get_operation_by_name(layer.name)
        assert (operation.type, tuple(operation.outputs[0].shape)) == (layer.kind, layer.output)


def tables(x):
    """Two embeddings: of a variable and of a constant; and a gather that is none, of what is computed from x."""
    ids, weights = tf.cast(x, tf.int32), tf.constant([[0.5, 1.0], [2.0, 3.0]])
    found = tf.nn.embedding_lookup(tables.variable, ids, name="looked_up") + tf.gather(weights, ids, name="constant")
    return tf.gather(tf.reduce_sum(found, axis=1), [1, 0], axis=1, name="swapped")


def test_the_embeddings_of_a_saved_model_are_marked(tmp_path):
    module = OwnFunction(tables)
    tables.variable = module.weights = tf.Variable([[1.0, 2.0], [3.0, 4.0]])
    layers_of = anatomy.dissect(exported(module, tmp_path / "m", signatures=module.call)).layers
    found = {layer.name.rsplit("/", 1)[-1]: layer for layer in layers_of}
    assert {name for name, layer in found.items() if layer.embedding} == {"looked_up", "constant"}
    assert found["looked_up"].output == found["constant"].output == (None, 2, 2)
    assert not found["swapped"].embedding


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
