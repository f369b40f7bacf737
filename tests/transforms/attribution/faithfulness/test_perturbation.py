"""AUPC: windows by brute force, curves of a linear F in closed form."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from transforms.attribution.faithfulness.perturbation import (
    Perturbation,
    area_under_perturbation_curve,
    perturbation_curve,
    windows,
)


def brute_force(heatmap: np.ndarray, window: int, regions: int) -> list[tuple[int, int]]:
    """Every window's mean, computed as it is said; of those that do not overlap one that is taken, the largest."""
    places = list(itertools.product(*(range(size - window + 1) for size in heatmap.shape)))
    means = {p: np.abs(heatmap[p[0] : p[0] + window, p[1] : p[1] + window]).mean() for p in places}
    found: list[tuple[int, int]] = []
    while means and len(found) < regions:
        found.append(max(means, key=lambda place: means[place]))
        row, column = found[-1]
        means = {p: mean for p, mean in means.items() if abs(p[0] - row) >= window or abs(p[1] - column) >= window}
    return found


@pytest.mark.parametrize(("shape", "window", "regions"), [((11, 8), 3, 30), ((7, 9), 2, 5), ((4, 4), 4, 3)])
def test_windows_against_brute_force(shape: tuple[int, int], window: int, regions: int) -> None:
    heatmap = np.random.default_rng(4).normal(size=shape)
    assert windows(heatmap, window, regions) == brute_force(heatmap, window, regions)


def test_a_map_smaller_than_the_window_has_none() -> None:
    assert windows(np.ones((3, 9)), 4, 5) == []


def weighted(weights: np.ndarray) -> object:
    return lambda images: (images * weights).sum(axis=(1, 2, 3))


def test_a_constant_fill_of_a_linear_function_is_exact() -> None:
    """With one value to draw, each region takes its weighted sum away, whichever fill stays."""
    random = np.random.default_rng(5)
    image, weights = random.uniform(1, 2, (6, 6, 2)), random.uniform(size=(6, 6, 2))
    heatmap = (image * weights).sum(axis=2)
    how = Perturbation(low=0.0, high=0.0, window=2, regions=4, fills=3)
    curve = perturbation_curve(weighted(weights), image, heatmap, how, random)  # type: ignore[arg-type]
    wanted = [heatmap.sum()]
    for row, column in windows(heatmap, 2, 4):
        wanted.append(wanted[-1] - heatmap[row : row + 2, column : column + 2].sum())
    # sums of 72 products
    np.testing.assert_allclose(curve, wanted, rtol=72 * 2**-52)


def test_the_fill_nearest_to_the_median_stays() -> None:
    """F is the last region's fill itself: the curve's next value starts from the one that stayed."""
    image = np.ones((1, 2))
    seen: list[np.ndarray] = []

    def score(images: np.ndarray) -> np.ndarray:
        seen.append(images.copy())
        return images.sum(axis=(1, 2))

    how = Perturbation(low=0.0, high=1.0, window=1, regions=2, fills=5)
    curve = perturbation_curve(score, image, np.array([[2.0, 1.0]]), how, np.random.default_rng(6))
    first, second = seen[1], seen[2]
    assert curve[1] == first.sum(axis=(1, 2)).mean() and (first[:, 0, 1] == 1).all()
    kept = np.sort(first[:, 0, 0])[2]
    assert (second[:, 0, 0] == kept).all() and len(set(second[:, 0, 1])) == 5


def test_an_image_is_not_changed() -> None:
    image = np.ones((4, 4))
    perturbation_curve(
        lambda images: images.sum(axis=(1, 2)), image, image, Perturbation(0, 1, 2), np.random.default_rng()
    )
    assert (image == 1).all()


def test_the_area_by_hand() -> None:
    # Simpson over 1, 1/2, 0 of a negative F₀ = −4 divided by |−4|
    assert area_under_perturbation_curve(np.array([-4.0, -2.0, 0.0])) == pytest.approx(-1.0, rel=2**-50)
    assert math.isnan(area_under_perturbation_curve(np.array([0.0, 1.0, 1.0])))
    assert math.isnan(area_under_perturbation_curve(np.array([1.0])))


def test_the_right_order_falls_faster_than_the_wrong_one() -> None:
    random = np.random.default_rng(7)
    image, weights = np.ones((12, 12, 1)), random.uniform(size=(12, 12, 1)) ** 4
    how = Perturbation(low=0.0, high=0.0, window=2, regions=30, fills=2)
    exact, wrong = (
        area_under_perturbation_curve(perturbation_curve(weighted(weights), image, heatmap, how, random))  # type: ignore[arg-type]
        for heatmap in (weights[..., 0], 1 - weights[..., 0])
    )
    assert exact < 0.8 * wrong
