"""Padding: a model that masks it gives the same values for every length, and one that does not says so in its delta."""

import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers
from models import EPS

from transforms.attribution.batch import Batch
from transforms.attribution.config import AttributionConfig, ModelConfig
from transforms.attribution.engine.padding import cropped, held, own_lengths, restored
from transforms.attribution.explainer import Explainer
from transforms.attribution.model.model import load_model
from transforms.attribution.model.model_input import ModelInput

PAD = -1.0
LENGTHS = np.array([3, 10, 7, 1])
STEPS = [np.random.default_rng(row).random((length, 3)).astype(np.float32) for row, length in enumerate(LENGTHS)]
WEIGHTS = np.array([0.5, -2.0, 1.0], np.float32)


def padded(length, value=PAD, rows=STEPS):
    return np.stack([np.pad(row, ((0, length - len(row)), (0, 0)), constant_values=value) for row in rows])


def batch(length, value=PAD, **more):
    return Batch({"x": padded(length, value)}, lengths={"x": LENGTHS}, row_ids=[f"r{row}" for row in range(4)], **more)


def explained(explainer, given):
    (found,) = explainer.stream([given])
    return cropped(found, given, explainer.model, explainer.config)


@pytest.fixture(scope="module")
def masked(tmp_path_factory):
    """A recurrent model that skips steps of −1, and the mean of what it says at the others."""
    keras.utils.set_random_seed(3)
    x = keras.Input((None, 3), name="x")
    hidden = layers.Bidirectional(layers.GRU(4, return_sequences=True))(layers.Masking(PAD)(x))
    path = tmp_path_factory.mktemp("masked") / "model.keras"
    keras.Model(x, layers.Dense(3)(layers.GlobalAveragePooling1D()(hidden))).save(path)
    return load_model(ModelConfig(path=str(path)))


def sum_of_squares(x):
    """Σ w x² over steps and channels: a padding of p adds Σ w p² for every step of it."""
    return tf.reduce_sum(WEIGHTS * x * x, axis=[1, 2])


@pytest.fixture(scope="module")
def unmasked(model_of):
    return model_of(sum_of_squares, x=((None, None, 3), tf.float32))


FIELDS = [
    {},
    {"steps": 8, "method": "input_x_gradient"},
    {"steps": 8, "method": "saliency"},
    {"steps": 8, "baseline": ["zeros", {"constant": [0.5, 0.2, 0.1]}]},
    {"steps": 8, "baseline": {"max_distance": [0, 1]}},
]


@pytest.mark.parametrize("fields", FIELDS, ids=str)
def test_a_model_that_masks_gives_the_same_for_every_length(masked, fields):
    explainer = Explainer(masked, AttributionConfig(target=1, **fields))
    alone = [explainer.explain({"x": row[np.newaxis]}, row_ids=[f"r{at}"]) for at, row in enumerate(STEPS)]
    for length in (10, 16, 24):
        found = explained(explainer, batch(length))
        assert found.lengths["x"].tolist() == LENGTHS.tolist()
        for row, (wanted, own) in enumerate(zip(alone, LENGTHS, strict=True)):
            values = found.attributions["x"][row]
            assert not values[own:].any()
            assert np.abs(wanted.attributions["x"]).max() > 1e-3, "zeros would agree too"
            # float32 sums of at most 24 steps, eight nodes and a network of a dozen roundings: 50 · 2^-24 of 1
            np.testing.assert_allclose(values[:own], wanted.attributions["x"][0], atol=1e-6)
            np.testing.assert_allclose(found.output[row], wanted.output[0], atol=1e-6)
            np.testing.assert_allclose(found.delta[row], wanted.delta[0], atol=1e-6 * 30)
            assert found.status[row] == wanted.status[0]
            assert found.blind_share[row] == wanted.blind_share[0]


@pytest.mark.parametrize("noise", ["smoothgrad", "vargrad"])
def test_noise_leaves_padding_alone(masked, noise):
    """Noise on padding would unmask it: the rows would run on for as many steps as there are."""
    fields = {"target": 1, "steps": 4, "noise": {"kind": noise, "draws": 2, "sigma": 0.1}}
    found = explained(Explainer(masked, AttributionConfig(**fields)), batch(16))
    without = explained(Explainer(masked, AttributionConfig(target=1, steps=4)), batch(16))
    # of a noise of 0.1 outputs move by about 0.1 of their range; those of rows that ran on would be others
    np.testing.assert_allclose(found.output, without.output, atol=0.1)
    assert not found.attributions["x"][0, 3:].any()
    assert found.attributions["x"][0, :3].any()


@pytest.mark.parametrize("pad", [0.0, 2.0])
def test_padding_is_no_part_of_the_sum_even_where_the_model_sees_it(unmasked, pad):
    found = explained(Explainer(unmasked, AttributionConfig(steps=4, tolerance=1e-5)), batch(16, pad))
    for row, values in enumerate(STEPS):
        # the gradient of w x² grows linearly from 0: half of it on average, twice w x
        np.testing.assert_allclose(found.attributions["x"][row, : len(values)], WEIGHTS * values**2, rtol=20 * EPS)
        seen = float((WEIGHTS * pad**2).sum()) * (16 - len(values))
        exact = (WEIGHTS * values.astype(np.float64) ** 2).sum()
        # sums of 48 terms, each at most 2 · 4 in size
        assert abs(found.output[row] - exact - seen) <= 48 * EPS * 8 * 48
        assert abs(found.baseline_output[row] - seen) <= 48 * EPS * 8 * 48
        assert abs(found.delta[row]) <= 48 * EPS * 8 * 48


