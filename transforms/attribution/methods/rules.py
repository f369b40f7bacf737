"""Quadrature rules on [0, 1]: where on the path the gradient is taken, and how much each counts."""

from __future__ import annotations

import dataclasses

import numpy as np
import numpy.typing as npt

from transforms.attribution.config import FIRST_LEVELS, AttributionConfig, Rule

Array = npt.NDArray[np.float64]


@dataclasses.dataclass(frozen=True)
class Quadrature:
    """Nodes and weights, float64 [steps] each; the weights sum to 1."""

    nodes: Array
    weights: Array


@dataclasses.dataclass(frozen=True)
class Level:
    """What one level of a nested rule adds to those before it.

    Attributes:
        rule: the new nodes only, with their weights in this level's sum.
        carry: what the sum of the level before counts in this one's.
        steps: gradients of this level and all before it.
    """

    rule: Quadrature
    carry: float
    steps: int


def levels(config: AttributionConfig) -> tuple[Level, ...]:
    """A fixed rule as its only level; for `steps: auto`, the nested rule's 2, 4, 8, … nodes up to `max_steps`."""
    if config.steps != "auto":
        return (Level(quadrature(config.rule, config.steps), 0.0, config.steps),)
    found = [Level(quadrature("nested", FIRST_LEVELS[0]), 0.0, FIRST_LEVELS[0])]
    while found[-1].steps * 2 <= config.max_steps:
        steps = found[-1].steps * 2
        full = quadrature("nested", steps)
        # every second node is new; the weights of the others are half of what they were
        found.append(Level(Quadrature(full.nodes[::2], full.weights[::2]), 0.5, steps))
    return tuple(found)


def doubling(config: AttributionConfig) -> tuple[Level, ...]:
    """So many equal steps; for `steps: auto` 4, 8, 16, … of them, each level anew, `max_steps` in all at most.

    For sums that a finer level cannot go on from. A level's nodes are the ends of its steps, without weights.
    """
    if config.steps != "auto":
        return (_even(config.steps, config.steps),)
    steps, found = FIRST_LEVELS[-1], [_even(FIRST_LEVELS[-1], FIRST_LEVELS[-1])]
    while found[-1].steps + 2 * steps <= config.max_steps:
        steps *= 2
        found.append(_even(steps, found[-1].steps + steps))
    return tuple(found)


def _even(steps: int, spent: int) -> Level:
    return Level(Quadrature(np.arange(steps + 1) / steps, np.zeros(steps + 1)), 0.0, spent)


def quadrature(rule: Rule, steps: int) -> Quadrature:
    """The `steps` nodes and weights of a rule; nodes ascend.

    Error for a smooth integrand: left and right O(1/n), middle and trapezoid O(1/n²), Gauss-Legendre exact for
    polynomials up to degree 2n − 1, nested O(1/n²). The trapezoid has n − 1 intervals between its n nodes, so that
    its weights sum to 1 (https://en.wikipedia.org/wiki/Trapezoidal_rule).
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
    if rule == "nested":
        return _nested(index + 1)
    nodes, weights = np.polynomial.legendre.leggauss(steps)
    return Quadrature((nodes + 1) / 2, weights / 2)


def _trapezoid(index: Array) -> Quadrature:
    intervals = len(index) - 1
    weights = np.full(len(index), 1.0 / intervals)
    weights[[0, -1]] /= 2
    return Quadrature(index / intervals, weights)


def _nested(index: Array) -> Quadrature:
    """The trapezoidal rule in t, where α = t² and dα = 2t dt: its first node, t = 0, has no weight.

    Nodes gather at the baseline. There the units of a network switch: a unit's w·(x′ + αD) + c changes its sign at a
    small α when its bias c is small beside its input (docs/numerics.md measures it).
    """
    steps = len(index)
    weights = 2 * index / steps**2
    weights[-1] = 1 / steps
    return Quadrature((index / steps) ** 2, weights)
