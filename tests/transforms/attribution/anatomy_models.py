"""Models to dissect, and how they get onto the disk."""

import zipfile

import keras
import pytest
import tensorflow as tf
from keras import layers

from transforms.errors import UsageError


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


def zipped(path, config, metadata='{"keras_version": "3"}'):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("config.json", config)
        archive.writestr("metadata.json", metadata)
    return str(path)
