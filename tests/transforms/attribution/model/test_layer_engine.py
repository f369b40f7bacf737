"""What the engine does for inputs it does for a layer: calls, faults, baselines, noise, ranks, hoisting, precision."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from explained_layers import STEPS, assert_close, explained
from layer_models import (
    IDS,
    TOKENS,
    WIDTH,
    kept,
    text_model,
)

from transforms.attribution.batch import Batch
from transforms.attribution.config import AttributionConfig, ModelConfig
from transforms.attribution.explainer import Explainer
from transforms.attribution.model import keras_layers
from transforms.attribution.model.layers import Layer
from transforms.attribution.model.model import load_model
from transforms.errors import UsageError


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
