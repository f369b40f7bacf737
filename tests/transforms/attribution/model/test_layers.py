"""`model.layer`: what is explained is the layer's value; oracles: closed forms, and the rest as a model of its own."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from explained_layers import SAME, STEPS, assert_close, explained
from layer_models import (
    IDS,
    TOKENS,
    WIDTH,
    bypass,
    kept,
    lookup,
    mixed,
    nested_text_model,
    squared,
    text_model,
)
from models import save_function, saved_keras

from transforms.attribution.config import AttributionConfig, ModelConfig
from transforms.attribution.explainer import Explainer
from transforms.attribution.model import anatomy
from transforms.attribution.model.model import load_model
from transforms.errors import UsageError


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
