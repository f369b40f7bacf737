"""Path integrated gradients: ∫ ∂F(γ(α)) ⊙ γ′(α) dα along a path γ of the user's, from γ(0) = x′ to γ(1) = x.

Source: Sundararajan, Taly, Yan, "Axiomatic Attribution for Deep Networks", ICML 2017, section 4.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from transforms.attribution.config import AttributionConfig
from transforms.attribution.integrand import Integrand, weighted_sum
from transforms.attribution.methods.method import Method, ones
from transforms.attribution.rules import levels
from transforms.errors import UsageError

# x and x′, [points, *shape], and α, [points, 1, ...] → the points and ∂point/∂α, [points, *shape]
UserPath = Callable[[Any, Any, Any], tuple[Any, Any]]
Values = npt.NDArray[Any]
# Of the whole way: what float32 leaves of a difference over STEP of it, with as much for the path's curvature.
SLACK, STEP = 1e-2, 1e-2


def method(config: AttributionConfig) -> Method:
    """The method as configured; its path is `along` of the user's function."""
    return Method(levels(config), complete=True, factor=ones, integrand=along(_not_given))


def along(function: UserPath) -> Integrand:
    """The integrand on the user's path."""

    def path(value: Any, baseline: Any, nodes: Any) -> tuple[Any, Any]:
        count, shape = tf.shape(nodes)[1], value.shape[1:]
        alpha = tf.reshape(tf.cast(nodes, value.dtype), [-1, *[1] * len(shape)])
        found = function(tf.repeat(value, count, axis=0), tf.repeat(baseline, count, axis=0), alpha)
        points, tangents = (tf.ensure_shape(one, [None, *shape]) for one in found)
        return points, tangents

    return Integrand(path, weighted_sum)


def check_path(function: UserPath, value: Values, baseline: Values) -> None:
    """Refuse a path that does not lead from x′ to x, or whose tangent is another's; x and x′ are [rows, *shape].

    Raises:
        UsageError: E_PATH_ENDS, E_PATH_TANGENT.
    """
    path = along(function).path

    def at(alpha: float) -> tuple[Values, Values]:
        nodes = tf.fill([len(value), 1], tf.constant(alpha, value.dtype))
        points, tangents = path(tf.constant(value), tf.constant(baseline), nodes)
        return points.numpy(), tangents.numpy()

    way = float(np.abs(value - baseline).max())
    for alpha, end in ((0.0, baseline), (1.0, value)):
        apart = float(np.abs(at(alpha)[0] - end).max())
        if not apart <= SLACK * way:
            raise UsageError(
                "E_PATH_ENDS",
                f"the path of attribution.method is {apart:.3g} away from its end at α = {alpha:g}; it must give the"
                " baseline at 0 and the input at 1",
            )
    steps = (at(0.5 + STEP / 2)[0] - at(0.5 - STEP / 2)[0]) / STEP
    apart = float(np.abs(steps - at(0.5)[1]).max())
    if not apart <= SLACK * max(way, float(np.abs(steps).max())):
        raise UsageError(
            "E_PATH_TANGENT",
            f"the path of attribution.method gives a tangent at α = 0.5 that is {apart:.3g} off the difference of its"
            " own points; it must return the points and their derivative by α",
        )


def _not_given(value: Any, baseline: Any, alpha: Any) -> tuple[Any, Any]:
    raise UsageError("E_CODE_UNTRUSTED", "the path of attribution.method was not loaded; name its module with --trust")
