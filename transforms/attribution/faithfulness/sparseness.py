"""Is a map concentrated on few features: Gini index and entropy of its absolute values."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Values = npt.NDArray[Any]


def gini(values: Values) -> float:
    """Gini index of |A|: 0 when all are equal, 1 − 1/n when one of the n has everything; NaN for a map of zeros.

    Source: Hurley, Rickard, "Comparing Measures of Sparsity", IEEE Transactions on Information Theory 2009; of
    attributions: Chalasani et al., "Concise Explanations of Neural Networks using Adversarial Training", ICML 2020.

    Args:
        values: attributions, of any shape.
    """
    sizes = np.sort(np.abs(values.astype(np.float64)), axis=None)
    total, count = sizes.sum(), sizes.size
    if not total > 0:
        return float("nan")
    ahead = count - np.arange(1, count + 1) + 0.5
    return float(1 - 2 * (sizes / total) @ (ahead / count))


def entropy(values: Values) -> float:
    """Entropy of |A| / Σ|A|, in nats: 0 when one feature has everything, ln n when all n are equal; NaN for zeros.

    Args:
        values: attributions, of any shape.
    """
    sizes = np.abs(values.astype(np.float64)).ravel()
    total = sizes.sum()
    if not total > 0:
        return float("nan")
    shares = sizes / total
    some = shares[shares > 0]
    return float(max(0.0, -(some @ np.log(some))))
