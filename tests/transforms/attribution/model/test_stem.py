"""The affine stem: where it ends, that nothing changes by it, and all that must not be cut off."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers
from models import product, save_function, saved_keras, scaled

from transforms.attribution.config import ModelConfig
from transforms.attribution.model.model import load_model
from transforms.attribution.model.model_input import ModelInput

ROWS = 3
# two orders of the same float32 sums, relative to the largest value
SAME = 1e-6


def draw(model, rows=ROWS, seed=0):
    random = np.random.default_rng(seed)
    return [random.normal(size=(rows, *spec.shape)).astype(spec.point_dtype) for spec in model.inputs]


def integrated(function, inputs, starts):
    """Σ weight · ∂(Σ classes · number)/∂input over 8 Gauss-Legendre nodes of each row's path: a list like `inputs`."""
    nodes, weights = np.polynomial.legendre.leggauss(8)
    total = [tf.zeros_like(value) for value in inputs]
    for node, weight in zip((nodes + 1) / 2, weights / 2, strict=True):
        points = [start + node * (value - start) for value, start in zip(inputs, starts, strict=True)]
        with tf.GradientTape() as tape:
            tape.watch(points)
            outputs = function(points)
            target = tf.reduce_sum(outputs * tf.range(1.0, outputs.shape[1] + 1))
        gradients = tape.gradient(target, points, unconnected_gradients="zero")
        total = [old + weight * new for old, new in zip(total, gradients, strict=True)]
    return total


def both_ways(model, inputs):
    """Outputs and attributions from zero, of the whole model and by its stem: two pairs."""

    def whole(*values):
        starts = [0 * value for value in values]
        return model.outputs(values), integrated(model.outputs, values, starts)

    def cut(*values):
        ends, starts = model.stem.project(values), model.stem.project([0 * value for value in values])
        return model.head(ends), model.stem.pull_back(integrated(model.head, ends, starts))

    results = []
    for compute in (whole, cut):
        outputs, sums = tf.function(compute, autograph=False)(*map(tf.constant, inputs))
        attributions = [value * total.numpy() for value, total in zip(inputs, sums, strict=True)]
        results.append((outputs.numpy(), attributions))
    return results


def assert_same(model, inputs=None):
    (outputs, attributions), found = both_ways(model, inputs or draw(model))
    np.testing.assert_allclose(found[0], outputs, rtol=0, atol=SAME * np.abs(outputs).max())
    for expected, value in zip(attributions, found[1], strict=True):
        assert np.isfinite(expected).all() and expected.any() and value.shape == expected.shape
        np.testing.assert_allclose(value, expected, rtol=0, atol=SAME * np.abs(expected).max())


def sequential(shape, *stack):
    return keras.Sequential([keras.Input(shape, name="x"), *stack, layers.Flatten(), layers.Dense(3)])


def norm():
    """Batch normalisation that does something."""
    return layers.BatchNormalization(moving_mean_initializer="ones", gamma_initializer="random_uniform")


def residual():
    x = keras.Input((6,), name="x")
    first = layers.Dense(4)(x)
    both = layers.Add()([first, layers.Dense(4)(first)])
    both = layers.Dense(5)(layers.Concatenate()([both, layers.Average()([first, both])]))
    return keras.Model(x, layers.Dense(2)(layers.Activation("tanh")(both)))


