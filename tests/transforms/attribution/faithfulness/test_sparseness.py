"""Gini index and entropy: closed forms, and the Gini index as the mean difference of all pairs."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from transforms.attribution.faithfulness.sparseness import entropy, gini

VALUES = st.lists(st.floats(-100, 100), min_size=1, max_size=30).filter(lambda values: np.abs(values).sum() > 1e-3)
# sums of 30 doubles of at most 100, and two divisions: far below
CLOSE = 1e-12


@pytest.mark.parametrize("count", [1, 2, 7])
def test_equal_values_are_not_sparse(count: int) -> None:
    values = np.full(count, -3.0)
    assert gini(values) == pytest.approx(0, abs=CLOSE)
    assert entropy(values) == pytest.approx(math.log(count), abs=CLOSE)


@pytest.mark.parametrize("count", [2, 7])
def test_one_value_is_as_sparse_as_it_gets(count: int) -> None:
    values = np.zeros((1, count))
    values[0, 1] = -2
    assert gini(values) == pytest.approx(1 - 1 / count, abs=CLOSE)
    assert entropy(values) == 0


def test_by_hand() -> None:
    # |A| = 1, 3: pairs differ by 2 twice of four, 4/4 / (2 · mean 2) = 1/4
    assert gini(np.array([3.0, -1.0])) == pytest.approx(0.25, abs=CLOSE)
    assert entropy(np.array([3.0, -1.0])) == pytest.approx(-(0.25 * math.log(0.25) + 0.75 * math.log(0.75)), abs=CLOSE)


@given(VALUES)
def test_the_gini_index_is_half_the_relative_mean_difference(values: list[float]) -> None:
    sizes = np.abs(values)
    wanted = np.abs(sizes[:, np.newaxis] - sizes).mean() / (2 * sizes.mean())
    assert gini(np.array(values)) == pytest.approx(wanted, abs=1e-9)


@given(VALUES, st.floats(0.1, 10))
def test_neither_knows_sign_order_or_scale(values: list[float], factor: float) -> None:
    other = -factor * np.array(values)[::-1]
    assert gini(other) == pytest.approx(gini(np.array(values)), abs=1e-9)
    assert entropy(other) == pytest.approx(entropy(np.array(values)), abs=1e-9)


def test_a_map_of_zeros_has_neither() -> None:
    assert math.isnan(gini(np.zeros(3))) and math.isnan(entropy(np.zeros(3)))
    assert math.isnan(gini(np.array([1.0, np.nan]))) and math.isnan(entropy(np.array([1.0, np.nan])))
