"""The axioms of "Axiomatic Attribution for Deep Networks" (Sundararajan et al. 2017)."""

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from models import EPS, mlp, rounding, square, square_written_out

few = settings(max_examples=6, deadline=None)
seeds = given(seed=st.integers(0, 2**32 - 1))
ROWS, N = 4, 6


def rows(seed, columns=N):
    return np.random.default_rng(seed).normal(size=(ROWS, columns)).astype(np.float32)


def size(found):
    """Each row's largest |A|, [rows, 1]: what rounding is relative to."""
    return np.abs(found.attributions["x"]).max(axis=1, keepdims=True)


@few
@seeds
@pytest.mark.parametrize("target", [0, 2])
def test_completeness(model_of, explainer, target, seed):
    model = model_of(mlp, x=([None, N], "float64"))
    found = explainer(model, steps=64, target=target).explain(rows(seed), baselines=rows(seed + 1))
    # tanh of at most about ±30 along the path has its poles off it by π/60 of its length: 64 Gauss-Legendre nodes leave
    # (1 + 2π/60)^−128 ≈ 3e-6 of the size of the terms; the outputs and attributions are float32
    terms = np.abs(found.attributions["x"]).sum(axis=1) + np.abs(found.output) + np.abs(found.baseline_output)
    assert (np.abs(found.delta) <= (3e-6 + 8 * EPS) * terms + 1e-6).all()
    assert (np.abs(found.output - found.baseline_output) > 1e-3).any()  # there was something to complete


def ignores_some(x, unused):
    del unused
    return tf.reduce_sum(tf.sin(x[:, :2]), axis=1)


@few
@seeds
def test_sensitivity_b_what_is_not_used_gets_nothing(model_of, explainer, seed):
    model = model_of(ignores_some, x=([None, N], "float32"), unused=([None, 3], "float32"))
    found = explainer(model, steps=8).explain({"x": rows(seed), "unused": rows(seed, 3)})
    assert not found.attributions["x"][:, 2:].any()
    assert found.attributions["x"][:, :2].any()
    # alibi raises when a whole input is unused
    assert found.attributions["unused"].shape == (ROWS, 3) and not found.attributions["unused"].any()


def test_sensitivity_a_one_differing_feature_gets_the_whole_difference(model_of, explainer):
    model = model_of(mlp, x=([None, N], "float32"))
    start = rows(5)
    x = start.copy()
    x[:, 2] += 1
    found = explainer(model, steps=32, target=1).explain(x, baselines=start)
    others = np.delete(found.attributions["x"], 2, axis=1)
    assert not others.any()
    difference = found.output - found.baseline_output
    assert (np.abs(difference) > 1e-3).all()
    # outputs: 14 products and as many roundings behind each
    np.testing.assert_allclose(found.attributions["x"][:, 2], difference, rtol=0, atol=rounding(32, 8))


@few
@seeds
def test_a_feature_at_its_baseline_gets_nothing(model_of, explainer, seed):
    model = model_of(mlp, x=([None, N], "float32"))
    x, start = rows(seed), rows(seed + 1)
    same = np.random.default_rng(seed).random(x.shape) < 0.5
    start[same] = x[same]
    found = explainer(model, steps=8, target=0).explain(x, baselines=start)
    assert not found.attributions["x"][same].any()
    assert found.attributions["x"][~same].all()


@few
@seeds
def test_implementation_invariance(model_of, explainer, seed):
    spec = ([None, N], "float64")
    one, other = (
        explainer(model_of(function, x=spec), steps=16).explain(rows(seed)) for function in (square, square_written_out)
    )
    # float64 inside: the two differ by their last rounding to float32, where cancellation adds nothing
    np.testing.assert_allclose(one.attributions["x"], other.attributions["x"], rtol=EPS, atol=1e-12)


def parts_and_their_sum(x):
    first, second = tf.reduce_sum(tf.sin(x), axis=1), tf.reduce_prod(x, axis=1)
    return tf.stack([first, second, 2 * first - 3 * second], axis=1)


@few
@seeds
def test_linearity(model_of, explainer, seed):
    model = model_of(parts_and_their_sum, x=([None, N], "float64"))
    first, second, both = (
        explainer(model, steps=8, target=target).explain(rows(seed)).attributions["x"].astype(np.float64)
        for target in (0, 1, 2)
    )
    # three float32 results, each half a spacing off
    limit = EPS / 2 * (2 * np.abs(first) + 3 * np.abs(second) + np.abs(both)) + 1e-12
    assert (np.abs(both - (2 * first - 3 * second)) <= limit).all()


def symmetric(x):
    return tf.tanh(x[:, 0] + x[:, 1]) * x[:, 2] + x[:, 0] * x[:, 1] + x[:, 3]


@few
@seeds
def test_symmetry(model_of, explainer, seed):
    model = model_of(symmetric, x=([None, N], "float32"))
    x, start = rows(seed), rows(seed + 1)
    x[:, 1], start[:, 1] = x[:, 0], start[:, 0]
    found = explainer(model, steps=8).explain(x, baselines=start).attributions["x"]
    # the same operations in another order: eight products summed, each gradient of two terms no larger than |x| + 1
    scale = np.abs(x - start)[:, 0] * (np.abs(x).max() + np.abs(start).max() + 1)
    assert (np.abs(found[:, 0] - found[:, 1]) <= rounding(8, scale)).all()
    assert found[:, 0].all()


def test_swapping_input_and_baseline_changes_the_sign_only(model_of, explainer):
    model = model_of(mlp, x=([None, N], "float64"))
    x, start = rows(1), rows(2)
    there = explainer(model, steps=9, target=0).explain(x, baselines=start)
    back = explainer(model, steps=9, target=0).explain(start, baselines=x)
    # the nodes are symmetric, so the same points are summed in the opposite order, in float64
    limit = EPS * size(there)
    assert (np.abs(there.attributions["x"] + back.attributions["x"]) <= limit).all()
