"""Tiny models with a layer to explain, and the rest of each as a model of its own: what plain attribution explains."""

import keras
import numpy as np
import tensorflow as tf
from keras import layers
from models import saved_keras

TOKENS, VOCABULARY, WIDTH = 5, 9, 3
# padded with 0; the last row has no padding
IDS = np.array([[3, 1, 0, 0, 0], [8, 8, 2, 5, 0], [4, 0, 0, 0, 0], [7, 6, 5, 4, 3]])


def text_model(mask):
    """ids → embedding → tanh, a mean over the tokens (those that `mask` leaves) → 2 classes; and what comes next."""
    keras.utils.set_random_seed(3)
    ids = keras.Input((TOKENS,), dtype="int32", name="ids")
    embedding = layers.Embedding(VOCABULARY, WIDTH, "glorot_normal", mask_zero=mask, name="embedding")
    curved = layers.Dense(4, activation="tanh", bias_initializer="ones", name="curved")
    mean, classes = layers.GlobalAveragePooling1D(name="mean"), layers.Dense(2, name="classes")
    values = keras.Input((None, WIDTH), name="embedding")
    rest = keras.Model(values, classes(mean(curved(values))))
    return keras.Model(ids, classes(mean(curved(embedding(ids))))), rest


def nested_text_model():
    """The same without a mask, whose embedding and rest stand in models of their own."""
    model, rest = text_model(mask=False)
    ids, values = keras.Input((TOKENS,), dtype="int32", name="ids"), keras.Input((TOKENS, WIDTH), name="values")
    reader = keras.Sequential([keras.Input((TOKENS,), dtype="int32"), model.get_layer("embedding")], name="reader")
    judge = keras.Model(values, rest(values), name="judge")
    return keras.Model(ids, judge(reader(ids)))


def squared():
    """F = (Σ w ⊙ e)² of the embedding e: closed form A = (e − e′) ⊙ w · (s + s′), s = Σ w ⊙ e; and its weights."""
    keras.utils.set_random_seed(5)
    ids = keras.Input((TOKENS,), dtype="int64", name="ids")
    embedding, weighted = (
        layers.Embedding(VOCABULARY, WIDTH, "glorot_normal", name="embedding"),
        layers.Dense(1, use_bias=False),
    )
    model = keras.Model(ids, weighted(layers.Flatten()(embedding(ids))) ** 2)
    return model, embedding.get_weights()[0], weighted.get_weights()[0].reshape(TOKENS, WIDTH)


def bypass():
    """x [3] → h = tanh(Wx), and F = a · h + b · x: x leads past h too; W, a and b."""
    random = np.random.default_rng(2)
    w, a, b = (random.normal(size=size).astype(np.float32) for size in ((3, 3), (3, 1), (3, 1)))
    x = keras.Input((3,), name="x")
    hidden = layers.Dense(3, activation="tanh", use_bias=False, name="hidden")
    through, past = layers.Dense(1, use_bias=False), layers.Dense(1, use_bias=False)
    model = keras.Model(x, layers.Add()([through(hidden(x)), past(x)]))
    for layer, weights in ((hidden, w), (through, a), (past, b)):
        layer.set_weights([weights])
    return model, w, a[:, 0], b[:, 0]


def mixed():
    """ids [5] and age [2] → 1 class: the embedding is read from ids alone, `both` from ids and age."""
    keras.utils.set_random_seed(4)
    ids, age = keras.Input((TOKENS,), dtype="int32", name="ids"), keras.Input((2,), name="age")
    embedded = layers.Flatten()(layers.Embedding(VOCABULARY, WIDTH, name="embedding")(ids))
    both = layers.Dense(4, activation="tanh", name="both")(layers.Concatenate()([embedded, age]))
    return keras.Model([ids, age], layers.Dense(1, name="score")(both))


def lookup(ids):
    """A SavedModel's own embedding, at a variable, with a curved rest: [batch, 5] → [batch]."""
    vectors = tf.nn.embedding_lookup(lookup.table, ids, name="vectors")
    return tf.reduce_sum(tf.tanh(vectors + tf.constant(0.3, name="shift")), axis=[1, 2])


lookup.table = None


def refusing():
    """Layers and ops that cannot be explained: used twice, several outputs, integers, axes turned, an output aside."""
    x = keras.Input((4,), name="x")
    twice = layers.Dense(4, name="twice")
    parts = keras.ops.unstack(twice(twice(x)), axis=1)
    whole = keras.ops.cast(keras.ops.cast(x, "int32"), "float32")
    both = keras.ops.stack(parts, axis=1) + keras.ops.transpose(keras.ops.transpose(whole))
    return keras.Model(x, [layers.Dense(1, name="wanted")(both), layers.Dense(2, name="aside")(x)])


def kept(folder, model, kind="keras"):
    """The path of a model saved in a folder of its own."""
    folder.mkdir(parents=True, exist_ok=True)
    return saved_keras(folder, model, kind)
