"""Path integrated gradients: along paths of a user's module, against closed forms."""

import models
import numpy as np
import pytest

from transforms.attribution.config import AttributionConfig
from transforms.attribution.explainer import Explainer
from transforms.errors import UsageError

N, ROWS = 4, 5
X = ([None, N], "float32")
MODULE = '''
import tensorflow as tf

def straight(x, start, alpha):
    return start + alpha * (x - start), tf.broadcast_to(x - start, tf.shape(x))

def one_by_one(x, start, alpha):
    """The first half of the features, then the second."""
    first = tf.constant([1.0, 1.0, 0.0, 0.0])
    part = first * tf.minimum(2 * alpha, 1.0) + (1 - first) * tf.maximum(2 * alpha - 1, 0.0)
    slope = 2 * tf.where(alpha < 0.5, first, 1 - first)
    return start + part * (x - start), slope * (x - start)

def nowhere(x, start, alpha):
    return start + alpha * alpha * (x - start) / 2, alpha * (x - start)

def other_tangent(x, start, alpha):
    return start + alpha * alpha * (x - start), tf.broadcast_to(x - start, tf.shape(x))
'''


@pytest.fixture
def on(model_of, tmp_path, monkeypatch):
    """on(function, **fields) → an Explainer of Σ xᵢ², products of the halves besides, on that path."""
    (tmp_path / "their_paths.py").write_text(MODULE, encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))

    def explainer(function, trusted=("their_paths",), **fields):
        method = {"name": "path_integrated_gradients", "path": f"their_paths:{function}"}
        return Explainer(model_of(halves, x=X), AttributionConfig(method=method, **fields), trusted)

    return explainer


def halves(x):
    """(x₀ + x₁)(x₂ + x₃)."""
    return (x[:, 0] + x[:, 1]) * (x[:, 2] + x[:, 3])


def rows(seed=0):
    return np.random.default_rng(seed).normal(size=(ROWS, N)).astype(np.float32)


def test_the_straight_path_gives_integrated_gradients(on, model_of, explainer):
    x, start = rows(), rows(1)
    found = on("straight", steps=8).explain(x, baselines=start)
    wanted = explainer(model_of(halves, x=X), steps=8).explain(x, baselines=start)
    scale = np.abs(x - start).max() * (np.abs(x).max() + np.abs(start).max()) * 2
    np.testing.assert_allclose(found.attributions["x"], wanted.attributions["x"], atol=models.rounding(8, scale))


def test_a_path_in_two_parts_gives_what_each_part_adds(on):
    x, start = rows(), rows(1)
    found = on("one_by_one", steps=8, rule="riemann_middle").explain(x, baselines=start)
    # on the first part the second half stands at its baseline, on the second the first half at its value
    way = (x - start).astype(np.float64)
    wanted = np.concatenate(
        [way[:, :2] * start[:, 2:].sum(axis=1, keepdims=True), way[:, 2:] * x[:, :2].sum(axis=1, keepdims=True)], axis=1
    )
    scale = np.abs(x - start).max() * (np.abs(x).max() + np.abs(start).max()) * 4
    np.testing.assert_allclose(found.attributions["x"], wanted, atol=models.rounding(8, scale))
    assert (np.abs(found.delta) <= 4 * models.rounding(8, scale)).all() and set(found.status) <= {"ok", "unconverged"}


@pytest.mark.parametrize(("function", "code"), [("nowhere", "E_PATH_ENDS"), ("other_tangent", "E_PATH_TANGENT")])
def test_what_is_no_path_is_refused(on, function, code):
    with pytest.raises(UsageError, match=code):
        on(function, steps=4).explain(rows())


def test_no_module_is_imported_that_is_not_trusted(on):
    with pytest.raises(UsageError, match=r"E_CODE_UNTRUSTED.*--trust their_paths"):
        on("straight", trusted=(), steps=4)


def test_the_function_is_among_what_decides_the_values():
    method = {"name": "path_integrated_gradients", "path": "their_paths:straight"}
    assert AttributionConfig(method=method).code == ("their_paths:straight",)
