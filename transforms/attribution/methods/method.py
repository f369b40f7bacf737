"""What a method is."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from transforms.attribution.methods.integrand import STRAIGHT, Integrand
from transforms.attribution.methods.rules import Level, Quadrature

Values = npt.NDArray[Any]


def difference(inputs: Values, baselines: Values) -> Values:
    """x − x′, in float64."""
    found: Values = inputs - baselines.astype(np.float64)
    return found


@dataclasses.dataclass(frozen=True)
class Method:
    """What gradients at points between baseline and input add up to, times a factor.

    Attributes:
        levels: the points and their weights; several where a row goes on until it has converged.
        complete: whether Σ attributions → F(x) − F(x′), so that delta tells how good they are.
        factor: of inputs and baselines, [rows, *shape] each, what the sum is multiplied with: the same shape, float64;
            None: nothing.
        integrand: where the points lie, and how the gradients there combine.
        only: the end of the path that is a method's only point, which gives F there too.
        jittered: each copy of a row has one point of its own, drawn between its baseline and the row.
        sequential: where a point lies depends on the gradient at the one before it.
        try_first: refuses what cannot be right, on inputs and baselines of the first rows.
    """

    levels: tuple[Level, ...]
    complete: bool
    factor: Callable[[Values, Values], Values] | None = difference
    integrand: Integrand = STRAIGHT
    only: Literal["input", "baseline"] | None = None
    jittered: bool = False
    sequential: bool = False
    try_first: Callable[[Sequence[Values], Sequence[Values]], None] | None = None

    @property
    def hoisted(self) -> bool:
        """Whether the affine first part of a model may run once a row: it pays where a row has many points."""
        return self.integrand.linear and not (self.only or self.sequential or self.jittered)


def one_point(place: float) -> tuple[Level, ...]:
    """The gradient at one point of the path: 0 is the baseline, 1 the input."""
    return (Level(Quadrature(np.array([place]), np.array([1.0])), 0.0, 1),)
