"""Every kind of model: files, inputs, outputs, dtypes, fixed batches, control flow, unfrozen; and none is changed."""

import gc

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers
from models import (
    EPS,
    by_name,
    inference_layers,
    looped,
    many_outputs,
    mlp,
    one_column,
    rank_one,
    rank_three,
    save_function,
    saved_keras,
    scaled,
    two_ends,
    unknown_classes,
    unrolled,
    with_embedding,
)

from transforms.attribution.config import AttributionConfig, ModelConfig
from transforms.attribution.explainer import Explainer
from transforms.attribution.model import freezing, loading
from transforms.attribution.model.model import load_model
from transforms.errors import UsageError

ROWS = 3
# two graphs of the same float32 network: a few roundings for each of its sums, relative to the largest |A|
SAME = 1e-5


def explain(model, inputs, **fields):
    return Explainer(model, AttributionConfig(**{"steps": 6, **fields})).explain(inputs)


def draw(*shapes, seed=0):
    random = np.random.default_rng(seed)
    return [random.normal(size=(ROWS, *shape)).astype(np.float32) for shape in shapes]


def assert_same(found, expected):
    assert set(found.attributions) == set(expected.attributions)
    for name, values in expected.attributions.items():
        assert np.isfinite(values).all() and values.any()
        np.testing.assert_allclose(found.attributions[name], values, rtol=0, atol=SAME * np.abs(values).max())
    np.testing.assert_allclose(found.output, expected.output, rtol=SAME, atol=SAME)


@pytest.mark.parametrize("kind", ["keras", "exported"])
def test_batch_norm_and_dropout_work_as_in_inference(tmp_path, kind):
    model = inference_layers()
    (x,) = draw((4,))
    loaded = load_model(ModelConfig(path=saved_keras(tmp_path, model, kind)))
    assert loaded.frozen and loaded.classes == 3 and loaded.batch is None and len(loaded.inputs) == 1
    found = explain(loaded, x, target=1)
    np.testing.assert_allclose(found.output, model(x, training=False)[:, 1], rtol=SAME, atol=SAME)
    again = explain(loaded, x, target=1)
    assert np.array_equal(next(iter(found.attributions.values())), next(iter(again.attributions.values())))
    # GELU is analytic: what six Gauss-Legendre nodes leave on a path of this length is far below the default tolerance
    assert found.status.tolist() == ["ok"] * ROWS


@pytest.mark.parametrize(("kind", "form"), [("keras", list), ("keras", dict), ("exported", list), ("exported", dict)])
def test_several_inputs_and_outputs(tmp_path, kind, form):
    a, b, classes, score = two_ends()
    inputs = {"a": a, "b": b} if form is dict else [a, b]
    outputs = {"classes": classes, "score": score} if form is dict else [classes, score]
    model = keras.Model(inputs, outputs)
    path = saved_keras(tmp_path, model, kind)
    x = dict(zip("ab", draw((4,), (2, 3)), strict=True))
    expected = model(x if form is dict else list(x.values()))
    expected = list(expected.values()) if form is dict else expected
    loaded = [load_model(ModelConfig(path=path, output=index)) for index in (0, 1)]
    assert [spec.name for spec in loaded[0].inputs] == ["a", "b"]
    assert [one.classes for one in loaded] == [3, 1]
    found = [explain(loaded[0], x, target=2), explain(loaded[1], x)]
    np.testing.assert_allclose(found[0].output, expected[0][:, 2], rtol=SAME, atol=SAME)
    np.testing.assert_allclose(found[1].output, expected[1][:, 0], rtol=SAME, atol=SAME)
    assert {name: value.shape for name, value in found[1].attributions.items()} == {"a": (3, 4), "b": (3, 2, 3)}
    assert found[1].status.tolist() == ["ok"] * ROWS
    for wanted in (None, "nothing", 2, -1):
        with pytest.raises(UsageError, match=r"E_MODEL_OUTPUT: .*score|E_MODEL_OUTPUT: .*output_1"):
            load_model(ModelConfig(path=path, output=wanted))