STEMS = {
    "dense": (lambda: sequential((6,), layers.Dense(4, "tanh")), (4,)),
    "two dense, the narrowest": (lambda: sequential((6,), layers.Dense(2), layers.Dense(5, "tanh")), (2,)),
    "a tie is cut last": (lambda: sequential((6,), layers.Dense(4), norm(), layers.Activation("tanh")), (4,)),
    "as wide as the input": (lambda: sequential((4,), layers.Dense(4, "tanh")), (4,)),
    "strided conv": (lambda: sequential((8, 8, 1), layers.Conv2D(2, 3, 2, activation="tanh")), (3, 3, 2)),
    "conv, same, norm": (
        lambda: sequential((7, 7, 2), layers.Conv2D(3, 3, 2, "same"), norm(), layers.Activation("tanh")),
        (4, 4, 3),
    ),
    "scale, flatten, dense": (
        lambda: sequential((4, 4), layers.Rescaling(1 / 7), layers.Flatten(), layers.Dense(5, "tanh")),
        (5,),
    ),
    "normalisation, dense": (
        lambda: sequential((3,), layers.Normalization(mean=[1.0, 2, 3], variance=[2.0] * 3), layers.Dense(2, "tanh")),
        (2,),
    ),
    "average pool": (lambda: sequential((4, 4, 2), layers.AveragePooling2D(2), layers.Activation("tanh")), (2, 2, 2)),
    "global average": (
        lambda: sequential((4, 4, 2), layers.GlobalAveragePooling2D(), layers.Dense(3, "tanh")),
        (2,),
    ),
    "causal conv1d": (
        lambda: sequential((8, 2), layers.Conv1D(2, 3, padding="causal"), norm(), layers.Activation("tanh")),
        (8, 2),
    ),
    "conv3d": (lambda: sequential((4, 4, 4, 1), layers.Conv3D(2, 2, 2, activation="tanh")), (2, 2, 2, 2)),
    "separable": (
        lambda: sequential((6, 6, 1), layers.ZeroPadding2D(1), layers.SeparableConv2D(2, 3, 2, activation="tanh")),
        (3, 3, 1),
    ),
    "dense on a sequence": (lambda: sequential((5, 4), layers.Dense(3, "tanh")), (5, 3)),
    "dense before a loop": (lambda: sequential((5, 4), layers.Dense(3), layers.LSTM(2)), (5, 3)),
    "permute, reshape, einsum": (
        lambda: sequential(
            (6, 4),
            layers.Permute((2, 1)),
            layers.Reshape((12, 2)),
            layers.EinsumDense("abc,bd->adc", output_shape=(3, 2), activation="tanh"),
        ),
        (3, 2),
    ),
    "wider, but 9 products each": (lambda: sequential((6, 6, 1), layers.Conv2D(8, 3, activation="tanh")), (4, 4, 8)),
    "wider, grouped": (
        lambda: sequential((6, 6, 2), layers.DepthwiseConv2D(3, depth_multiplier=2, activation="tanh")),
        (4, 4, 4),
    ),
    "wider, dense": (lambda: sequential((40,), layers.Dense(50, "tanh")), (50,)),
    "narrow first, then wider for more products": (
        lambda: sequential((20,), layers.Dense(12), layers.Dense(16, "tanh")),
        (16,),
    ),
    "residual": (residual, (5,)),
    "linear to its end": (lambda: sequential((6,)), (3,)),
}


@pytest.mark.parametrize("name", STEMS)
def test_the_stem_of_a_keras_model(tmp_path, name):
    build, shape = STEMS[name]
    keras.utils.set_random_seed(1)
    model = load_model(ModelConfig(path=saved_keras(tmp_path, build(), "keras")))
    assert model.stem is not None and list(model.stem.tensors) == ["x"]
    assert [(spec.name, spec.shape, spec.explained) for spec in model.stem.heads] == [("x", shape, True)]
    assert_same(model)


@pytest.mark.parametrize("name", ["conv, same, norm", "residual", "dense on a sequence", "dense before a loop"])
def test_the_stem_of_an_exported_model(tmp_path, name):
    build, shape = STEMS[name]
    keras.utils.set_random_seed(1)
    model = load_model(ModelConfig(path=saved_keras(tmp_path, build(), "exported")))
    assert model.stem is not None and model.stem.heads[0].shape == shape
    assert_same(model)


def test_two_inputs_each_with_its_own(tmp_path):
    keras.utils.set_random_seed(1)
    a, b, c = (keras.Input((size,), name=name) for name, size in (("a", 4), ("b", 5), ("c", 2)))
    joined = layers.Concatenate()([layers.Dense(2)(a), layers.Dense(3)(b), layers.Activation("tanh")(c)])
    built = keras.Model([a, b, c], layers.Dense(2)(layers.Activation("tanh")(joined)))
    model = load_model(ModelConfig(path=saved_keras(tmp_path, built, "keras")))
    assert [spec.shape for spec in model.stem.heads] == [(2,), (3,), (2,)]
    assert set(model.stem.tensors) == {"a", "b"} and model.stem.heads[2] == model.inputs[2]
    assert_same(model)


def uncut(kind):
    x = keras.Input((4,), name="x")
    if kind == "skipped around":
        return keras.Model(x, layers.Dense(2)(layers.Concatenate()([layers.Dense(3)(x), layers.Activation("tanh")(x)])))
    if kind == "wider":
        return keras.Model(x, layers.Dense(2)(layers.Dense(20, "tanh")(x)))
    if kind == "wider conv":
        return sequential((6, 6, 3), layers.Conv2D(8, 1, activation="tanh"))
    if kind == "upsampled":
        return sequential((6, 6, 1), layers.UpSampling2D(2), layers.Activation("tanh"))
    if kind == "not affine first":
        return keras.Model(x, layers.Dense(2)(layers.Activation("tanh")(x)))
    if kind == "only scaled":
        return sequential((6,), layers.Rescaling(2.0), layers.Reshape((2, 3)), layers.Activation("tanh"))
    if kind == "of any size":
        return keras.Sequential([keras.Input((None, 4)), layers.Dense(2, "tanh"), layers.GlobalAveragePooling1D()])
    assert kind == "fixed batch"
    return keras.Sequential([keras.Input(batch_shape=(2, 4)), layers.Dense(2, "tanh"), layers.Dense(2)])


