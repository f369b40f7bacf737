"""Infidelity and maximum sensitivity: exact maps have none, wrong ones as much as can be computed by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from transforms.attribution.faithfulness.infidelity import infidelity, scaled_infidelity, subsets
from transforms.attribution.faithfulness.sensitivity import DRAWS, RADIUS, nearby, sensitivity_max

RANDOM = np.random.default_rng(9)


def test_an_exact_map_of_a_linear_function_has_no_infidelity() -> None:
    contributions = RANDOM.normal(size=12)
    gone = subsets(12, 50, RANDOM)
    changes = contributions.sum() - (~gone) @ contributions
    # differences of sums of 12 terms around 1, squared
    assert infidelity(gone @ contributions, changes) < (12 * 2**-50) ** 2
    assert infidelity(2 * (gone @ contributions), changes) == pytest.approx(np.mean(changes**2), rel=1e-12)
    assert scaled_infidelity(-2 * (gone @ contributions), changes) < (12 * 2**-48) ** 2


def test_infidelity_by_hand() -> None:
    predicted, changes = np.array([1.0, 2.0]), np.array([2.0, 2.0])
    assert infidelity(predicted, changes) == 0.5
    # β = (2 + 4) / (1 + 4) = 1.2: residuals 0.8 and −0.4
    assert scaled_infidelity(predicted, changes) == pytest.approx((0.64 + 0.16) / 2, rel=1e-12)


def test_no_other_scale_is_better() -> None:
    predicted, changes = RANDOM.normal(size=(2, 30))
    best = scaled_infidelity(predicted, changes)
    assert all(infidelity(scale * predicted, changes) >= best for scale in np.linspace(-3, 3, 61))


def test_a_map_that_predicts_nothing_cannot_be_scaled() -> None:
    assert math.isnan(scaled_infidelity(np.zeros(3), np.ones(3)))
    assert infidelity(np.zeros(3), np.ones(3)) == 1


def test_subsets_are_of_all_sizes() -> None:
    shares = subsets(200, 400, np.random.default_rng(1)).mean(axis=1)
    # 400 shares, uniform on [0, 1]: the mean's deviation is 1/√12/√400 = 0.0144; five of them
    assert abs(shares.mean() - 0.5) < 5 * 0.0145
    assert shares.min() < 0.05 and shares.max() > 0.95


def test_nearby_points_stay_in_the_box_and_keep_the_type() -> None:
    values = RANDOM.normal(size=(3, 4)).astype(np.float32)
    found = nearby(values, np.random.default_rng(2))
    assert found.shape == (DRAWS, 3, 4) and found.dtype == np.float32
    # float32 rounds values of at most 4
    assert 0.9 * RADIUS < np.abs(found - values).max() <= RADIUS + 4 * 2**-23


def test_sensitivity_by_hand() -> None:
    here, there = np.array([3.0, 4.0]), np.array([[3.0, 4.0], [3.0, 5.0], [0.0, 4.0]])
    assert sensitivity_max(here, there) == 3 / 5
    assert sensitivity_max(here, there[:1]) == 0
    assert math.isnan(sensitivity_max(np.zeros(2), there))