def test_outputs_of_a_module_by_name_and_index(tmp_path):
    path = save_function(tmp_path / "saved", by_name, first=([None, 2], "float32"), second=([None, 1], "float32"))
    first, second = draw((2,), (1,))
    x = {"second": second, "first": first}
    both = load_model(ModelConfig(path=path, output="both"))
    assert [spec.name for spec in both.inputs] == ["first", "second"] and both.classes == 3
    found = explain(both, x, target=2)
    # z² from 0: A = z², all of it to the input it belongs to
    np.testing.assert_allclose(found.attributions["second"], second**2, rtol=12 * EPS)
    assert not found.attributions["first"].any()
    first_of_them = explain(load_model(ModelConfig(path=path, output=0)), x, target=2)
    assert np.array_equal(first_of_them.attributions["second"], found.attributions["second"])
    total = explain(load_model(ModelConfig(path=path, output="sum")), x)
    np.testing.assert_allclose(total.attributions["first"], first, rtol=12 * EPS)
    with pytest.raises(UsageError, match=r"E_MODEL_OUTPUT: there is no output 'nothing', .*'both', 'ids', 'sum'"):
        load_model(ModelConfig(path=path, output="nothing"))
    with pytest.raises(UsageError, match="E_MODEL_OUTPUT_SHAPE: the model's output is bool"):
        load_model(ModelConfig(path=path, output="ids"))
    with pytest.raises(UsageError, match=r"E_MODEL_SIGNATURE: .*'other'; it has \['serving_default'\]"):
        load_model(ModelConfig(path=path, signature="other"))


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_float_inputs(model_of, dtype):
    found = explain(model_of(mlp, x=([None, 6], dtype)), draw((6,))[0].astype(dtype), target=0)
    expected = explain(model_of(mlp, x=([None, 6], "float64")), draw((6,))[0].astype(dtype).astype("float64"), target=0)
    # a hundred roundings of the dtype, for ten products and a tanh one after the other
    limit = 100 * np.finfo(dtype).eps * np.abs(expected.attributions["x"]).max() + EPS
    np.testing.assert_allclose(found.attributions["x"], expected.attributions["x"], rtol=0, atol=limit)
    assert found.attributions["x"].dtype == np.float32


@pytest.mark.parametrize("dtype", ["uint8", "int32", "int64"])
@pytest.mark.parametrize("baseline", [0, 255, 12.5])
def test_integers_are_explained_through_their_cast(model_of, explainer, dtype, baseline):
    model = model_of(scaled, pixels=([None, 2, 2], dtype))
    assert model.inputs[0].dtype == dtype and model.inputs[0].point_dtype == "float32" and model.inputs[0].explained
    pixels = np.random.default_rng(0).integers(0, 256, (ROWS, 2, 2)).astype(dtype)
    found = explainer(model, steps=3, baseline={"constant": baseline}).explain(pixels)
    end, start = pixels.astype(np.float64) / 255 - 0.1, baseline / 255 - 0.1
    # a baseline cut to an integer, or a path that goes in whole numbers, would be off by 1/255; rounding is not
    np.testing.assert_allclose(found.attributions["pixels"], end**2 - start**2, rtol=0, atol=20 * EPS)
    given = explainer(model, steps=3).explain(pixels, baselines=np.full((2, 2), 7, dtype))
    start = 7 / 255 - 0.1
    np.testing.assert_allclose(given.attributions["pixels"], end**2 - start**2, rtol=0, atol=20 * EPS)


def test_rescaling_in_keras(tmp_path):
    inputs = keras.Input((2, 2, 1), dtype="uint8", name="pixels")
    model = keras.Model(inputs, layers.Dense(2)(layers.Flatten()(layers.Rescaling(1 / 255)(inputs))))
    pixels = np.random.default_rng(0).integers(0, 256, (ROWS, 2, 2, 1)).astype("uint8")
    found = explain(load_model(ModelConfig(path=saved_keras(tmp_path, model, "keras"))), pixels, target=0)
    kernel = model.layers[-1].get_weights()[0][:, 0].reshape(2, 2, 1)
    np.testing.assert_allclose(found.attributions["pixels"], pixels / 255 * kernel, rtol=1e-5, atol=1e-7)


