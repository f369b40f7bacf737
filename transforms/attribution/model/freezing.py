"""A loaded model as one flat function of its inputs, and as a graph whose weights are constants, where that can be."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

from transforms.attribution.model.loading import Callee

# protobuf refuses messages of 2 GB; a graph of constants is one message
MAX_FROZEN_BYTES = 1_900_000_000


def flat_function(callee: Callee) -> Any:
    """The concrete function of a tensor for each input."""

    def flat(*tensors: Any) -> Any:
        return callee.call(tensors)

    return tf.function(flat, input_signature=callee.inputs, autograph=False).get_concrete_function()


def frozen(concrete: Any) -> Any | None:
    """The same as a graph of its own; None for one with a lookup table, with text inputs, or too large."""
    return convert_variables_to_constants_v2(concrete, lower_control_flow=False) if _can_freeze(concrete) else None


def owning(concrete: Any, callee: Callee) -> Callable[..., Any]:
    """The function, with what it needs: TensorFlow's graphs refer to their variables weakly."""

    def call(*tensors: Any) -> Any:
        assert callee is not None
        return concrete(*tensors)

    return call


def called(concrete: Any) -> str:
    """The op that calls a SavedModel's signature: inlined, its name stands before those of the signature's own ops."""
    return next((op.name for op in concrete.graph.get_operations() if op.type.endswith("PartitionedCall")), "")


def _can_freeze(concrete: Any) -> bool:
    weights = sum(variable.shape.num_elements() * variable.dtype.size for variable in concrete.graph.variables)
    handles = {id(variable.handle) for variable in concrete.graph.variables}
    tables = any(outer.dtype == tf.resource and id(outer) not in handles for outer, _ in concrete.graph.captures)
    strings = any(tensor.dtype == tf.string for tensor in concrete.inputs)
    return not tables and not strings and weights <= MAX_FROZEN_BYTES
