"""Numbers under stress: what is not finite flags its own row, and the others are bit-equal to what they are without it.

Each kind of trouble comes from another place: the input, a weight that only some rows use, a gradient where the output
is finite, the output.
"""

import numpy as np
import pytest
import tensorflow as tf

N, ROWS, BAD = 6, 7, 3
SPEC = {"x": ([None, N], "float32"), "ids": ([None], "int64")}
TABLE = np.float32([0.5, np.nan, np.inf])


def fragile(x, ids):
    """v · tanh(W x₀…₃) + √relu(x₄) + table[ids] exp(x₅): infinite weights, gradients and outputs are a matter of x."""
    random = np.random.default_rng(7)
    first, second = random.normal(size=(4, 8)).astype(np.float32), random.normal(size=(8, 1)).astype(np.float32)
    smooth = (tf.tanh(x[:, :4] @ first) @ second)[:, 0]
    return smooth + tf.sqrt(tf.nn.relu(x[:, 4])) + tf.gather(tf.constant(TABLE), ids) * tf.exp(x[:, 5])


def rows():
    """x₄ is far from the kink at 0, also under noise."""
    x = np.random.default_rng(3).normal(size=(ROWS, N)).astype(np.float32) / 2
    x[:, 4] = 4 + x[:, 4]
    return x, np.zeros(ROWS, np.int64)


# (position, value) in the bad row, or its id
TROUBLE = {
    "NaN in the input": (0, np.nan),
    "infinity in the input": (4, np.inf),
    "minus infinity in the input": (5, -np.inf),
    "a huge input, an output beyond float32": (5, 200.0),
    "a gradient that is not finite": (4, -1.0),
    "a weight that is NaN": ("ids", 1),
    "a weight that is infinite": ("ids", 2),
}
METHODS = {
    "integrated_gradients": {"steps": 5},
    "integrated_gradients, auto": {},
    "several baselines": {"steps": 3, "baseline": [{"constant": 0.5}, {"uniform": [0.2, 1], "draws": 2}]},
    "expected_gradients": {"method": "expected_gradients", "steps": 4, "baseline": {"uniform": [0.2, 1], "draws": 4}},
    "guided": {"method": "guided_integrated_gradients", "steps": 4},
    "idgi": {"method": "idgi", "steps": 5, "rule": "riemann_left"},
    "smoothgrad": {"steps": 3, "noise": {"kind": "smoothgrad", "draws": 3, "sigma": 0.1}},
    "vargrad": {"method": "saliency", "noise": {"kind": "vargrad", "draws": 3, "sigma": 0.1}},
    "saliency": {"method": "saliency"},
    "input_x_gradient": {"method": "input_x_gradient"},
    "smooth_taylor": {"method": "smooth_taylor", "baseline": {"gaussian": 0.1, "draws": 4}},
}
FIELDS = ("output", "baseline_output", "delta", "relative_delta", "error_estimate", "steps", "status", "blind_share")


def troubled(kind):
    """The rows, of which one is in trouble."""
    x, ids = rows()
    place, value = TROUBLE[kind]
    if place == "ids":
        ids[BAD] = value
    else:
        x[BAD, place] = value
    return x, ids


def explained(engine, inputs, chosen):
    x, ids = inputs
    return engine.explain({"x": x[chosen], "ids": ids[chosen]}, row_ids=[f"row {row}" for row in chosen])


def numbers(found):
    """All that is said of each row, [rows] or [rows, N], by name."""
    said = {name: getattr(found, name) for name in FIELDS if getattr(found, name) is not None}
    return said | {"attributions": found.attributions["x"]}


def is_finite(found):
    parts = (found.attributions["x"], found.output[:, None], found.baseline_output[:, None], found.delta[:, None])
    return np.all([np.isfinite(part).all(axis=1) for part in parts], axis=0)


@pytest.fixture
def engine(model_of, explainer):
    def made(name):
        settings = {"batch_size": 8, "baseline": {"constant": 0.5}} | METHODS[name]
        return explainer(model_of(fragile, **SPEC), **settings)

    return made


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("kind", TROUBLE)
def test_trouble_flags_its_row_and_changes_no_bit_of_the_others(engine, name, kind):
    made, everyone = engine(name), np.arange(ROWS)
    clean, found = explained(made, rows(), everyone), explained(made, troubled(kind), everyone)
    assert "nonfinite" not in clean.status and is_finite(clean).all()
    others = everyone != BAD
    assert ((found.status == "nonfinite") == ~others).all()
    assert (is_finite(found) == others).all()
    for field, values in numbers(clean).items():
        assert values[others].tobytes() == numbers(found)[field][others].tobytes(), field


@pytest.mark.parametrize("name", METHODS)
def test_the_others_are_what_they_are_where_the_row_in_trouble_is_left_out(engine, name):
    made, others = engine(name), np.flatnonzero(np.arange(ROWS) != BAD)
    found = explained(made, troubled("NaN in the input"), np.arange(ROWS))
    for field, values in numbers(explained(made, rows(), others)).items():
        assert values.tobytes() == numbers(found)[field][others].tobytes(), field


@pytest.mark.parametrize("name", ["integrated_gradients", "saliency", "idgi"])
@pytest.mark.parametrize("tiny", [1e-45, 1e-40, -1e-39])
def test_a_denormal_input_counts_as_nothing(engine, name, tiny):
    """Beside values near 1 it is below every rounding: the row gets what 0 in its place gets."""
    made, (x, ids) = engine(name), rows()
    x[:, 0] = 0
    nothing = explained(made, (x, ids), np.arange(ROWS))
    x[:, 0] = tiny
    for field, values in numbers(explained(made, (x, ids), np.arange(ROWS))).items():
        assert values.tobytes() == numbers(nothing)[field].tobytes(), field