def test_an_embedding_is_held_beside_a_float(tmp_path):
    model = with_embedding(True)
    loaded = load_model(ModelConfig(path=saved_keras(tmp_path, model, "keras")))
    assert [(spec.name, spec.explained) for spec in loaded.inputs] == [("tokens", False), ("age", True)]
    tokens = np.array([[0, 1, 2], [3, 4, 5], [6, 6, 6]])
    (age,) = draw((2,))
    found = explain(loaded, {"tokens": tokens, "age": age})
    kernel = model.layers[-1].get_weights()[0][-2:, 0]
    assert set(found.attributions) == {"age"}
    np.testing.assert_allclose(found.attributions["age"], age * kernel, rtol=1e-5)
    # held: the baseline's output is that of these tokens, row by row
    start = model([tokens, np.zeros_like(age)])[:, 0]
    np.testing.assert_allclose(found.baseline_output, start, rtol=1e-5, atol=1e-6)
    assert len(set(found.baseline_output.tolist())) == ROWS


def test_an_embedding_alone_cannot_be_differentiated(tmp_path):
    path = saved_keras(tmp_path, with_embedding(False), "keras")
    with pytest.raises(UsageError, match=r"E_MODEL_NOT_DIFFERENTIABLE: .*tokens \(int32\)"):
        load_model(ModelConfig(path=path))


def test_a_fixed_batch_of_keras(tmp_path):
    inputs = keras.Input(batch_shape=(4, 6), name="x")
    model = keras.Model(inputs, layers.Dense(1, activation="tanh")(inputs))
    loaded = load_model(ModelConfig(path=saved_keras(tmp_path, model, "keras")))
    x = np.random.default_rng(0).normal(size=(7, 6)).astype(np.float32)
    engine = Explainer(loaded, AttributionConfig(steps=6))
    assert loaded.batch == 4 and engine.batch_size([(6,)]) == 4
    found = engine.explain(x)
    kernel = model.layers[-1].get_weights()[0]
    np.testing.assert_allclose(found.output, np.tanh(x @ kernel)[:, 0], rtol=SAME, atol=SAME)
    assert len(found) == 7 and set(found.status) == {"ok"}


def test_a_fixed_batch_of_a_signature(model_of, explainer):
    fixed, free = model_of(mlp, x=([4, 6], "float32")), model_of(mlp, x=([None, 6], "float32"))
    (x,) = draw((6,))
    assert_same(explainer(fixed, target=0, batch_size=4).explain(x), explainer(free, target=0).explain(x))
    with pytest.raises(UsageError, match=r"E_BATCH_SIZE: .*batch_size is 8, .*exactly 4"):
        Explainer(fixed, AttributionConfig(target=0, batch_size=8))


def test_the_rank_of_the_output(model_of):
    spec = ([None, 2], "float32")
    (x,) = draw((2,))
    table, vector = model_of(one_column, x=spec), model_of(rank_one, x=spec)
    assert table.classes == vector.classes == 1
    assert_same(explain(vector, x), explain(table, x))
    for function in (rank_three, unknown_classes):
        loaded = model_of(function, x=spec)
        assert loaded.classes == 0
        with pytest.raises(UsageError, match="E_MODEL_OUTPUT_SHAPE"):
            Explainer(loaded, AttributionConfig(target=0))


def with_softmax(x):
    return tf.nn.softmax(mlp(x))


def falling(x):
    return -tf.reduce_sum(x, axis=1, keepdims=True)


def with_sigmoid(x):
    return tf.sigmoid(falling(x))