def test_what_fell_on_padding_is_delta(unmasked):
    """Where something else put values there, they are dropped, and delta tells of each of them."""
    explainer = Explainer(unmasked, AttributionConfig(steps=4))
    given = batch(16, 0.0)
    (whole,) = explainer.stream([given])
    values = whole.attributions["x"].copy()
    values[:, 10:] = 1.0
    values[0, 3:] = 0.25
    found = cropped(dataclasses.replace(whole, attributions={"x": values}), given, explainer.model, explainer.config)
    difference = whole.output.astype(np.float64) - whole.baseline_output
    kept = np.array([values[row, :length].sum(dtype=np.float64) for row, length in enumerate(LENGTHS)])
    np.testing.assert_allclose(found.delta, kept - difference, rtol=1e-12, atol=1e-12)
    one_lost = dataclasses.replace(whole, attributions={"x": np.roll(whole.attributions["x"], 1, axis=1)})
    found = cropped(one_lost, given, explainer.model, explainer.config)
    lost = np.array([WEIGHTS @ row[-1].astype(np.float64) ** 2 for row in STEPS])
    # what was rolled over the end is missing; the values themselves are rounded to float32
    np.testing.assert_allclose(found.delta, -lost, atol=30 * EPS * 10)
    assert set(found.status[np.abs(lost) > 0.1 * np.abs(difference)]) == {"unconverged"}
    np.testing.assert_allclose(found.relative_delta, np.abs(found.delta) / np.abs(difference), rtol=1e-12)


@pytest.mark.parametrize("length", [10, 16, 48])
def test_only_own_steps_can_be_blind(unmasked, length):
    rows = [row.copy() for row in STEPS]
    rows[1][:4, 0] = 0
    given = dataclasses.replace(batch(length, 0.0), inputs={"x": padded(length, 0.0, rows)})
    for fields in ({}, {"baseline": ["zeros", {"constant": 0.0}, {"constant": 2.0}]}):
        found = explained(Explainer(unmasked, AttributionConfig(steps=4, **fields)), given)
        share = 4 / 30 * (2 / 3 if fields else 1)
        np.testing.assert_allclose(found.blind_share, np.float32([0, share, 0, 0]), rtol=2 * EPS)


def test_one_baseline_for_all_rows_stays_one_where_padding_equals_it(unmasked):
    values, zeros = padded(16, 0.0), np.zeros((1, 16, 3), np.float32)
    assert held(batch(16, 0.0), unmasked, [values], [zeros])[0] is zeros
    (start,) = held(batch(16), unmasked, [padded(16)], [zeros])
    np.testing.assert_array_equal(start, padded(16, rows=[np.zeros_like(row) for row in STEPS]))
    np.testing.assert_array_equal(restored(np.zeros((4, 16, 3)), padded(16), LENGTHS), start)


def test_a_row_alone_does_not_lend_its_padding_to_the_next(unmasked):
    explainer = Explainer(unmasked, AttributionConfig(steps=4, baseline={"constant": 1.0}))
    together = explained(explainer, batch(16, 2.0))
    alone = [explained(explainer, batch(16, 2.0).some(np.array([row]))) for row in range(4)]
    assert len(set(together.baseline_output.tolist())) == 4
    for row, found in enumerate(alone):
        np.testing.assert_array_equal(found.baseline_output, together.baseline_output[row : row + 1])
        np.testing.assert_allclose(found.delta, 0, atol=48 * EPS * 8 * 48)


def test_several_targets_of_a_row_have_its_length(masked):
    found = explained(Explainer(masked, AttributionConfig(target={"top_k": 2}, steps=4)), batch(16))
    assert found.lengths["x"].tolist() == np.repeat(LENGTHS, 2).tolist()
    assert found.some(np.array([2])).lengths["x"].tolist() == [10]


def spec(name, shape):
    return ModelInput(name, shape, np.dtype(np.float32), np.dtype(np.float32), True)


def test_a_layer_follows_the_input_whose_length_it_has():
    ids, mask, age = spec("ids", (None,)), spec("mask", (None,)), spec("age", (16,))
    fed = {"ids": np.zeros((2, 16)), "mask": np.zeros((2, 16)), "age": np.zeros((2, 16))}
    given = Batch(fed, lengths={"ids": np.array([3, 9]), "mask": np.array([4, 9])})
    sources = [ids, mask, age]
    assert own_lengths(given, sources, mask, 16).tolist() == [4, 9]
    assert own_lengths(given, sources, age, 16) is None
    assert own_lengths(given, sources, spec("embedding", (None, 64)), 16).tolist() == [4, 9]
    assert own_lengths(given, sources, spec("halved", (None, 64)), 8) is None
    assert own_lengths(given, sources, spec("dense", (16,)), 16) is None


def test_a_layer_of_a_model_of_one_length_follows_too():
    ids = spec("ids", (16,))
    given = Batch({"ids": np.zeros((2, 16))}, lengths={"ids": np.array([3, 9])})
    assert own_lengths(given, [ids], spec("embedding", (16, 64)), 16).tolist() == [3, 9]
    assert own_lengths(given, [ids], spec("dense", (5,)), 5) is None
