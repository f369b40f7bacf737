"""`model.layer`: what is explained is the layer's value; oracles: closed forms, and the rest as a model of its own."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from layer_models import (
    IDS,
    TOKENS,
    WIDTH,
    bypass,
    kept,
    lookup,
    mixed,
    nested_text_model,
    refusing,
    squared,
    text_model,
)
from models import EPS, save_function, saved_keras, with_embedding

from transforms.attribution.batch import Batch
from transforms.attribution.config import AttributionConfig, ModelConfig
from transforms.attribution.explainer import Explainer
from transforms.attribution.model import anatomy, freezing, keras_layers
from transforms.attribution.model.layers import Layer
from transforms.attribution.model.model import load_model
from transforms.errors import UsageError

STEPS = 8
# a sum of eight weighted gradients, each with about 16 roundings behind it, of at most 2^-24 of the largest |A|
SAME = (STEPS + 16) * EPS / 2


def explained(path, inputs, layer=None, target=1, **fields):
    config = AttributionConfig(**{"steps": STEPS, "target": target} | fields)
    return Explainer.load(ModelConfig(path=path, layer=layer), config).explain(inputs)


def assert_close(found, expected, scale=1.0):
    assert np.abs(expected).max() > 0
    np.testing.assert_allclose(found, expected, rtol=0, atol=scale * SAME * np.abs(expected).max())


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    """The path of the text model without a mask, that of what comes after its embedding, and the table."""
    folder, (model, rest) = tmp_path_factory.mktemp("text"), text_model(mask=False)
    table = model.get_layer("embedding").get_weights()[0]
    return kept(folder / "whole", model), kept(folder / "rest", rest), table


@pytest.mark.parametrize("pad", [0, 3])
def test_an_embedding_is_explained_as_the_input_of_what_follows(text, pad):
    """captum's and alibi's definition: from the embedding of the pad ids to that of the row."""
    path, rest, table = text
    found = explained(path, IDS, "embedding", baseline={"input": pad})
    starts = np.broadcast_to(table[pad], (TOKENS, WIDTH))
    config = AttributionConfig(steps=STEPS, target=1)
    expected = Explainer.load(ModelConfig(path=rest), config).explain(table[IDS], baselines=starts)
    assert found.attributions["embedding"].shape == (*IDS.shape, WIDTH)
    assert_close(found.attributions["embedding"], expected.attributions["embedding"])
    assert_close(found.output, expected.output)
    assert_close(found.baseline_output, expected.baseline_output)
    # tanh of small values over eight Gauss-Legendre nodes: complete up to rounding
    assert set(found.status) == {"ok"} and (np.abs(found.delta) <= 8 * SAME * np.abs(found.output)).all()
    # a token that is the baseline's gets nothing
    assert not found.attributions["embedding"][pad == IDS].any()


METHODS = [
    {"method": "idgi"},
    {"method": "guided_integrated_gradients"},
    {"method": {"name": "blur_integrated_gradients", "max_sigma": 2.0}},
    {"method": "input_x_gradient", "noise": {"kind": "smoothgrad", "draws": 4, "sigma": 0.1}},
    {"method": "expected_gradients", "baseline": {"uniform": [-1, 1], "draws": 4}},
    {"method": {"name": "smooth_taylor"}, "baseline": {"gaussian": 0.1, "draws": 4}},
]


@pytest.mark.parametrize("fields", METHODS, ids=str)
def test_every_method_explains_a_layer_as_the_input_of_what_follows(text, fields):
    path, rest, table = text
    found, expected = explained(path, IDS, "embedding", **fields), explained(rest, table[IDS], **fields)
    assert_close(found.attributions["embedding"], expected.attributions["embedding"])
    assert found.steps.tolist() == expected.steps.tolist() and found.status.tolist() == expected.status.tolist()


def test_the_closed_form_of_a_square(tmp_path):
    model, table, weights = squared()
    path = kept(tmp_path, model)
    for baseline, start in (
        ({"input": 2}, table[2]),
        ("zeros", np.zeros(WIDTH)),
        ({"constant": 0.5}, np.full(WIDTH, 0.5)),
    ):
        found = explained(path, IDS, "embedding", target=None, baseline=baseline)
        ends, starts = table[IDS].astype(np.float64), np.broadcast_to(start, (TOKENS, WIDTH)).astype(np.float64)
        totals = (weights * ends).sum(axis=(1, 2)) + (weights * starts).sum()
        # s + s' may cancel: what is left of it has the rounding of its terms
        scale = (np.abs(weights * ends).sum(axis=(1, 2)) + np.abs(weights * starts).sum()) / np.abs(totals)
        exact = (ends - starts) * weights * totals[:, None, None]
        for row, values in enumerate(found.attributions["embedding"]):
            assert_close(values, exact[row], scale[row])


def test_padding_that_is_masked_gets_nothing_and_the_rest_is_as_if_it_were_not_there(tmp_path):
    model, rest = text_model(mask=True)
    path, rest_path = kept(tmp_path / "whole", model), kept(tmp_path / "rest", rest)
    table = model.get_layer("embedding").get_weights()[0]
    loaded = load_model(ModelConfig(path=path, layer="embedding"))
    # the mask is computed from the ids: they lead past the layer, and are held
    assert [(spec.name, spec.explained) for spec in loaded.inputs] == [("embedding", True), ("ids", False)]
    found = explained(path, IDS, "embedding")
    assert table[0].all() and (found.attributions["embedding"][IDS == 0] == 0).all()
    assert set(found.status) == {"ok"}
    for row, ids in enumerate(IDS):
        alone = explained(rest_path, table[ids[ids > 0]][np.newaxis])
        assert_close(found.attributions["embedding"][row][ids > 0], alone.attributions["embedding"][0])


def test_nested_layers(text, tmp_path):
    path = kept(tmp_path, nested_text_model())
    expected = explained(text[0], IDS, "embedding").attributions["embedding"]
    for layer, name in (("reader/embedding", "reader_embedding"), ("reader", "reader")):
        assert_close(explained(path, IDS, layer).attributions[name], expected)


def test_a_saved_models_op_is_a_keras_layer(text, tmp_path):
    exported = saved_keras(tmp_path, keras.saving.load_model(text[0]), "exported")
    expected = explained(text[0], IDS, "embedding", baseline={"input": 0})
    with pytest.raises(UsageError, match="E_MODEL_NOT_DIFFERENTIABLE") as caught:
        load_model(ModelConfig(path=exported))
    full = caught.value.message.rpartition("model.layer: ")[2]
    end = "/".join(full.split("/")[-2:])
    for layer in (full, f"{full}:0", end):
        found = explained(exported, IDS, layer, baseline={"input": 0})
        assert set(found.attributions) == {layer.removesuffix(":0").replace("/", "_")}
        (values,) = found.attributions.values()
        assert np.array_equal(values, expected.attributions["embedding"])
        assert np.array_equal(found.delta, expected.delta)


def test_a_lookup_of_tensorflows_own(tmp_path):
    lookup.table = tf.Variable(np.random.default_rng(1).normal(size=(9, WIDTH)).astype(np.float32))
    path = save_function(tmp_path / "saved", lookup, [lookup.table], ids=([None, TOKENS], "int64"))
    with pytest.raises(UsageError, match=r"E_MODEL_NOT_DIFFERENTIABLE.*model\.layer: .*vectors"):
        load_model(ModelConfig(path=path))
    vectors = lookup.table.numpy()[IDS].astype(np.float64)
    found = explained(path, IDS, "vectors", target=None)
    # each value has a curve of its own: all of F's change in it is its
    assert_close(found.attributions["vectors"], np.tanh(vectors + 0.3) - np.tanh(0.3), scale=4)


@pytest.mark.parametrize("kind", ["keras", "exported"])
def test_every_layer_that_inspect_lists_can_be_explained(tmp_path, kind):
    path = kept(tmp_path, mixed(), kind)
    listed = [layer for layer in anatomy.dissect(path).layers if layer.kind != "InputLayer"]
    assert len(listed) > 4 and sum(layer.embedding for layer in listed) == 1
    for layer in listed:
        loaded = load_model(ModelConfig(path=path, layer=layer.name))
        assert (None, *loaded.explained[0].shape) == layer.output
        assert {spec.name for spec in loaded.sources} == {"ids", "age"}


@pytest.mark.parametrize("kind", ["keras", "exported"])
def test_a_residual_bypass_keeps_its_delta(tmp_path, kind):
    model, w, a, b = bypass()
    path = kept(tmp_path, model, kind)
    (layer,) = (one.name for one in anatomy.dissect(path).layers if one.name == "hidden" or one.kind == "Tanh")
    x = np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32)
    through, past = np.tanh(x @ w) * a, x @ b
    at_zeros = explained(path, x, layer, target=None)
    at_input = explained(path, x, layer, target=None, baseline={"input": 0.5})
    start = np.full(3, 0.5, np.float32)
    for found, origin, missed in (
        (at_zeros, 0.0, np.zeros(4)),
        (at_input, np.tanh(start @ w) * a, start @ b - past),
    ):
        (values,) = found.attributions.values()
        assert_close(values, through - origin, scale=4)
        assert_close(found.output, through.sum(axis=1) + past, scale=4)
        np.testing.assert_allclose(found.delta, missed, rtol=0, atol=8 * SAME * np.abs(past).max())
    assert set(at_zeros.status) == {"ok"} and set(at_input.status) == {"unconverged"}
    assert_close(at_zeros.baseline_output, past, scale=4)


def test_inputs_that_a_layer_does_not_read_stay_at_the_row(tmp_path):
    model = mixed()
    path = kept(tmp_path, model)
    inputs = {"ids": IDS, "age": np.random.default_rng(0).normal(size=(len(IDS), 2)).astype(np.float32)}
    found = explained(path, inputs, "embedding", target=None, baseline={"input": 0})
    start = model([np.zeros_like(IDS), inputs["age"]]).numpy()[:, 0]
    assert set(found.attributions) == {"embedding"}
    assert_close(found.baseline_output, start, scale=4)
    assert set(found.status) == {"ok"}
    both = explained(path, inputs, "both", target=None, baseline={"input": 1})
    assert_close(both.baseline_output, np.repeat(model([np.ones((1, TOKENS)), np.ones((1, 2))]), len(IDS)), scale=4)
    weights = model.get_layer("score").get_weights()[0][:, 0]
    hidden = keras.Model(model.inputs, model.get_layer("both").output)
    start, end = hidden([np.ones((1, TOKENS)), np.ones((1, 2))]).numpy(), hidden([IDS, inputs["age"]]).numpy()
    assert_close(both.attributions["both"], (end - start) * weights, scale=4)


def test_values_do_not_depend_on_calls_or_batches(text):
    path, _, _ = text
    config = AttributionConfig(steps=STEPS, target="predicted", baseline={"input": 0}, batch_size=4)
    engine = Explainer.load(ModelConfig(path=path, layer="embedding"), config)
    whole = engine.explain(IDS)
    parts = list(engine.stream(Batch({"ids": IDS[rows]}) for rows in ([0], [1, 2], [3])))
    assert np.array_equal(
        np.concatenate([part.attributions["embedding"] for part in parts]), whole.attributions["embedding"]
    )
    assert np.array_equal(np.concatenate([part.delta for part in parts]), whole.delta)


def test_calls_that_do_not_fit_are_halved_and_a_row_that_does_not_is_lost(text, monkeypatch):
    path, _, _ = text
    expected = explained(path, IDS, "embedding")
    values, sizes = Layer.values, []

    def short_of_memory(layer, sources):
        sizes.append(len(sources[0]))
        if (len(sources[0]) > 1 and len(sizes) > 1) or (sources[0] == 8).any():
            raise tf.errors.ResourceExhaustedError(None, None, "memory")
        return values(layer, sources)

    monkeypatch.setattr(Layer, "values", short_of_memory)
    found = explained(path, IDS, "embedding")
    assert max(sizes[1:]) > 1 and found.rows.tolist() == [0, 2, 3]
    assert found.faults[1].code == "E_OUT_OF_MEMORY"
    assert_close(found.attributions["embedding"], expected.attributions["embedding"][[0, 2, 3]])


def test_an_id_that_the_table_does_not_have_costs_its_row(text):
    path, _, _ = text
    ids = IDS.copy()
    ids[0, 2], ids[2, 1] = 9, 2**31 - 1
    for fields in ({}, {"steps": "auto"}, {"noise": {"kind": "smoothgrad", "draws": 2, "sigma": 0.1}}):
        found, kept = (
            explained(path, ids, "embedding", **fields),
            explained(path, IDS, "embedding", **fields).some([1, 3]),
        )
        assert found.rows.tolist() == [1, 3]
        assert {row: fault.code for row, fault in found.faults.items()} == dict.fromkeys((0, 2), "E_MODEL_INPUT_VALUE")
        assert "indices[0,2] = 9 is not in [0, 9)" in found.faults[0].message
        assert_close(found.attributions["embedding"], kept.attributions["embedding"])
    with pytest.raises(UsageError, match=r"E_MODEL_INPUT_VALUE: at the baseline, .* = 12 is not in \[0, 9\)"):
        explained(path, IDS, "embedding", baseline={"input": 12})


def test_several_baselines_noise_and_ranks(text):
    path, _, _ = text
    listed = [explained(path, IDS, "embedding", baseline={"constant": value}) for value in (0.0, 0.25)]
    found = explained(path, IDS, "embedding", baseline=["zeros", {"constant": 0.25}])
    mean = np.mean([one.attributions["embedding"] for one in listed], axis=0)
    assert_close(found.attributions["embedding"], mean)
    assert found.baseline_spread.all()
    settings = {"noise": {"kind": "smoothgrad", "draws": 3, "sigma": 1e-6}, "baseline": {"input": 0}}
    noisy, plain = (explained(path, IDS, "embedding", **fields) for fields in (settings, {"baseline": {"input": 0}}))
    # noise of 1e-6 moves values of size 0.1 by a few times as much
    np.testing.assert_allclose(noisy.attributions["embedding"], plain.attributions["embedding"], atol=1e-5)
    assert_close(noisy.baseline_output, plain.baseline_output)
    ranked = explained(path, IDS, "embedding", target={"top_k": 2})
    assert ranked.attributions["embedding"].shape == (2 * len(IDS), TOKENS, WIDTH)


@pytest.mark.parametrize("hoist", [True, False])
def test_the_affine_part_behind_a_layer_is_hoisted(tmp_path, hoist):
    keras.utils.set_random_seed(1)
    x = keras.Input((4,), name="x")
    wide = keras.layers.Dense(6, activation="tanh", name="wide")(x)
    model = keras.Model(x, keras.layers.Dense(2)(keras.layers.Dense(3, activation="tanh")(wide)))
    loaded = load_model(ModelConfig(path=kept(tmp_path, model), layer="wide"), hoist)
    assert (loaded.stem is not None) == hoist
    rows = np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32)
    rest = keras.Model(wide, model.output)
    expected = explained(kept(tmp_path / "rest", rest), keras.Model(x, wide)(rows).numpy(), hoist=False)
    found = Explainer(loaded, AttributionConfig(steps=STEPS, target=1)).explain(rows)
    assert_close(found.attributions["wide"], next(iter(expected.attributions.values())), scale=2)


def test_bfloat16_is_held_to_the_tolerance(text):
    path, _, _ = text
    full = explained(path, IDS, "embedding", steps="auto", tolerance=1e-3)
    found = explained(path, IDS, "embedding", steps="auto", tolerance=0.05, precision="bfloat16")
    apart = np.abs(found.attributions["embedding"] - full.attributions["embedding"]).sum(axis=(1, 2))
    assert set(found.status) == {"ok"}
    assert (apart <= 0.051 * np.abs(full.attributions["embedding"]).sum(axis=(1, 2))).all()


def test_a_layer_of_half_precision_is_explained_in_float32(tmp_path):
    keras.utils.set_random_seed(1)
    x = keras.Input((4,), name="x")
    half = keras.layers.Dense(3, name="half", dtype="float16")(x)
    model = keras.Model(x, keras.layers.Dense(1, dtype="float32", use_bias=False)(keras.ops.cast(half, "float32")))
    rows = np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32)
    found = explained(kept(tmp_path, model), rows, "half", target=None)
    weights, values = model.layers[-1].get_weights()[0][:, 0], keras.Model(x, half)(rows).numpy()
    # the points go in as float16, and the gradient comes back through it: 2^-11 each
    np.testing.assert_allclose(found.attributions["half"], values * weights, rtol=3 * 2.0**-11)


def test_the_model_is_left_as_it_was(text):
    """alibi patches a layer, and leaves it patched when a call fails."""
    model, _ = text_model(mask=False)
    layer = keras_layers.find_layer(model, "embedding")
    before = model(IDS).numpy()
    with pytest.raises(ZeroDivisionError), keras_layers.marked(layer, "embedding"):
        assert "call" in vars(layer)
        raise ZeroDivisionError
    assert "call" not in vars(layer)
    assert np.array_equal(model(IDS).numpy(), before)


def refusal(path, layer, **fields):
    with pytest.raises(UsageError) as caught:
        load_model(ModelConfig(path=path, layer=layer, **fields))
    assert caught.value.code == "E_MODEL_LAYER"
    return caught.value.message


def test_layers_that_cannot_be_explained(tmp_path):
    model = refusing()
    path = kept(tmp_path, model)
    ops = {type(one).__name__: one.name for one in reversed(model.operations)}
    assert "used 2 times" in refusal(path, "twice", output="wanted")
    assert "gives no tensor, but a" in refusal(path, ops["Unstack"], output="wanted")
    assert "gives int32" in refusal(path, ops["Cast"], output="wanted")
    assert "nothing that the explained output depends on" in refusal(path, "aside", output="wanted")
    assert "is an input" in refusal(path, "x", output="wanted")
    assert "near are ['twice'" in refusal(path, "twic", output="wanted")
    turned = load_model(ModelConfig(path=path, layer=ops["Transpose"], output="wanted"))
    with pytest.raises(UsageError, match=r"E_MODEL_LAYER: .*gives \[4, 3\] for 3 rows"):
        Explainer(turned, AttributionConfig(steps=1)).explain(np.ones((2, 4), np.float32))


def test_ops_that_cannot_be_explained(tmp_path):
    path = kept(tmp_path, with_embedding(False), "exported")
    assert "is the end of 3 names, near are" in refusal(path, "ReadVariableOp")
    assert "is no op of the model's graph, near are" in refusal(path, "GatherV3")
    assert "lists them" in refusal(path, "")
    assert "gives int32" in refusal(path, "tokens")


def test_a_model_that_cannot_be_frozen_has_no_layers(text, monkeypatch):
    monkeypatch.setattr(freezing, "MAX_FROZEN_BYTES", 0)
    assert "cannot be cut" in refusal(text[0], "embedding")
    with pytest.raises(UsageError, match="E_MODEL_NOT_DIFFERENTIABLE") as caught:
        load_model(ModelConfig(path=text[0]))
    assert "model.layer: " not in caught.value.message


@pytest.mark.parametrize(
    ("layer", "baseline", "code"),
    [
        ("embedding", {"column": "start"}, "E_BASELINE_INPUT"),
        ("embedding", {"input": 0.5}, "E_BASELINE_DTYPE"),
        ("embedding", {"input": [[1], [1, 2]]}, "E_BASELINE_DTYPE"),
        ("embedding", {"input": [1, 2, 3]}, "E_BASELINE_SHAPE"),
        ("embedding", {"constant": [1, 2]}, "E_BASELINE_SHAPE"),
        ("embedding", {"ids": {"constant": 0}}, "E_BASELINE_INPUT"),
    ],
)
def test_baselines_that_do_not_fit(text, layer, baseline, code):
    with pytest.raises(UsageError) as caught:
        explained(text[0], IDS, layer, baseline=baseline)
    assert caught.value.code == code


def test_a_value_of_the_input_is_for_layers(text):
    with pytest.raises(UsageError, match=r"E_BASELINE_INPUT: .*without model\.layer"):
        explained(text[1], np.ones((1, TOKENS, WIDTH), np.float32), baseline={"input": 0})