@pytest.mark.parametrize(
    ("plain", "inside", "activation", "target"),
    [(mlp, with_softmax, "softmax", 1), (falling, with_sigmoid, "sigmoid", None)],
)
def test_an_activation_is_as_if_the_model_had_it(model_of, plain, inside, activation, target):
    spec = ([None, 6], "float32")
    (x,) = draw((6,))
    found = explain(model_of(plain, activation=activation, x=spec), x, target=target)
    assert_same(found, explain(model_of(inside, x=spec), x, target=target))
    assert (found.output > 0).all() and (found.output < 1).all()


def test_a_sigmoid_head_keeps_its_sign(model_of):
    """alibi flips the delta of a sigmoid head with a target; here it has none, and a fall is a fall."""
    x = np.ones((1, 6), np.float32)
    found = explain(model_of(with_sigmoid, x=([None, 6], "float32")), x, rule="riemann_left", steps=4)
    assert found.output[0] < found.baseline_output[0] == 0.5
    assert (found.attributions["x"] < 0).all()
    # σ' falls along the path, so that the left rule takes too much of a negative slope
    assert found.delta[0] < -0.01


def test_a_loop_is_explained_as_its_unrolled_self(model_of):
    spec = ([None, 3], "float32")
    loop = model_of(looped, x=spec)
    assert loop.frozen
    (x,) = draw((3,))
    assert_same(explain(loop, x, target=0), explain(model_of(unrolled, x=spec), x, target=0))


@pytest.mark.parametrize("layer", [layers.LSTM, layers.GRU])
def test_a_recurrent_layer_works_frozen(tmp_path, layer):
    model = keras.Sequential([keras.Input((4, 2), name="x"), layer(3), layers.Dense(1)])
    loaded = load_model(ModelConfig(path=saved_keras(tmp_path, model, "keras")))
    assert loaded.frozen
    (x,) = draw((4, 2))
    found = explain(loaded, x, steps=16)
    np.testing.assert_allclose(found.output, model(x)[:, 0], rtol=SAME, atol=SAME)
    # gates of small weights are smooth on the path: 16 Gauss-Legendre nodes leave nothing but rounding
    assert (np.abs(found.delta) <= SAME * np.abs(found.attributions["x"]).sum(axis=(1, 2))).all()
    assert found.attributions["x"].all()


def test_the_position_of_an_output_is_the_same_in_every_process(tmp_path):
    """TensorFlow gives a signature's outputs in the order of a hash, another one in every process."""
    path = save_function(tmp_path / "saved", many_outputs, x=([None, 1], "float32"))
    for index in range(12):
        call = loading.load(ModelConfig(path=path, output=index)).call
        assert call([tf.ones([1, 1])]).numpy().tolist() == [[index]]


@pytest.mark.parametrize("kind", ["keras", "exported"])
def test_a_model_too_large_to_freeze_gives_the_same(tmp_path, monkeypatch, kind):
    path = saved_keras(tmp_path, inference_layers(), kind)
    frozen = load_model(ModelConfig(path=path))
    monkeypatch.setattr(freezing, "MAX_FROZEN_BYTES", 0)
    free = load_model(ModelConfig(path=path))
    gc.collect()  # the variables must still be there
    assert frozen.frozen and not free.frozen and frozen.digest == free.digest
    (x,) = draw((4,))
    assert_same(explain(free, x, target=0), explain(frozen, x, target=0))


def test_a_lookup_table_gives_what_a_constant_does(model_of):
    table = tf.lookup.StaticHashTable(tf.lookup.KeyValueTensorInitializer([0, 1], [2.0, 3.0]), -1.0)

    def looked_up(x):
        return tf.tanh(x) * table.lookup(tf.constant(1))

    def constant(x):
        return tf.tanh(x) * 3.0

    spec = ([None, 2], "float32")
    free, frozen = model_of(looked_up, variables=[table], x=spec), model_of(constant, x=spec)
    assert frozen.frozen and not free.frozen
    (x,) = draw((2,))
    assert_same(explain(free, x, target=0), explain(frozen, x, target=0))


def test_softmax_over_one_entry_is_refused(model_of):
    with pytest.raises(UsageError, match="E_MODEL_ACTIVATION"):
        model_of(falling, activation="softmax", x=([None, 6], "float32"))
