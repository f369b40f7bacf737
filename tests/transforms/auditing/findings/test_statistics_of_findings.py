"""Intervals: against scipy's quantiles, against the rows themselves, and how often they miss."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from scipy import stats

from transforms.auditing.findings.statistics import (
    MIN_ROWS,
    Moments,
    difference_interval,
    mean_interval,
    proportion_interval,
    student_quantile,
)

Draw = Callable[[np.random.Generator, int], np.ndarray]
AUDITS, ALPHA, GROUPS, PARTS = 400, 0.05, 4, 10
# Of 400 audits, more than this would miss with a chance below 1e-4 if each did with 0.05
MOST_MISSES = int(stats.binom.isf(1e-4, AUDITS, ALPHA))


def moments_of(values: np.ndarray) -> Moments:
    """Of the rows along the second axis of [groups, rows, parts]."""
    rows = np.full((values.shape[0], values.shape[2]), float(values.shape[1]))
    return Moments(rows, values.mean(axis=1), values.var(axis=1, ddof=1))


def dense(random: np.random.Generator, rows: int) -> np.ndarray:
    return random.dirichlet(np.ones(PARTS), rows)


def uneven(random: np.random.Generator, rows: int) -> np.ndarray:
    return random.dirichlet(np.geomspace(0.1, 10, PARTS), rows)


def sparse(random: np.random.Generator, rows: int) -> np.ndarray:
    """Most rows have nothing of most parts, as of tokens."""
    values = random.exponential(size=(rows, PARTS)) * (random.random((rows, PARTS)) < 0.2)
    return values / np.maximum(values.sum(axis=1, keepdims=True), 1e-12)


@pytest.mark.parametrize("alpha", [0.05, 1e-3, 1e-5, 1e-8])
def test_students_quantile_is_scipys_from_three_degrees_of_freedom_on(alpha: float) -> None:
    freedom = np.array([3.0, 4.0, 5.0, 8.0, MIN_ROWS - 1, 1000.0, 1e6])
    assert student_quantile(freedom, alpha) == pytest.approx(stats.t.isf(alpha / 2, freedom), rel=1e-3)


@pytest.mark.parametrize(("hits", "rows"), [(0, 10), (1, 40), (20, 40), (40, 40)])
def test_wilsons_interval_is_scipys(hits: int, rows: int) -> None:
    ends = proportion_interval(np.array(float(hits)), np.array(float(rows)), 0.01)
    wanted = stats.binomtest(hits, rows).proportion_ci(0.99, method="wilson")
    # both are a few float64 operations; the quantile is the least exact of them
    assert tuple(map(float, ends)) == pytest.approx((wanted.low, wanted.high), abs=1e-12)


def test_groups_are_put_together_and_left_out_as_their_rows_would_be() -> None:
    random = np.random.default_rng(0)
    groups = [random.random((rows, PARTS)) for rows in (2, 5, 40)]
    shape = [np.full(PARTS, float(len(group))) for group in groups]
    means, variances = [group.mean(axis=0) for group in groups], [group.var(axis=0, ddof=1) for group in groups]
    moments = Moments(*map(np.array, (shape, means, variances)))
    cases = [(moments.together(), groups)]
    cases += [(moments.others()[left], groups[:left] + groups[left + 1 :]) for left in range(3)]
    for found, parts in cases:
        rows = np.concatenate(parts)
        assert found.rows.tolist() == [len(rows)] * PARTS
        # sums of 47 numbers below 1, less the square of their mean: 47 roundings of 2⁻⁵³ of a sum below 47
        assert found.mean == pytest.approx(rows.mean(axis=0), abs=47 * 2**-53)
        assert found.variance == pytest.approx(rows.var(axis=0, ddof=1), abs=47 * 47 * 2**-53)


def test_a_share_gets_one_row_of_nothing_and_one_of_everything() -> None:
    values = np.random.default_rng(1).random((1, 35, PARTS))
    more = np.concatenate([values, np.zeros((1, 1, PARTS)), np.ones((1, 1, PARTS))], axis=1)
    found, wanted = moments_of(values).as_shares(), moments_of(more)
    assert found.mean == pytest.approx(wanted.mean, abs=37 * 2**-53)
    assert found.variance == pytest.approx(wanted.variance, abs=37 * 37 * 2**-53)


def test_rows_that_are_alike_do_not_make_an_interval_without_width() -> None:
    alike = Moments(*(np.full((1, 1), value) for value in (40.0, 0.3, 0.0)))
    low, high = mean_interval(alike.as_shares(), 0.05)
    assert low < 0.3 - 0.02 and high > 0.3 + 0.02


def test_of_fewer_than_thirty_rows_nothing_is_said() -> None:
    few, many = (Moments(*(np.full((1, 1), value) for value in (rows, 0.5, 0.01))) for rows in (29.0, 30.0))
    assert np.isnan(mean_interval(few, 0.05)).all() and np.isfinite(mean_interval(many, 0.05)).all()
    assert np.isnan(difference_interval(many, few, 0.05)).all()


@pytest.mark.parametrize("rows", [30, 300])
@pytest.mark.parametrize("draw", [dense, uneven, sparse])
def test_all_intervals_of_an_audit_hold_together_as_often_as_is_said(draw: Draw, rows: int) -> None:
    random, missed = np.random.default_rng(rows), 0
    for _ in range(AUDITS):
        moments = moments_of(np.stack([draw(random, rows) for _ in range(GROUPS)]))
        level = ALPHA / (GROUPS * PARTS)
        low, high = difference_interval(moments.as_shares(), moments.others().as_shares(), level)
        missed += bool(((low > 0) | (high < 0)).any())
    assert missed <= MOST_MISSES
