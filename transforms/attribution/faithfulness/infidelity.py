"""Infidelity: does a map predict how F changes when features are taken away.

Source: Yeh et al., "On the (In)fidelity and Sensitivity of Explanations", NeurIPS 2019.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Values = npt.NDArray[Any]
Mask = npt.NDArray[np.bool_]


def infidelity(predicted: Values, changes: Values) -> float:
    """E[(I·A − (F(x) − F(x − I)))²].

    Args:
        predicted: I·A for each perturbation I, [draws].
        changes: F(x) − F(x − I), [draws].
    """
    return float(np.mean((predicted.astype(np.float64) - changes) ** 2))


def scaled_infidelity(predicted: Values, changes: Values) -> float:
    """`infidelity` of β·A with the β that makes it smallest, E[(I·A)(ΔF)] / E[(I·A)²]; NaN where every I·A is 0."""
    doubles = predicted.astype(np.float64)
    size = doubles @ doubles
    return infidelity(doubles * (doubles @ changes / size), changes) if size > 0 else float("nan")


def subsets(features: int, draws: int, numbers: np.random.Generator) -> Mask:
    """Which features each perturbation takes away, [draws, features]: a share of them, itself drawn from [0, 1]."""
    shares = numbers.uniform(size=(draws, 1))
    found: Mask = numbers.uniform(size=(draws, features)) < shares
    return found
