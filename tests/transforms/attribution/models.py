"""Tiny models for the tests of the mathematics: any TensorFlow function, saved under the names of its arguments."""

import keras
import numpy as np
import tensorflow as tf
from keras import layers

EPS = 2.0**-23  # spacing of float32 at 1; one rounding is at most half of it
WIDE, TILT = np.array([1.0, 0.75, 1.25], np.float32), np.array([-1.0, 1.5, 0.5], np.float32)


def save_function(path, function, variables=(), **specs):
    """Save `function` as a SavedModel; `specs`: its arguments, name = (shape with the batch dimension, dtype)."""
    module = tf.Module()
    module.kept = list(variables)
    signature = [tf.TensorSpec(shape, dtype, name=name) for name, (shape, dtype) in specs.items()]
    module.run = tf.function(function, input_signature=signature, autograph=False)
    tf.saved_model.save(module, str(path), signatures=module.run)
    return str(path)


def rounding(steps, scale, operations=16):
    """How far float32 may carry Σ weight · gradient · D from its exact value.

    Adding `steps` products loses at most one rounding each, and a gradient has about `operations` roundings behind it;
    each is relative to `scale`, a bound of Σ|weight · gradient| · |D| with every term of the gradient taken absolute.
    """
    return (steps + operations) * EPS * np.asarray(scale)


def linear(x, w, c):
    """w · x + c; the parameters are inputs whose baseline is their value, so that one graph serves them all."""
    return tf.reduce_sum(w * x, axis=1) + c[:, 0]


def quadratic(x, h):
    """xᵀ H x."""
    return tf.einsum("bi,bij,bj->b", x, h, x)


def square(x):
    """Σ (x + 1)² tanh x."""
    return tf.reduce_sum((x + 1) ** 2 * tf.tanh(x), axis=1)


def square_written_out(x):
    """The same function, of other operations."""
    growth = tf.exp(2 * x)
    return tf.reduce_sum((x * x + 2 * x + 1) * (growth - 1) / (growth + 1), axis=1)


def product(a, b):
    """Σ aᵢ bᵢ, of two inputs."""
    return tf.reduce_sum(a * b, axis=1)


def sigmoid(x, w):
    """σ(w · x)."""
    return tf.sigmoid(tf.reduce_sum(w * x, axis=1))


def mlp(x):
    """A smooth network of fixed random weights, [batch, 6] → [batch, 3]."""
    random = np.random.default_rng(7)
    first, second = random.normal(size=(6, 8)), random.normal(size=(8, 3))
    return tf.tanh(x @ tf.constant(first / 3, x.dtype) + 0.1) @ tf.constant(second, x.dtype)


def status_zoo(x):
    """x₀ + 10·relu(x₁ − 0.9) + log(1 + x₂): a row can be made ok, unconverged, flat or nonfinite at will."""
    return x[:, 0] + 10 * tf.nn.relu(x[:, 1] - 0.9) + tf.math.log(1 + x[:, 2])


def saved_keras(folder, model, kind):
    """Save a Keras model as a .keras file, or export it as a SavedModel; the path."""
    if kind == "keras":
        model.save(folder / "model.keras")
        return str(folder / "model.keras")
    model.export(str(folder / "exported"), verbose=False)
    return str(folder / "exported")


def two_ends():
    """Inputs a [4], b [2, 3]; outputs classes [3], score [1]."""
    keras.utils.set_random_seed(1)
    a, b = keras.Input((4,), name="a"), keras.Input((2, 3), name="b")
    both = layers.Concatenate()([layers.Dense(3, activation="tanh")(a), layers.Flatten()(b * b)])
    return a, b, layers.Dense(3, name="classes")(both), layers.Dense(1, name="score")(both)


def inference_layers():
    """[batch, 4] → [batch, 3], with layers that do something else in training."""
    keras.utils.set_random_seed(1)
    return keras.Sequential(
        [
            keras.Input((4,), name="x"),
            layers.Dense(5, activation="gelu"),
            layers.BatchNormalization(moving_mean_initializer="ones", moving_variance_initializer="ones"),
            layers.Dropout(0.9),
            layers.GaussianNoise(0.9),
            layers.Dense(3),
        ]
    )


