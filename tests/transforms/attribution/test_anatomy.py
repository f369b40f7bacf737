"""A model's anatomy, held against the real loaded model."""

import pathlib
import shutil

import keras
import pytest
import tensorflow as tf
from anatomy_models import OwnFunction, TwoSignatures, exported, nested, saved, sequential, two_ends
from keras import layers
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

from transforms.attribution import anatomy
from transforms.attribution.anatomy_parts import LayerInfo, TensorInfo


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
    assert LayerInfo("inner/same", "Dense", (None, 5)) in anatomy.dissect(saved(nested(), tmp_path / "n.keras")).layers
    x = keras.Input((4,), name="x", dtype="float64")
    model = keras.Model({"x": x}, {"left": layers.Dense(2)(x), "right": layers.Dense(3)(x)})
    (signature,) = anatomy.dissect(saved(model, tmp_path / "d.keras")).signatures
    assert signature.inputs == (TensorInfo("x", (None, 4), "float64"),)
    assert [(t.name, t.shape) for t in signature.outputs] == [("left", (None, 2)), ("right", (None, 3))]


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
    assert anatomy.dissect(str(path)).layers == (LayerInfo("dense_7", "Dense", None),)
    metadata = saved_metadata_pb2.SavedMetadata()
    metadata.nodes.add(identifier="_tf_keras_layer", metadata=text.replace("7", "8"))
    (path / "keras_metadata.pb").write_bytes(metadata.SerializeToString())
    assert anatomy.dissect(str(path)).layers == (LayerInfo("dense_8", "Dense", None),)


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
