"""The measures of pairs of maps, beside those that scipy or a loop over the rows gives."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from transforms.comparing.measures import NAMES, FlatPairs, measure

# Sums of at most 64 products in float64, in another order, over norms that cancel by at most 1e3.
CLOSE = {"rtol": 1e-10, "atol": 64 * 2.0**-53 * 1e3}


def flat(a: list[np.ndarray], b: list[np.ndarray]) -> FlatPairs:
    lengths = [len(row) for row in a]
    rows = np.repeat(np.arange(len(a)), lengths)
    features = np.concatenate([np.arange(length) for length in lengths] or [np.zeros(0, int)])
    return FlatPairs(np.concatenate(a).astype(float), np.concatenate(b).astype(float), rows, features, len(a))


def by_hand(a: np.ndarray, b: np.ndarray) -> dict[str, float]:
    size_a, size_b = np.abs(a).sum(), np.abs(b).sum()
    constant = len(a) < 2 or np.ptp(a) == 0 or np.ptp(b) == 0
    cosine = np.nan if not size_a or not size_b else a @ b / np.sqrt((a @ a) * (b @ b))
    scaled = [values / size if size else values for values, size in ((a, size_a), (b, size_b))]
    apart = np.abs(b - a).sum()
    return {
        "spearman": np.nan if constant else stats.spearmanr(a, b).statistic,
        "cosine": cosine,
        "relative_l1": apart / size_a if size_a else (np.nan if apart else 0.0),
        "drift": 1.0 if bool(size_a) != bool(size_b) else np.abs(scaled[1] - scaled[0]).sum() / 2,
    }


@pytest.mark.parametrize("seed", range(6))
def test_every_measure_of_rows_of_any_length_with_ties_and_zeros(seed: int) -> None:
    random = np.random.default_rng(seed)
    lengths = random.integers(1, 40, 30)
    # whole numbers of few values: ties in most rows, and rows that are zero or constant throughout
    maps = [[random.integers(-2, 3, length) * random.integers(0, 2) * 0.5 for length in lengths] for _ in range(2)]
    found, wanted = measure(flat(*maps)), [by_hand(a, b) for a, b in zip(*maps, strict=True)]
    assert set(found) == set(NAMES) == set(wanted[0])
    for name, values in found.items():
        np.testing.assert_allclose(values, [row[name] for row in wanted], err_msg=name, **CLOSE)
    assert np.isnan(found["cosine"]).any() and not np.isnan(found["cosine"]).all()


@given(st.lists(st.floats(-1e3, 1e3, width=32), min_size=2, max_size=20), st.floats(0.01, 100))
def test_a_map_and_a_multiple_of_it_do_not_drift(values: list[float], factor: float) -> None:
    a = np.array(values)
    found = measure(flat([a, a], [a, a * factor]))
    # every value is rounded once by the factor, and once more when the sum divides it
    np.testing.assert_allclose(found["drift"], 0, atol=4 * 2.0**-52)
    assert found["relative_l1"][0] == 0 and found["drift"][0] == 0


def test_the_ends_of_the_drift() -> None:
    a = [np.array([1.0, -2, 0]), np.array([1.0, 0, 0]), np.zeros(3), np.zeros(3), np.array([3.0, 1, 0])]
    b = [np.array([-3.0, 1, 0]), np.array([0.0, 5, 5]), np.array([0.0, 1, 0]), np.zeros(3), np.array([1.0, 3, 0])]
    np.testing.assert_allclose(measure(flat(a, b))["drift"], [1, 1, 1, 0, 0.5])


def test_maps_of_any_magnitude() -> None:
    a = np.array([1.0, 2, 3])
    found = measure(flat([a * 1e-200, a * 1e200], [a[::-1] * 1e-200, a[::-1] * 1e200]))
    np.testing.assert_allclose(found["cosine"], 10 / 14)
    np.testing.assert_allclose(found["drift"], 1 / 3)


def test_shares_add_up_by_feature() -> None:
    pairs = FlatPairs(
        np.array([1.0, -3, 0, 2, 2]), np.zeros(5), np.array([0, 0, 1, 2, 2]), np.array([0, 2, 1, 1, 1]), 4
    )
    a, b = pairs.shares(3)
    np.testing.assert_allclose(a, [[0.25, 0, 0.75], [0, 0, 0], [0, 1, 0], [0, 0, 0]])
    assert not b.any()