def with_embedding(float_too):
    """tokens [3] through an embedding, and age [2] beside them if wanted → [batch, 1]."""
    keras.utils.set_random_seed(1)
    tokens, age = keras.Input((3,), dtype="int32", name="tokens"), keras.Input((2,), name="age")
    embedded = layers.Flatten()(layers.Embedding(7, 2)(tokens))
    inputs = [tokens, age] if float_too else tokens
    return keras.Model(inputs, layers.Dense(1)(layers.Concatenate()([embedded, age]) if float_too else embedded))


def looped(x):
    """Three steps of a recurrence, as a loop of TensorFlow."""
    weights = tf.constant(np.random.default_rng(3).normal(size=(3, 3)) / 2, x.dtype)

    def step(index, state):
        return index + 1, tf.tanh(state @ weights) + 0.1 * x

    return tf.while_loop(lambda index, state: index < 3, step, (0, x))[1]


def unrolled(x):
    """The same without a loop."""
    weights = tf.constant(np.random.default_rng(3).normal(size=(3, 3)) / 2, x.dtype)
    state = x
    for _ in range(3):
        state = tf.tanh(state @ weights) + 0.1 * x
    return state


def by_name(first, second):
    """Three outputs, one of them no float."""
    return {"sum": tf.reduce_sum(first, 1) + second[:, 0], "both": tf.concat([first, second], 1) ** 2, "ids": first > 0}


def scaled(pixels):
    """Σ (pixel/255 − 0.1)² over columns, of integers cast to float first."""
    x = tf.cast(pixels, tf.float32) / 255 - 0.1
    return tf.reduce_sum(x * x, axis=[1, 2])


def one_column(x):
    """[batch, 2] → [batch, 1]."""
    return tf.sin(x[:, :1]) * x[:, 1:2]


def rank_one(x):
    """The same as [batch]."""
    return one_column(x)[:, 0]


def rank_three(x):
    """An output that is no table."""
    return x[:, :, None]


def along_time(x):
    """y[t, c] = WIDE_c x_t² + TILT_c x_t, [batch, T] → [batch, T, 3]: each position's output is its own input's."""
    return WIDE * x[:, :, None] ** 2 + TILT * x[:, :, None]


def per_pixel(x):
    """The same of an image, [batch, h, w] → [batch, h, w, 3]."""
    return WIDE * x[..., None] ** 2 + TILT * x[..., None]


def narrowing_in_time(x):
    """Three steps made of a narrow affine layer, [batch, 8] → 3 → [batch, 3, 2]: it has a stem."""
    random = np.random.default_rng(6)
    hidden = x @ tf.constant(random.normal(size=(8, 3)) / 3, x.dtype) + 0.1
    return tf.tanh(hidden[:, :, None] * tf.constant(random.normal(size=(3, 2)), x.dtype))


def unknown_classes(x):
    """A table whose width the graph does not know."""
    return tf.boolean_mask(x, x[0] > 0, axis=1)


def many_outputs(x):
    """output_0 … output_11, each x times its number."""
    return {f"output_{index}": index * x for index in range(12)}


def narrowing(x):
    """A network that starts with a narrowing affine layer, [batch, 6] → 3 → [batch, 3]: it has a stem."""
    random = np.random.default_rng(5)
    first, second = random.normal(size=(6, 3)), random.normal(size=(3, 3))
    return tf.tanh(x @ tf.constant(first / 2, x.dtype) + 0.2) @ tf.constant(second, x.dtype)


def two_narrowing(a, b):
    """The same of one input, times a curved form of another of any size."""
    return narrowing(a) * (1 + tf.reduce_sum(tf.sin(b), axis=1, keepdims=True))


def gated(x, ids):
    """mlp of x times a weight that integers choose: they are held."""
    return mlp(x) * tf.gather(tf.constant([[0.5], [1.0], [2.0]], x.dtype), ids)


def jump(x):
    """1 from x₀ = 0.5 on, which no gradient tells of, and x₁/10."""
    return tf.where(x[:, 0] > 0.5, 1.0, 0.0) + 0.1 * x[:, 1]


def with_a_bad_row(engine, position, bad):
    """Five rows of the zoo explained, and again with one of them bad; and which are the others, bool [5]."""
    clean = np.abs(np.random.default_rng(2).normal(size=(5, 3))).astype(np.float32)
    dirty = clean.copy()
    dirty[position] = bad
    expected, found = engine.explain(clean), engine.explain(dirty)
    others = np.arange(5) != position
    assert (found.status == "nonfinite").tolist() == (~others).tolist()
    return expected, found, others
