"""What a method is."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from transforms.attribution.config import AttributionConfig
from transforms.attribution.rules import Level, Quadrature

Values = npt.NDArray[Any]


@dataclasses.dataclass(frozen=True)
class Method:
    """A weighted sum of gradients at points on the straight path from baseline to input, times a factor.

    Attributes:
        levels: the points and their weights; several where a row goes on until it has converged.
        factor: of inputs and baselines, [rows, *shape] each, what the sum is multiplied with: the same shape, float64.
        complete: whether Σ attributions → F(x) − F(x′), so that delta tells how good they are.
    """

    levels: Callable[[AttributionConfig], tuple[Level, ...]]
    factor: Callable[[Values, Values], Values]
    complete: bool


def one_point(place: float) -> Callable[[AttributionConfig], tuple[Level, ...]]:
    """The gradient at one point of the path: 0 is the baseline, 1 the input."""
    return lambda config: (Level(Quadrature(np.array([place]), np.array([1.0])), 0.0, 1),)


def difference(inputs: Values, baselines: Values) -> Values:
    """x − x′, in float64."""
    found: Values = inputs - baselines.astype(np.float64)
    return found
