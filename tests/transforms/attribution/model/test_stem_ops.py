"""The ops of an affine stem, one by one and in random chains: which are cut off, and that derivatives stay."""

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

from transforms.attribution.model.model_input import ModelInput
from transforms.attribution.model.stem import hoist

# two orders of the same float32 sums, relative to the largest value
SAME = 1e-6


W = np.random.default_rng(2).normal(size=(4, 2)).astype("float32")
KERNEL = np.random.default_rng(2).normal(size=(2, 2, 2, 1)).astype("float32")


def frozen(function, shape):
    """A function of x [batch, *shape], frozen, and the description of its input."""
    signature = [tf.TensorSpec([None, *shape], tf.float32, name="x")]
    concrete = tf.function(function, signature, autograph=False).get_concrete_function()
    single = np.dtype("float32")
    return convert_variables_to_constants_v2(concrete, lower_control_flow=False), (
        ModelInput("x", tuple(shape), single, single, True),
    )


# what comes before the tanh, the shape of an example, and the shape of z; x is the input, y = x @ W
FIRST_OPS = {
    "add": (lambda x: x @ W + 1, (4,), (2,)),
    "constant minus": (lambda x: 1 - x @ W, (4,), (2,)),
    "negated": (lambda x: -(x @ W) / 3, (4,), (2,)),
    "sum of three": (lambda x: tf.add_n([x @ W, x[:, :2], 2 * x[:, 2:]]), (4,), (2,)),
    "slice": (lambda x: x[:, 1:3], (4,), (2,)),
    "slice, turned": (lambda x: x[..., ::-2], (4,), (2,)),
    "pad": (lambda x: tf.pad(x, [[0, 0], [1, 0]], constant_values=3) @ W, (3,), (2,)),
    "tile": (lambda x: tf.tile(x, [1, 2]) @ W, (2,), (2,)),
    "mean": (lambda x: tf.reduce_mean(x, -1), (4,), ()),
    "sum, kept": (lambda x: tf.reduce_sum(x, 1, keepdims=True), (4, 2), (1, 2)),
    "batched matmul": (lambda x: tf.constant(W.T) @ x, (4, 3), (2, 3)),
    "transposed matmul": (lambda x: tf.matmul(x, W, transpose_b=True)[:, :2], (2,), (2,)),
    "reshape by the batch": (lambda x: tf.reshape(x, [tf.shape(x)[0], 2, 4]) @ W, (8,), (2, 2)),
    "rows of their own": (lambda x: tf.reshape(tf.reshape(x, [-1, 4]) @ W, [-1, 4]), (8,), (4,)),
    "squeeze": (lambda x: tf.squeeze(x[:, :, None], 2)[:, :3], (4,), (3,)),
    "transpose": (lambda x: tf.transpose(x, [0, 2, 1])[:, :2], (4, 3), (2, 4)),
    "grouped": (lambda x: tf.nn.depthwise_conv2d(x, KERNEL, [1, 1, 1, 1], "VALID"), (3, 3, 2), (2, 2, 2)),
    "frozen batch norm": (
        lambda x: tf.compat.v1.nn.fused_batch_norm(x[:, 1:], [2.0], [1.0], [3.0], [4.0], is_training=False)[0],
        (3, 3, 1),
        (2, 3, 1),
    ),
    # and what must not be taken
    "batch norm of the batch": (
        lambda x: tf.compat.v1.nn.fused_batch_norm(x, [2.0], [1.0], is_training=True)[0][:, 1:],
        (3, 3, 1),
        None,
    ),
    "the batch turned around": (lambda x: x[::-1] @ W, (4,), None),
    "the batch turned around, after dots for nothing": (lambda x: x[..., ::-1, :] @ W, (4,), None),
    "a part of the batch": (lambda x: x[:64] @ W, (4,), None),
    "less the mean of the batch": (lambda x: (x - tf.reduce_mean(x, 0, keepdims=True)) @ W, (4,), None),
    "across the batch": (lambda x: tf.transpose(tf.transpose(x) * 2)[:, :2], (4,), None),
    "the batch twice": (lambda x: tf.concat([x, x], 0)[: tf.shape(x)[0]] @ W, (4,), None),
    "the batch twice, tiled": (lambda x: tf.reshape(tf.tile(x, [2, 1]), [-1, 8])[:, :2], (4,), None),
    "the batch twice, joined": (lambda x: tf.reshape(tf.concat([x, x], 0), [-1, 8])[:, :2], (4,), None),
    "joined along it and back": (
        lambda x: tf.reshape(tf.transpose(tf.reshape(x, [-1, 2, 2]), [1, 0, 2]), [-1, 4]) @ W,
        (4,),
        None,
    ),
    "squared": (lambda x: (x * x) @ W, (4,), None),
    "one over it": (lambda x: 1 / (x @ W + 9), (4,), (2,)),
    "noise": (lambda x: (x + tf.random.normal([4])) @ W, (4,), None),
    "no gradient": (lambda x: tf.stop_gradient(x @ W) + x[:, :2], (4,), None),
    "squeezed blindly": (lambda x: tf.reshape(tf.squeeze(x), [-1, 4]) @ W, (4,), None),
}


