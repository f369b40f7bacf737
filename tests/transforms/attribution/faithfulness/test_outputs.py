"""F in calls of bounded size: the same values whatever the size, for models of a fixed batch too."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from models import gated, mlp, rank_one

from transforms.attribution.faithfulness import outputs
from transforms.attribution.faithfulness.outputs import Outputs

POINTS = np.random.default_rng(12).normal(size=(11, 6)).astype(np.float32)


def test_the_target_of_every_point(model_of: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    model = model_of(mlp, x=((None, 6), tf.float32))
    wanted = np.array(model.outputs([POINTS]))[:, 2]
    found = Outputs(model, accelerated=False).at({"x": POINTS}, 2)
    assert found.dtype == np.float64
    np.testing.assert_allclose(found, wanted, rtol=1e-6)
    monkeypatch.setattr(outputs, "CALL_BYTES", 4 * 6 * 3)  # three points a call
    np.testing.assert_allclose(Outputs(model, accelerated=False).at({"x": POINTS}, 2), wanted, rtol=1e-6)


def test_a_fixed_batch_is_padded(model_of: Any) -> None:
    model = model_of(mlp, x=((4, 6), tf.float32))
    wanted = [np.array(model.outputs([np.repeat(point[np.newaxis], 4, axis=0)]))[0, 1] for point in POINTS]
    np.testing.assert_allclose(Outputs(model, accelerated=False).at({"x": POINTS}, 1), wanted, rtol=1e-6)


def test_one_value_serves_all_points_and_one_output_needs_no_target(model_of: Any) -> None:
    model = model_of(gated, x=((None, 6), tf.float32), ids=((None,), tf.int32))
    found = Outputs(model, accelerated=False).at({"x": POINTS, "ids": np.array([1], np.int32)}, 0)
    np.testing.assert_allclose(
        found, Outputs(model_of(mlp, x=((None, 6), tf.float32)), False).at({"x": POINTS}, 0), rtol=1e-6
    )
    single = Outputs(model_of(rank_one, x=((None, 2), tf.float32)), False).at({"x": POINTS[:, :2]}, None)
    np.testing.assert_allclose(single, np.sin(POINTS[:, 0]) * POINTS[:, 1], rtol=1e-5, atol=1e-6)
