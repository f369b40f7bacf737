"""Maximum sensitivity: how much a map changes when its input hardly does.

Source: Yeh et al., "On the (In)fidelity and Sensitivity of Explanations", NeurIPS 2019.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Values = npt.NDArray[Any]
DRAWS, RADIUS = 10, 0.02


def nearby(values: Values, numbers: np.random.Generator, draws: int = DRAWS, radius: float = RADIUS) -> Values:
    """x + δ with δ uniform in ‖δ‖∞ ≤ `radius`, [draws, *shape] in the dtype of x [*shape]."""
    drawn = numbers.uniform(-radius, radius, (draws, *values.shape))
    return (values + drawn).astype(values.dtype)


def sensitivity_max(here: Values, there: Values) -> float:
    """max over δ of ‖A(x + δ) − A(x)‖₂ / ‖A(x)‖₂; NaN where A(x) is zero.

    Args:
        here: A(x), [features].
        there: A(x + δ), [draws, features].
    """
    own = here.astype(np.float64)
    size = np.linalg.norm(own)
    return float(np.linalg.norm(there - own, axis=1).max() / size) if size > 0 else float("nan")
