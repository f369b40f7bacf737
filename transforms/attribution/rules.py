"""Quadrature rules on [0, 1]: where on the path the gradient is taken, and how much each counts."""

from __future__ import annotations

import dataclasses

import numpy as np
import numpy.typing as npt

from transforms.attribution.config import Rule

Array = npt.NDArray[np.float64]


@dataclasses.dataclass(frozen=True)
class Quadrature:
    """Nodes and weights, float64 [steps] each; the weights sum to 1."""

    nodes: Array
    weights: Array


def quadrature(rule: Rule, steps: int) -> Quadrature:
    """The `steps` nodes and weights of a rule; nodes ascend.

    Error for a smooth integrand: left and right O(1/n), middle and trapezoid O(1/n²), Gauss-Legendre exact for
    polynomials up to degree 2n − 1. The trapezoid has n − 1 intervals between its n nodes, so that its weights sum
    to 1 (https://en.wikipedia.org/wiki/Trapezoidal_rule).
    """
    index = np.arange(steps, dtype=np.float64)
    even = np.full(steps, 1.0 / steps)
    if rule == "riemann_left":
        return Quadrature(index / steps, even)
    if rule == "riemann_right":
        return Quadrature((index + 1) / steps, even)
    if rule == "riemann_middle":
        return Quadrature((index + 0.5) / steps, even)
    if rule == "riemann_trapezoid":
        return _trapezoid(index)
    nodes, weights = np.polynomial.legendre.leggauss(steps)
    return Quadrature((nodes + 1) / 2, weights / 2)


def _trapezoid(index: Array) -> Quadrature:
    intervals = len(index) - 1
    weights = np.full(len(index), 1.0 / intervals)
    weights[[0, -1]] /= 2
    return Quadrature(index / intervals, weights)
