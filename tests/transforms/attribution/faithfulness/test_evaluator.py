"""`Evaluator`: metrics of rows in closed form, each from its own row alone, at its own target."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from models import gated, mlp

from transforms.attribution.config import AttributionConfig
from transforms.attribution.explainer import Explainer
from transforms.attribution.faithfulness.config import EvaluationConfig
from transforms.attribution.faithfulness.evaluator import Evaluator
from transforms.attribution.faithfulness.metrics import METRICS
from transforms.attribution.faithfulness.sample import Sample
from transforms.attribution.model.model import Model

WEIGHTS = np.random.default_rng(13).normal(size=(16, 16)).astype(np.float32)
ROWS = 4
RANDOM = np.random.default_rng(14)
PICTURES = RANDOM.uniform(0.5, 1, (ROWS, 16, 16)).astype(np.float32)
VECTORS = RANDOM.normal(size=(ROWS, 6)).astype(np.float32)


def trapezoids(curves, dx):
    """The area under each row: numpy 1 and 2 have it under two names."""
    return dx * (curves.sum(axis=1) - (curves[:, 0] + curves[:, -1]) / 2)


def weighted(x: Any) -> Any:
    """Σ w ⊙ x over an image without channels, as one of two classes."""
    value = tf.reduce_sum(x * WEIGHTS, axis=[1, 2])
    return tf.stack([-value, value], axis=1)


def sample_of(model: Model, config: AttributionConfig, inputs: Mapping[str, np.ndarray], target: Any) -> Sample:
    """The rows as a run would have written them."""
    found = Explainer(model, config.model_copy(update={"target": "label"})).explain(dict(inputs), target)
    names = [f"row {row}" for row in range(len(found))]
    return Sample(names, dict(inputs), {}, found.target, found.attributions)


def settings(metrics: tuple[str, ...] = tuple(METRICS), **fields: Any) -> EvaluationConfig:
    return EvaluationConfig(rows=ROWS, metrics=metrics, **{"fill": "zeros"} | fields)


@pytest.mark.parametrize("method", ["integrated_gradients", "saliency", "input_x_gradient"])
def test_a_linear_model_of_an_image(model_of: Any, method: str) -> None:
    model = model_of(weighted, x=((None, 16, 16), tf.float32))
    config = AttributionConfig(method=method, target="predicted", steps=2)
    target = np.array([0, 1, 0, 1])
    sample = sample_of(model, config, {"x": PICTURES}, target)
    found = Evaluator(model, config, settings()).scores(sample)
    sign = np.where(target == 1, 1.0, -1.0)[:, np.newaxis, np.newaxis]
    contributions = sign * PICTURES.astype(np.float64) * WEIGHTS
    # sums of 256 products in float32, each of at most 3
    close = 256 * 2**-24 * 3
    assert found["infidelity"].max() < close**2 and found["infidelity_scaled"].max() < close**2
    if method != "saliency":
        ranked = -np.sort(-contributions.reshape(ROWS, -1), axis=1)
        partial = np.concatenate([np.zeros((ROWS, 1)), ranked.cumsum(axis=1)], axis=1)[:, ::8]
        np.testing.assert_allclose(found["insertion"], trapezoids(partial, dx=1 / 32), atol=close)
        np.testing.assert_allclose(found["deletion"], trapezoids(partial[:, -1:] - partial, dx=1 / 32), atol=close)
    # the map of −w is as w's in size; one window of 15 × 15 is filled
    assert np.isfinite(found["aupc"]).all() and np.isfinite(found["atv"]).all()
    assert np.isnan(found["autvc"]).all()
    wanted = 0 if method == "saliency" else 0.02 * np.linalg.norm(WEIGHTS)
    bound = wanted / np.linalg.norm(contributions, axis=(1, 2))
    assert (found["sensitivity_max"] <= bound + 1e-5).all()
    # shuffled: the map is another; |A| of 256 values in a random order has a correlation of 1/√255 = 0.06 or so
    assert np.abs(found["randomisation"]).max() < 6 * 0.063


def test_a_row_does_not_depend_on_its_neighbours(model_of: Any) -> None:
    model, config = model_of(mlp, x=((None, 6), tf.float32)), AttributionConfig(target="label", steps=4)
    sample = sample_of(model, config, {"x": VECTORS}, np.array([0, 1, 2, 1]))
    evaluator = Evaluator(model, config, settings())
    whole = evaluator.scores(sample)
    for row in (2, 0):
        maps = {"x": sample.maps["x"][[row]]}
        assert sample.target is not None
        alone = Sample([sample.row_ids[row]], {"x": VECTORS[[row]]}, {}, sample.target[[row]], maps)
        for name, values in evaluator.scores(alone).items():
            # the same calls, of another size where rows are explained again
            np.testing.assert_allclose(values[0], whole[name][row], rtol=1e-4, err_msg=name)


def test_a_map_that_is_not_finite_has_nothing_and_harms_no_other(model_of: Any) -> None:
    model, config = model_of(mlp, x=((None, 6), tf.float32)), AttributionConfig(target=1, steps=4)
    sample = sample_of(model, config, {"x": VECTORS}, np.full(ROWS, 1))
    clean = Evaluator(model, config, settings()).scores(sample)
    sample.maps["x"][1, 3] = np.nan
    found = Evaluator(model, config, settings()).scores(sample)
    for name in ("insertion", "infidelity", "gini", "randomisation"):
        assert np.isnan(found[name][1]), name
        np.testing.assert_allclose(found[name][[0, 2, 3]], clean[name][[0, 2, 3]], rtol=1e-6)


def test_a_flat_map_has_no_order(model_of: Any) -> None:
    model, config = model_of(weighted, x=((None, 16, 16), tf.float32)), AttributionConfig(target=1, steps=2)
    sample = Sample(["a"], {"x": PICTURES[:1]}, {}, np.array([1]), {"x": np.zeros((1, 16, 16), np.float32)})
    found = Evaluator(model, config, settings()).scores(sample)
    for name in ("insertion", "deletion", "infidelity_scaled", "gini", "entropy", "atv", "aupc", "randomisation"):
        assert np.isnan(found[name][0]), name
    assert found["infidelity"][0] > 0


def test_inputs_that_are_held_stay_as_they_are(model_of: Any) -> None:
    model = model_of(gated, x=((None, 6), tf.float32), ids=((None,), tf.int32))
    config, wanted = AttributionConfig(target=0, steps=4), ("insertion", "deletion", "infidelity", "sensitivity_max")
    inputs = {"x": VECTORS[[0, 0]], "ids": np.array([0, 2], np.int32)}
    found = Evaluator(model, config, settings(wanted)).scores(sample_of(model, config, inputs, np.zeros(2, int)))
    # the gate of the second row is 4 times the first's: F, and the map, so that the ranking is the same
    np.testing.assert_allclose(found["insertion"][1], 4 * found["insertion"][0], rtol=1e-5)
    np.testing.assert_allclose(found["deletion"][1], 4 * found["deletion"][0], rtol=1e-5)


def test_the_fill_is_what_features_go_to(model_of: Any) -> None:
    model, config = model_of(mlp, x=((None, 6), tf.float32)), AttributionConfig(target=2, steps=4)
    sample = sample_of(model, config, {"x": VECTORS}, np.full(ROWS, 2))
    half = sample_of(model, config, {"x": np.full((1, 6), 0.5, np.float32)}, np.array([2]))
    zeros, other = (
        Evaluator(model, config, settings(("insertion",), fill=fill)).scores(sample)["insertion"]
        for fill in ("zeros", {"constant": 0.5})
    )
    assert (zeros != other).all()
    # a row that is the fill itself never changes: the area is F
    flat = Sample(["a"], {"x": np.full((1, 6), 0.5, np.float32)}, {}, np.array([2]), half.maps)
    area = Evaluator(model, config, settings(("insertion",), fill={"constant": 0.5})).scores(flat)["insertion"]
    np.testing.assert_allclose(area, np.array(model.outputs([np.full((1, 6), 0.5, np.float32)]))[0, 2], rtol=1e-6)


def test_reasons_are_given_where_no_row_can_have_a_metric(model_of: Any) -> None:
    model = model_of(mlp, x=((None, 6), tf.float32))
    config = AttributionConfig(target=0, method="saliency")
    found = Evaluator(model, config, settings(fill={"gaussian": 0.1})).reasons({"x": (1,)})
    assert set(found) == {"atv", "autvc", "aupc", "insertion", "deletion", "infidelity", "infidelity_scaled"}
    summed = Evaluator(model, config, settings()).reasons({"x": (1,)})
    assert summed["infidelity"] == "gradients were summed before they were written"
