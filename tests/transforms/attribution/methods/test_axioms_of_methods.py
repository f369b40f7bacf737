"""Which axioms each method keeps, on small random networks and random data; `test_axioms.py` has integrated gradients'.

Sources: Sundararajan et al. 2017, and Friedman, "Paths and Consistency in Additive Cost Sharing", 2004.
"""

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from models import EPS, rounding, square, square_written_out

from transforms.attribution.methods import METHODS, is_complete

few = settings(max_examples=4, deadline=None)
seeds = given(seed=st.integers(0, 2**32 - 1))
ROWS, N = 4, 6
SPEC = ([None, N], "float64")
SMALL = {"draws": 4, "gaussian": 0.1}
FIELDS = {
    "integrated_gradients": {"steps": 64},
    "expected_gradients": {"baseline": {"uniform": [-1.0, 1.0], "draws": 20}},
    "blur_integrated_gradients": {"method": {"name": "blur_integrated_gradients", "max_sigma": 2.0}, "steps": 64},
    "guided_integrated_gradients": {"steps": 100},
    "idgi": {"steps": 40},
    "smooth_taylor": {"baseline": SMALL},
    "saliency": {},
    "input_x_gradient": {},
}
COMPLETE = {"integrated_gradients", "blur_integrated_gradients", "guided_integrated_gradients", "idgi"}
# the path of the one, and the share of the other, depend on F in other ways than by its gradient alone
LINEAR = set(FIELDS) - {"guided_integrated_gradients", "idgi"}
# the others draw something of each feature, or know its neighbours
SYMMETRIC = set(FIELDS) - {"expected_gradients", "smooth_taylor", "blur_integrated_gradients"}
FROM_A_BASELINE = {"integrated_gradients", "guided_integrated_gradients", "idgi"}


def fields(name, **more):
    return {"method": name} | FIELDS[name] | more


def rows(seed):
    return np.random.default_rng(seed).normal(size=(ROWS, N)).astype(np.float32)


def small_net(x, seed, used=N):
    """A network of random weights, tanh and ReLU, of the first `used` features: [batch, N] → [batch, 3]."""
    random = np.random.default_rng(seed)
    first, second = random.normal(size=(used, 8)) / 2, random.normal(size=(8, 3))
    hidden = x[:, :used] @ tf.constant(first, x.dtype) + 0.3
    return (tf.tanh(hidden) + 0.1 * tf.nn.relu(hidden)) @ tf.constant(second, x.dtype)


def net_one(x):
    return small_net(x, 1)


def net_two(x):
    return small_net(x, 2)


def four_features(x):
    return small_net(x, 3, used=4)


def test_every_method_is_here_but_the_one_of_the_users():
    assert set(FIELDS) | {"path_integrated_gradients"} == set(METHODS)


@few
@seeds
@pytest.mark.parametrize("net", [net_one, net_two])
@pytest.mark.parametrize("name", sorted(COMPLETE))
def test_completeness(model_of, explainer, name, net, seed):
    found = explainer(model_of(net, x=SPEC), **fields(name, target=1)).explain(rows(seed))
    size = np.abs(found.attributions["x"]).sum(axis=1)
    # a step of a sum of left ends is off by half of what the gradient changes over it: of 100, 1/200 of its variation,
    # which kinks and tanh' keep within a few times the gradient itself. A rule misplaces a kink by half a node's
    # weight, at most π/(2·64), and the jumps of a tenth of a ReLU are less than the gradient; the sum of IDGI is exact
    limit = {"guided_integrated_gradients": 8 / 200, "idgi": 0.0}.get(name, np.pi / (4 * 64)) * size
    outputs = np.abs(found.output) + np.abs(found.baseline_output)
    assert (np.abs(found.delta) <= limit + 16 * EPS * (size + outputs + 1)).all()
    assert is_complete(explainer(model_of(net, x=SPEC), **fields(name, target=1)).config)