@pytest.mark.parametrize(
    "kind",
    [
        "skipped around",
        "wider",
        "wider conv",
        "upsampled",
        "not affine first",
        "only scaled",
        "of any size",
        "fixed batch",
    ],
)
def test_nothing_is_cut_off(tmp_path, kind):
    model = load_model(ModelConfig(path=saved_keras(tmp_path, uncut(kind), "keras")))
    assert model.stem is None and model.head is model.outputs


def test_hoisting_can_be_switched_off(tmp_path):
    path = saved_keras(tmp_path, STEMS["dense"][0](), "keras")
    assert load_model(ModelConfig(path=path)).stem is not None
    model = load_model(ModelConfig(path=path), hoist=False)
    assert model.stem is None and model.head is model.outputs


def test_a_product_of_two_inputs_has_none(model_of):
    assert model_of(product, a=([None, 3], "float32"), b=([None, 3], "float32")).stem is None


def narrow(x):
    """[batch, 6] → [batch, 2]."""
    weights = np.random.default_rng(5).normal(size=(6, 2))
    return tf.tanh(x @ tf.constant(weights, x.dtype))


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_dtypes(model_of, dtype):
    model = model_of(narrow, x=([None, 6], dtype))
    if dtype == "float16":
        assert model.stem is None  # points are float32; the model rounds them
        return
    assert model.stem.heads == (ModelInput("x", (2,), np.dtype(dtype), np.dtype(dtype), True),)
    outputs, gradients = (
        model.head(model.stem.project(draw(model))),
        tf.function(model.stem.pull_back)([tf.ones((3, 2), dtype)]),
    )
    assert gradients[0].dtype == dtype and outputs.dtype == dtype
    np.testing.assert_allclose(outputs, model.outputs(draw(model)), rtol=8 * np.finfo(dtype).eps)


@pytest.mark.parametrize("kind", ["keras", "exported"])
def test_integers_that_are_cast(tmp_path, kind):
    keras.utils.set_random_seed(1)
    pixels = keras.Input((4, 4, 1), dtype="uint8", name="x")
    hidden = layers.Dense(3, "tanh")(layers.Flatten()(layers.Rescaling(1 / 255)(pixels)))
    model = load_model(ModelConfig(path=saved_keras(tmp_path, keras.Model(pixels, layers.Dense(2)(hidden)), kind)))
    single = np.dtype("float32")
    assert model.stem.heads == (ModelInput("x", (3,), single, single, True),)
    assert_same(model, [np.random.default_rng(0).integers(0, 256, (ROWS, 4, 4, 1)).astype("float32")])


def test_a_model_as_wide_as_its_integers_has_none(model_of):
    assert model_of(scaled, pixels=([None, 2, 2], "uint8")).stem is None


def test_names_of_inputs_do_not_collide(model_of):
    def named(tensors, attribeam_0):
        return narrow(tensors) + narrow(attribeam_0)

    model = model_of(named, tensors=([None, 6], "float32"), attribeam_0=([None, 6], "float32"))
    assert len(model.stem.tensors) == 2
    assert_same(model)


def test_an_activation_is_applied_by_the_head(model_of):
    model = model_of(narrow, "softmax", x=([None, 6], "float32"))
    found = model.head(model.stem.project(draw(model))).numpy()
    np.testing.assert_allclose(found.sum(axis=1), 1, rtol=SAME)
    np.testing.assert_allclose(found, model.outputs(draw(model)), rtol=SAME)


def test_an_effect_that_needs_the_input_keeps_it(tmp_path):
    def checked(x):
        with tf.control_dependencies([tf.debugging.assert_less(x, 9.0)]):
            return narrow(x)

    def checked_late(x):
        inner = narrow(x)
        with tf.control_dependencies([tf.debugging.assert_less(x, 9.0)]):
            return tf.identity(inner) * 2

    for function in (checked, checked_late):
        path = save_function(tmp_path / function.__name__, function, x=([None, 6], "float32"))
        model = load_model(ModelConfig(path=path))
        assert model.stem is None
        with pytest.raises(tf.errors.InvalidArgumentError):
            model.outputs([np.full((1, 6), 10, "float32")])


def test_the_reference_sees_a_wrong_stem(tmp_path):
    model = load_model(ModelConfig(path=saved_keras(tmp_path, STEMS["dense"][0](), "keras")))
    right = model.head
    object.__setattr__(model, "head", lambda ends: right([1.001 * ends[0]]))
    with pytest.raises(AssertionError):
        assert_same(model)


def test_the_model_is_left_as_it_is(model_of):
    model = model_of(narrow, x=([None, 6], "float32"))
    before = model.outputs(draw(model)).numpy()
    assert model.stem is not None
    model.stem.project(draw(model))
    assert np.array_equal(model.outputs(draw(model)).numpy(), before)
