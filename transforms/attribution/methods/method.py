"""What a method is."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from transforms.attribution.methods.integrand import STRAIGHT, Integrand
from transforms.attribution.methods.rules import Level

Values = npt.NDArray[Any]
Drawn = Literal["input", "baseline", "between"]


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
        drawn: where the points lie of a method that takes one for each draw: at the `input`, or noisy copies of it; at
            the `baseline`s; or `between` the input and each baseline. At either end they give F there too.
        sequential: where a point lies depends on the gradient at the one before it.
        try_first: refuses what cannot be right, on inputs and baselines of the first rows.
    """

    levels: tuple[Level, ...]
    complete: bool
    factor: Callable[[Values, Values], Values] | None = difference
    integrand: Integrand = STRAIGHT
    drawn: Drawn | None = None
    sequential: bool = False
    try_first: Callable[[Sequence[Values], Sequence[Values]], None] | None = None

    @property
    def hoisted(self) -> bool:
        """Whether the affine first part of a model may run once a row: it pays where a row has many points."""
        return self.integrand.linear and not (self.drawn or self.sequential)
