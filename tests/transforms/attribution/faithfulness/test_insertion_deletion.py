"""Insertion and deletion on a linear F: closed forms, and the exact ranking against others."""

from __future__ import annotations

import numpy as np
import pytest

from transforms.attribution.faithfulness.insertion_deletion import Mask, curves

RANDOM = np.random.default_rng(8)


def linear(contributions: np.ndarray) -> object:
    """F(x) − F(x′) of the features that are the row's own."""
    return lambda own: own @ contributions


def test_all_subsets_of_the_ranking_by_hand() -> None:
    contributions = np.array([1.0, 4.0, -2.0])
    found = curves(linear(contributions), contributions)  # type: ignore[arg-type]
    assert found.shares.tolist() == [0, 1 / 3, 2 / 3, 1]
    assert found.insertion.tolist() == [0, 4, 5, 3]
    assert found.deletion.tolist() == [3, -1, -2, 0]
    assert found.insertion_area == pytest.approx((4 / 2 + 9 / 2 + 8 / 2) / 3, rel=2**-50)
    assert found.deletion_area == pytest.approx((2 / 2 - 3 / 2 - 2 / 2) / 3, rel=2**-50)


@pytest.mark.parametrize(("features", "points"), [(5, 6), (32, 33), (33, 33), (1000, 33)])
def test_the_curve_has_bounded_points_and_both_ends(features: int, points: int) -> None:
    values = RANDOM.normal(size=features)
    found = curves(linear(values), values)  # type: ignore[arg-type]
    assert len(found.shares) == points
    assert (found.insertion[0], found.deletion[-1]) == (0, 0)
    assert found.insertion[-1] == found.deletion[0] == pytest.approx(values.sum(), rel=1e-12)


def test_of_equal_values_the_first_goes_first() -> None:
    seen: list[Mask] = []

    def score(own: Mask) -> np.ndarray:
        seen.append(own)
        return np.zeros(len(own))

    curves(score, np.array([1.0, 2.0, 1.0]))
    assert seen[0].tolist() == [[0, 0, 0], [0, 1, 0], [1, 1, 0], [1, 1, 1]]
    assert (seen[1] == ~seen[0]).all()


def test_no_ranking_is_better_than_the_exact_one_of_a_linear_function() -> None:
    """Rearrangement: every partial sum is largest in falling order, so both areas are extreme; random ones are not."""
    contributions = RANDOM.normal(size=40)
    exact = curves(linear(contributions), contributions)  # type: ignore[arg-type]
    others = [curves(linear(contributions), RANDOM.normal(size=40)) for _ in range(50)]  # type: ignore[arg-type]
    assert all(other.insertion_area < exact.insertion_area for other in others)
    assert all(other.deletion_area > exact.deletion_area for other in others)
