"""One input of a model, as everything that feeds it needs to know it."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np


@dataclasses.dataclass(frozen=True)
class ModelInput:
    """One input of a model.

    Attributes:
        shape: of one example; None where the model takes any size.
        dtype: as the model declares it: what the data must be.
        point_dtype: in which the points on the path are computed and fed.
        explained: whether it is differentiated; else it is held at its value.
    """

    name: str
    shape: tuple[int | None, ...]
    dtype: np.dtype[Any]
    point_dtype: np.dtype[Any]
    explained: bool
