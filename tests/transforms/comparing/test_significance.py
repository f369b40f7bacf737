"""Moments, Student's test and Holm's correction: beside numpy and scipy, and on data where nothing has changed."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy import stats

from transforms.comparing.significance import LEAST_ROWS, LEVEL, PairedMoments, holm, t_probability, t_quantile

SEEDS, ROWS, FEATURES = 200, 60, 40


def test_moments_merge_whatever_the_order_and_the_pieces() -> None:
    random = np.random.default_rng(3)
    a, b = random.normal(1e3, 1e-3, (2, 101, 4))  # the spread is a millionth of the mean: squares alone would lose it
    cuts = [0, 0, 1, 40, 41, 101]
    pieces = [PairedMoments.of(a[i:j], b[i:j]) for i, j in itertools.pairwise(cuts)]
    for order in (pieces, pieces[::-1]):
        merged = sum(order[1:], order[0])
        assert merged.rows == 101
        # a mean of 1e3 is known to 1e3 · 2^-52 in each step: of a difference of 1e-3, 2e-10; of its square, twice that
        np.testing.assert_allclose(merged.a, a.mean(axis=0), rtol=1e-14)
        np.testing.assert_allclose(merged.difference, (b - a).mean(axis=0), atol=5 * 1e3 * 2.0**-52)
        np.testing.assert_allclose(merged.standard_error, stats.sem(b - a, axis=0), rtol=1e-8)


def test_the_interval_and_the_p_value_are_those_of_students_paired_test() -> None:
    random = np.random.default_rng(4)
    a = random.normal(size=(LEAST_ROWS, 50))
    b = a + random.normal(0.3, 1, a.shape)
    found, wanted = PairedMoments.of(a, b), stats.ttest_rel(b, a)
    between = wanted.confidence_interval(LEVEL)
    assert np.abs(wanted.statistic).max() < 5
    np.testing.assert_allclose(found.p_values(), wanted.pvalue, rtol=0.008)
    for bound, exact in zip(found.interval(), (between.low, between.high), strict=True):
        np.testing.assert_allclose(bound, exact, atol=1e-3 * found.standard_error.max())


@pytest.mark.parametrize(("freedom", "largest", "error"), [(29, 5, 0.008), (29, 10, 0.05), (1000, 10, 0.001)])
def test_how_near_the_deviate_is(freedom: int, largest: float, error: float) -> None:
    for t in np.linspace(0, largest, 40):
        assert t_probability(float(t), freedom) == pytest.approx(2 * stats.t.sf(t, freedom), rel=error)
    assert t_quantile(t_level := 0.97, freedom) == pytest.approx(stats.t.ppf((1 + t_level) / 2, freedom), rel=1e-4)


def test_nothing_moves_and_everything_moves_alike() -> None:
    a = np.random.default_rng(5).normal(size=(LEAST_ROWS, 1))
    assert PairedMoments.of(a, a).p_values() == [1.0]
    same = PairedMoments.of(np.zeros((LEAST_ROWS, 2)), np.ones((LEAST_ROWS, 1)) * [0, 0.5])
    assert same.p_values().tolist() == [1.0, 0.0]
    few = PairedMoments.of(a[1:], a[1:])
    assert np.isnan(few.p_values()).all() and np.isnan(few.interval()[0]).all()
    assert np.isnan(PairedMoments.of(a[:0], a[:0]).standard_error).all()


def test_holm_beside_its_definition() -> None:
    p = np.array([0.01, np.nan, 0.04, 0.03, 0.005, 0.5])
    found = holm(p)
    # by rank: 5 · 0.005, 4 · 0.01, 3 · 0.03, then at least as much as before it
    np.testing.assert_allclose(found, [0.04, np.nan, 0.09, 0.09, 0.025, 0.5])
    assert holm(np.array([0.6, 0.9])).tolist() == [1.0, 1.0]
    assert len(holm(np.zeros(0))) == 0


def shares(random: np.random.Generator) -> np.ndarray:
    """Rows of importances that add up to 1, as those of maps do: the features depend on each other."""
    return np.asarray(random.dirichlet(np.full(FEATURES, 0.3), ROWS))


def test_where_nothing_has_changed_something_is_found_in_at_most_one_of_twenty() -> None:
    found = 0
    for seed in range(SEEDS):
        random = np.random.default_rng(seed)
        found += bool((holm(PairedMoments.of(shares(random), shares(random)).p_values()) <= 1 - LEVEL).any())
    # of 200 families at the level 0.05; the bound is the 99.9 % quantile of that binomial distribution
    assert found <= stats.binom.ppf(0.999, SEEDS, 1 - LEVEL)


def test_a_feature_that_gains_is_found_and_no_other() -> None:
    others = 0
    for seed in range(20):
        random = np.random.default_rng(seed)
        a, b = shares(random), shares(random)
        b[:, 7] += 0.3
        b /= b.sum(axis=1, keepdims=True)
        moments = PairedMoments.of(a, b)
        drifted = np.flatnonzero(holm(moments.p_values()) <= 1 - LEVEL)
        assert 7 in drifted and moments.difference[7] > 0.1
        others += bool((moments.difference[drifted] > 0).sum() > 1)
    assert others <= 2  # each with a probability of at most 0.05: three of 20 or more have 0.08, four 0.02