@pytest.mark.parametrize("name", sorted(set(FIELDS) - COMPLETE))
def test_what_is_not_complete_says_so_or_is_on_average(model_of, explainer, name):
    engine = explainer(model_of(net_one, x=SPEC), **fields(name, target=1))
    found = engine.explain(rows(0))
    missing = np.abs(found.delta) > 1e-3 * np.abs(found.attributions["x"]).sum(axis=1)
    assert missing.all()
    if name == "expected_gradients":
        assert is_complete(engine.config) and (found.status == "unconverged").all()
    else:
        assert not is_complete(engine.config)


@few
@seeds
@pytest.mark.parametrize("name", sorted(FROM_A_BASELINE))
def test_sensitivity_a_the_only_feature_that_differs_gets_something(model_of, explainer, name, seed):
    start = rows(seed)
    x = start.copy()
    x[:, 2] += 1
    found = explainer(model_of(net_one, x=SPEC), **fields(name, target=1)).explain(x, baselines=start)
    moved = found.output != found.baseline_output
    assert moved.any() and found.attributions["x"][moved, 2].all()


@few
@seeds
@pytest.mark.parametrize("name", sorted(FIELDS))
def test_sensitivity_b_what_is_not_used_gets_nothing(model_of, explainer, name, seed):
    found = explainer(model_of(four_features, x=SPEC), **fields(name, target=0)).explain(rows(seed))
    assert found.attributions["x"][:, :4].all()
    assert not found.attributions["x"][:, 4:].any()


@few
@seeds
@pytest.mark.parametrize("name", sorted(FIELDS))
def test_implementation_invariance(model_of, explainer, name, seed):
    one, other = (
        explainer(model_of(function, x=SPEC), **fields(name)).explain(rows(seed)).attributions["x"]
        for function in (square, square_written_out)
    )
    # float64 inside: the two differ by their last rounding to float32
    np.testing.assert_allclose(one, other, rtol=2 * EPS, atol=1e-10 * np.abs(one).max())


def parts_and_their_sum(x):
    first, second = tf.reduce_sum(tf.sin(x), axis=1), tf.reduce_prod(x[:, :3], axis=1)
    return tf.stack([first, second, 2 * first - 3 * second], axis=1)


@few
@seeds
@pytest.mark.parametrize("name", sorted(LINEAR))
def test_linearity(model_of, explainer, name, seed):
    model = model_of(parts_and_their_sum, x=SPEC)
    first, second, both = (
        explainer(model, **fields(name, target=target)).explain(rows(seed)).attributions["x"].astype(np.float64)
        for target in (0, 1, 2)
    )
    # three float32 results, each half a spacing off; of a mean over draws, each draw's value is rounded
    term = (np.abs(rows(seed)).max() + 1) * (2 + 3 * (np.abs(rows(seed)).max() + 1) ** 2)
    drawn = term if name in ("smooth_taylor", "expected_gradients") else 0
    limit = EPS * (2 * np.abs(first) + 3 * np.abs(second) + np.abs(both) + drawn) + 1e-9
    assert (np.abs(both - (2 * first - 3 * second)) <= limit).all()


def alike(x):
    return tf.tanh(x[:, 0] + x[:, 1]) * x[:, 2] + x[:, 0] * x[:, 1] + x[:, 3]


@few
@seeds
@pytest.mark.parametrize("name", sorted(SYMMETRIC))
def test_symmetry(model_of, explainer, name, seed):
    x = rows(seed)
    x[:, 1] = x[:, 0]
    found = explainer(model_of(alike, x=SPEC), **fields(name)).explain(x).attributions["x"]
    steps = FIELDS[name].get("steps", 1)
    scale = (np.abs(x).max() + 1) ** 2
    assert (np.abs(found[:, 0] - found[:, 1]) <= rounding(steps, scale)).all()
    assert found[:, 0].all()
