"""Shuffled weights: a permutation of each, on a copy; and rank correlations by hand."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from models import inference_layers, mlp, saved_keras, scaled

from transforms.attribution.config import ModelConfig
from transforms.attribution.explainer import Explainer
from transforms.attribution.faithfulness.randomisation import rank_correlation, shuffled, similarity
from transforms.attribution.model.model import Model, load_model

ROWS = np.random.default_rng(10).normal(size=(5, 6)).astype(np.float32)


def weights(model: Model) -> dict[str, np.ndarray]:
    """The floating-point constants of more than one value, by shape and sorted values."""
    nodes = [node for node in model.outputs.function.graph.as_graph_def().node if node.op == "Const"]
    values = [tf.make_ndarray(node.attr["value"].tensor) for node in nodes]
    return {
        node.name: value
        for node, value in zip(nodes, values, strict=True)
        if value.size > 1 and value.dtype.kind == "f"
    }


@pytest.fixture
def model(model_of: Any) -> Model:
    return model_of(mlp, x=((None, 6), tf.float32))  # type: ignore[no-any-return]


def test_each_weight_is_permuted_within_itself_and_the_model_stays(model: Model) -> None:
    before, outputs = weights(model), np.array(model.outputs([ROWS]))
    other = shuffled(model, seed=1)
    after = weights(other)
    assert before.keys() == after.keys() and len(before) >= 2
    for name, value in before.items():
        assert (np.sort(after[name].ravel()) == np.sort(value.ravel())).all()
        assert (after[name] != value).any()
        assert (weights(model)[name] == value).all()
    assert (np.array(model.outputs([ROWS])) == outputs).all()
    assert np.abs(np.array(other.outputs([ROWS])) - outputs).max() > 0.1
    assert (np.array(shuffled(model, seed=1).outputs([ROWS])) == np.array(other.outputs([ROWS]))).all()
    assert (np.array(shuffled(model, seed=2).outputs([ROWS])) != np.array(other.outputs([ROWS]))).any()


@pytest.mark.parametrize("kind", ["keras", "saved_model"])
def test_files_of_both_kinds(tmp_path: Any, kind: str) -> None:
    loaded = load_model(ModelConfig(path=saved_keras(tmp_path, inference_layers(), kind)))
    x = ROWS[:, :4]
    assert np.abs(np.array(shuffled(loaded, 1).outputs([x])) - np.array(loaded.outputs([x]))).max() > 1e-3


def test_a_model_that_is_cut_behind_a_cast(model_of: Any) -> None:
    whole = model_of(scaled, pixels=((None, 2, 3), tf.int64))
    points = np.arange(12, dtype=np.float32).reshape(2, 2, 3)
    # it has no weights of more than one value: nothing can change
    assert (np.array(shuffled(whole, 1).outputs([points])) == np.array(whole.outputs([points]))).all()


def test_another_model_has_another_map(model: Model, explainer: Any) -> None:
    here = explainer(model, target=0).explain(ROWS)
    there = Explainer(shuffled(model, 1), explainer(model, target=0).config).explain(ROWS)
    pairs = zip(here.attributions["x"], there.attributions["x"], strict=True)
    assert min(rank_correlation(*pair) for pair in pairs) < 0.5
    assert (there.status == "ok").all()


def test_rank_correlation_by_hand() -> None:
    one = np.array([[1.0, -2.0], [3.0, 4.0]])
    assert rank_correlation(one, 10 * one**3) == pytest.approx(1, rel=1e-12)
    assert rank_correlation(one, 1 / one) == pytest.approx(-1, rel=1e-12)
    # ranks 0 1 2 3 and 0.5 0.5 2 3: deviations give (−1.5)(−1) + (−.5)(−1) + .5·.5 + 1.5·1.5 = 4.5 over √(5 · 4.5)
    other = np.array([[1.0, 1.0], [5.0, 9.0]])
    assert rank_correlation(one, other) == pytest.approx(4.5 / math.sqrt(5 * 4.5), rel=1e-12)
    assert math.isnan(rank_correlation(one, np.ones((2, 2))))


def test_what_is_zero_in_both_maps_makes_none_alike() -> None:
    random = np.random.default_rng(15)
    one, other = np.zeros((2, 1000))
    one[:100], other[:100] = random.normal(size=(2, 100))
    # 100 values in random order: a deviation of 1/√99
    assert abs(similarity(one, other)) < 4 * 0.101 < 0.9 < rank_correlation(one, other)
    other[100] = 1.0
    assert similarity(one, other) == rank_correlation(one[:101], other[:101])
    assert math.isnan(similarity(np.zeros(3), np.zeros(3)))
