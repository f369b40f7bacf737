"""The bootstrap interval: as wide as theory says, covering as often as it says, the same for the same seed."""

from __future__ import annotations

import numpy as np
import pytest

from transforms.attribution.faithfulness import bootstrap
from transforms.attribution.faithfulness.bootstrap import Mean, bootstrapped


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_the_interval_of_a_large_sample_is_the_normal_one() -> None:
    values = rng(1).normal(3, 2, 400)
    found = bootstrapped(values, rng())
    half = 1.96 * values.std() / np.sqrt(400)
    assert (found.mean, found.n) == (pytest.approx(values.mean(), rel=1e-12), 400)
    # a quantile at 2.5 % of 2000 draws has a standard error of 0.06 of the deviation: 1.96 ± 4 · 0.06 is 12 %
    assert found.low == pytest.approx(values.mean() - half, abs=0.12 * half)
    assert found.high == pytest.approx(values.mean() + half, abs=0.12 * half)


def test_it_covers_the_truth_about_as_often_as_it_says() -> None:
    covered = 0
    for seed in range(200):
        found = bootstrapped(rng(seed).exponential(size=60), rng(seed))
        assert found.low is not None and found.high is not None
        covered += found.low <= 1 <= found.high
    # 95 % less what a percentile interval of 60 skewed values is known to lack; 4 deviations of 200 draws are 6 %
    assert 0.86 <= covered / 200 <= 0.995


def test_what_is_not_finite_does_not_count() -> None:
    assert bootstrapped(np.array([1.0, np.nan, 3.0, np.inf]), rng()).n == 2
    assert bootstrapped(np.array([np.nan, 5.0]), rng()) == Mean(5.0, None, None, 1)
    assert bootstrapped(np.array([np.nan]), rng()) == Mean(None, None, None, 0)


def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    values = rng(2).normal(size=50)
    whole = bootstrapped(values, rng(3))
    monkeypatch.setattr(bootstrap, "BLOCK_BYTES", 8 * 50 * 7)
    assert bootstrapped(values, rng(3)) == whole == bootstrapped(values, rng(3))
    assert bootstrapped(values, rng(4)) != whole
