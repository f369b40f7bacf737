"""Areas: exact on the polynomials that the rules are for, by SciPy-free closed forms."""

from __future__ import annotations

import numpy as np
import pytest

from transforms.attribution.faithfulness.curves import simpson, trapezoid


@pytest.mark.parametrize("intervals", [2, 3, 4, 5, 6, 7, 30])
@pytest.mark.parametrize("degree", [0, 1, 2, 3])
def test_simpson_is_exact_for_cubics(intervals: int, degree: int) -> None:
    values = np.arange(intervals + 1.0) ** degree
    # 31 terms of at most 2.7e4, each rounded once to 1.1e-16 of it
    assert simpson(values) == pytest.approx(intervals ** (degree + 1) / (degree + 1), rel=31 * 2**-52)


def test_simpson_is_not_exact_beyond() -> None:
    assert simpson(np.arange(3.0) ** 4) != pytest.approx(2**5 / 5, rel=0.01)


def test_short_curves() -> None:
    assert simpson(np.array([3.0])) == 0
    assert simpson(np.array([1.0, 3.0])) == 2


def test_trapezoid_at_unequal_places() -> None:
    assert trapezoid(np.array([0.0, 1.0, 3.0]), np.array([0.0, 1.0, 1.5])) == 0.5 + 1.0