@pytest.mark.parametrize("name", FIRST_OPS)
def test_ops(name):
    first, shape, expected = FIRST_OPS[name]
    function, inputs = frozen(lambda x: tf.tanh(first(x)), shape)
    head, stem = hoist(function, inputs)
    if expected is None:
        assert stem is None and head is function
        return
    assert stem.heads[0].shape == expected
    for rows in (1, 5):
        x = np.random.default_rng(0).normal(size=(rows, *shape)).astype("float32")
        assert_derivatives_same(function, head, stem, x)


def assert_derivatives_same(function, head, stem, x):
    """Values and Jacobian-transpose products with random vectors: of the function, and through its stem."""

    def whole(x, seed):
        with tf.GradientTape() as tape:
            tape.watch(x)
            out = function(x)[0]
        return out, tape.gradient(out, x, output_gradients=seed)

    def cut(x, seed):
        (z,) = stem.project([x])
        with tf.GradientTape() as tape:
            tape.watch(z)
            out = head(z)[0]
        return out, stem.pull_back([tape.gradient(out, z, output_gradients=seed)])[0]

    seed = np.random.default_rng(1).normal(size=function(tf.constant(x))[0].shape).astype("float32")
    results = [tf.function(compute, autograph=False)(tf.constant(x), seed) for compute in (whole, cut)]
    for expected, found in zip(*results, strict=True):
        np.testing.assert_allclose(found, expected, rtol=0, atol=SAME * np.abs(expected).max())


LINKS = {
    "dense": lambda x, k: tf.reshape(x, [-1, x.shape[1] * x.shape[2]]) @ fixed(k, x.shape[1] * x.shape[2], 6),
    "each": lambda x, k: x @ fixed(k, x.shape[2], 3),
    "scale": lambda x, k: x * fixed(k, 1, x.shape[2]) - 1,
    "swap": lambda x, k: tf.transpose(x, [0, 2, 1]),
    "slice": lambda x, k: x[:, : 1 + k % x.shape[1]],
    "both": lambda x, k: tf.concat([x, 2 * x], 1 + k % 2),
    "mix": lambda x, k: x + fixed(k, 1, 1) * tf.reduce_mean(x, 1 + k % 2, keepdims=True),
    "rows": lambda x, k: tf.reshape(tf.reshape(x, [-1, x.shape[2]]) @ fixed(k, x.shape[2], 2), [-1, *x.shape[1:2], 2]),
    "bend": lambda x, k: tf.tanh(x),
    "blend": lambda x, k: x - tf.reduce_mean(x, 0, keepdims=True),
    "turn": lambda x, k: tf.transpose(tf.transpose(x, [1, 0, 2]), [1, 0, 2]) + tf.reverse(x, [0]),
}


def fixed(seed, rows, columns):
    return tf.constant(np.random.default_rng(seed).normal(size=(rows, columns)), tf.float32)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(sorted(LINKS)), st.integers(0, 9)), min_size=1, max_size=5))
def test_random_chains(links):
    def chain(x):
        for name, number in links:
            x = LINKS[name](x, number)
            x = tf.reshape(x, [-1, 3, 2]) if x.shape.rank == 2 else x
        return tf.tanh(x)

    function, inputs = frozen(chain, (3, 2))
    head, stem = hoist(function, inputs)
    names = [name for name, _ in links]
    if stem is None:
        # dense never widens: with nothing in its way it is cut off
        assert names[0] != "dense"
        return
    before = names[: min([names.index(name) for name in ("bend", "blend", "turn") if name in names], default=None)]
    assert before, "the stem holds what is not affine, or mixes the rows"
    x = np.random.default_rng(0).normal(size=(4, 3, 2)).astype("float32")
    order = [2, 0, 3, 1]
    np.testing.assert_allclose(stem.project([x[order]])[0], stem.project([x])[0].numpy()[order], rtol=SAME, atol=SAME)
    assert_derivatives_same(function, head, stem, x)
