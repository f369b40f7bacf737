"""Path integrated gradients: ∫ ∂F(γ(α)) ⊙ γ′(α) dα along a path γ of the user's, from γ(0) = x′ to γ(1) = x.

Source: Sundararajan, Taly, Yan, "Axiomatic Attribution for Deep Networks", ICML 2017, section 4.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from transforms.attribution.config import AttributionConfig
from transforms.attribution.methods.integrand import Integrand, Path, weighted_sum
from transforms.attribution.methods.method import Method
from transforms.attribution.methods.rules import levels
from transforms.errors import UsageError

# x and x′, [points, *shape], and α, [points, 1, ...] → the points and ∂point/∂α, [points, *shape]
UserPath = Callable[[Any, Any, Any], tuple[Any, Any]]
Values = npt.NDArray[Any]
# Of the whole way: what float32 leaves of a difference over STEP of it, with as much for the path's curvature.
SLACK, STEP = 1e-2, 1e-2
# where the tangent is looked at: a path of parts bends elsewhere
PLACE = 0.29


def method(config: AttributionConfig) -> Method:
    """The method as configured, on the straight path as long as it is not led `along` another."""
    return Method(levels(config), complete=True, factor=None)


def along(method: Method, function: UserPath) -> Method:
    """The method on the user's path, which its first rows try."""

    def path(value: Any, baseline: Any, nodes: Any) -> tuple[Any, Any]:
        count, shape = tf.shape(nodes)[1], value.shape[1:]
        alpha = tf.reshape(tf.cast(nodes, value.dtype), [-1, *[1] * len(shape)])
        found = function(tf.repeat(value, count, axis=0), tf.repeat(baseline, count, axis=0), alpha)
        points, tangents = (tf.ensure_shape(one, [None, *shape]) for one in found)
        return points, tangents

    def try_first(inputs: Sequence[Values], baselines: Sequence[Values]) -> None:
        for value, baseline in zip(inputs, baselines, strict=True):
            check_path(path, value[:1], np.broadcast_to(baseline[:1], value[:1].shape))

    return dataclasses.replace(method, integrand=Integrand(path, weighted_sum), try_first=try_first)


def check_path(path: Path, value: Values, baseline: Values) -> None:
    """Refuse a path that does not lead from x′ to x, or whose tangent is another's; x and x′ are [rows, *shape].

    Raises:
        UsageError: E_PATH_ENDS, E_PATH_TANGENT.
    """

    def at(alpha: float) -> tuple[Values, Values]:
        nodes = tf.fill([len(value), 1], tf.constant(alpha, value.dtype))
        points, tangents = path(tf.constant(value), tf.constant(baseline), nodes)
        return points.numpy(), tangents.numpy()

    way = float(np.abs(value - baseline).max())
    if way == 0:
        return
    for alpha, end in ((0.0, baseline), (1.0, value)):
        apart = float(np.abs(at(alpha)[0] - end).max())
        if not apart <= SLACK * way:
            raise UsageError(
                "E_PATH_ENDS",
                f"the path of attribution.method is {apart:.3g} away from its end at α = {alpha:g}; it must give the"
                " baseline at 0 and the input at 1",
            )
    steps = (at(PLACE + STEP / 2)[0] - at(PLACE - STEP / 2)[0]) / STEP
    apart = float(np.abs(steps - at(PLACE)[1]).max())
    if not apart <= SLACK * max(way, float(np.abs(steps).max())):
        raise UsageError(
            "E_PATH_TANGENT",
            f"the path of attribution.method has a tangent at α = {PLACE:g} that is {apart:.3g} off the difference of"
            " its own points; it must return the points and their derivative by α",
        )
