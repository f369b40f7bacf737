"""What a model could do besides arithmetic is flagged, and is not done."""

import pathlib

import keras
import pytest
import tensorflow as tf
from anatomy_models import OwnFunction, Writer, exported, saved
from keras import layers

from transforms.attribution.model import anatomy, keras_risks


@keras.saving.register_keras_serializable("test_risks")
class Custom(layers.Layer):
    def call(self, x):
        return x


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
    assert keras_risks.keras_risks({"layers": [clean]}) == ()
    assert len(keras_risks.keras_risks({"layers": [clean, {"deep": [[harmful]]}]})) == 1


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


def test_an_op_of_a_native_library_is_flagged(tmp_path):
    path = pathlib.Path(exported(OwnFunction(lambda x: tf.nn.softsign(x)), tmp_path / "m"))
    file = path / "saved_model.pb"
    file.write_bytes(file.read_bytes().replace(b"Softsign", b"Evilsign"))
    assert any(flag.startswith("Evilsign: is no op") for flag in anatomy.dissect(str(path)).risks)
