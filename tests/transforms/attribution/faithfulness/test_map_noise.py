"""ATV and AUTVC: small maps by hand, and what noise does to them."""

from __future__ import annotations

import math

import numpy as np
import pytest

from transforms.attribution.faithfulness.map_noise import (
    area_under_total_variation_curve,
    average_total_variation,
    normalised,
    pyramid,
)


def test_a_map_is_normalised_from_its_least_to_its_99th_percentile() -> None:
    image = np.arange(201.0).reshape(3, 67) * -1  # sizes 0 to 200: the percentile is 198
    found = normalised(image)
    assert found is not None
    np.testing.assert_allclose(found.ravel(), np.minimum(np.arange(201) / 198, 1), rtol=0, atol=2**-50)


def test_total_variation_by_hand() -> None:
    # sizes 0 and 1 in a chequered 2 × 2: the percentile of 0, 0, 1, 1 at 99 % is 1; each of 4 neighbours differs by 1
    assert average_total_variation(np.array([[0.0, -1.0], [1.0, 0.0]])) == 1.0
    # a step between two halves of a 2 × 4: of 10 pairs of neighbours two differ
    assert average_total_variation(np.array([[0.0, 0, 1, 1], [0, 0, 1, 1]])) == 2 / 8


def test_neither_scale_nor_sign_matters() -> None:
    image = np.random.default_rng(1).normal(size=(40, 31))
    # the same quotients of doubles, scaled by 3: roundings of 1240 sums
    assert average_total_variation(-3 * image) == pytest.approx(average_total_variation(image), rel=1240 * 2**-52)


def test_flat_maps_have_none() -> None:
    for flat in (np.zeros((40, 40)), np.full((40, 40), -2.0)):
        assert math.isnan(average_total_variation(flat)) and math.isnan(area_under_total_variation_curve(flat))


def test_the_levels_of_a_pyramid() -> None:
    levels = pyramid(np.ones((224, 300)))
    assert [level.shape for level in levels] == [(224, 300), (150, 200), (100, 134), (67, 90), (45, 60), (30, 40)]
    for level in levels:
        # 5 levels of two products with a matrix that is one of 2 · 300 terms itself: a rounding each
        np.testing.assert_allclose(level, 1, rtol=0, atol=5 * 2 * 2 * 300 * 2**-53)
    assert pyramid(np.ones((29, 300))) == []


def test_a_ramp_stays_a_ramp_between_the_borders() -> None:
    """Blurring and linear interpolation keep straight lines: pixel centres must be where they belong."""
    ramp = np.repeat(np.arange(90.0)[np.newaxis], 45, axis=0)
    level = pyramid(ramp, smallest=20)[1]
    assert level.shape == (30, 60)
    centres = (np.arange(60) + 0.5) * 1.5 - 0.5
    np.testing.assert_allclose(level[:, 3:-3], np.repeat(centres[np.newaxis, 3:-3], 30, axis=0), rtol=1e-13)


def test_the_area_is_simpsons_over_the_levels() -> None:
    image = np.random.default_rng(2).normal(size=(45, 45))
    first, second = (average_total_variation(level) for level in pyramid(image))
    assert area_under_total_variation_curve(image) == pytest.approx((first + second) / 2, rel=2**-50)
    assert math.isnan(area_under_total_variation_curve(image[:43, :43]))  # 43 / 1.5 rounds up to 29


def test_noise_is_noisier_than_structure() -> None:
    places = np.linspace(-2, 2, 70)
    blob = np.exp(-(places[:, np.newaxis] ** 2) - places**2)
    noisy = blob + np.random.default_rng(3).normal(scale=0.3, size=blob.shape)
    assert average_total_variation(noisy) > 4 * average_total_variation(blob)
    assert area_under_total_variation_curve(noisy) > 3 * area_under_total_variation_curve(blob)
