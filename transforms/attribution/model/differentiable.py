"""Which inputs of a model can be differentiated: floats, and integers that are only cast to one; else what can be."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import tensorflow as tf

from transforms.attribution.model.subgraph import cut, what_comes_before
from transforms.errors import UsageError

if TYPE_CHECKING:
    from transforms.attribution.model.model_input import ModelInput


def cut_at_casts(function: Any) -> tuple[Any, dict[int, tf.DType]]:
    """Feed every integer input that is only cast to a float after its cast; by input, the cast's dtype."""
    feeds, casts = list(function.inputs), {}
    for index, tensor in enumerate(function.inputs):
        cast = _sole_cast(tensor) if tensor.dtype.is_integer else None
        if cast is not None:
            feeds[index], casts[index] = cast, cast.dtype
    if not casts:
        return function, casts
    return cut(function.graph, what_comes_before(function.graph.get_operations()), feeds, function.outputs), casts


def _sole_cast(tensor: Any) -> Any:
    """The float tensor that an input is cast to, when nothing else is done with it; else None."""
    consumers = tensor.consumers()
    # inlining the functions of a SavedModel leaves identities behind
    while len(consumers) == 1 and consumers[0].type == "Identity":
        consumers = consumers[0].outputs[0].consumers()
    is_cast = len(consumers) == 1 and consumers[0].type == "Cast"
    return consumers[0].outputs[0] if is_cast and consumers[0].outputs[0].dtype.is_floating else None


def not_differentiable(inputs: Sequence[ModelInput], embeddings: Sequence[str]) -> UsageError:
    """E_MODEL_NOT_DIFFERENTIABLE, with what to explain instead: these embedding layers, where there are any."""
    listed = ", ".join(f"{spec.name} ({spec.dtype})" for spec in inputs)
    layers = " or ".join(f"model.layer: {name}" for name in embeddings[:3])
    remedy = (
        f"explain the embedding instead, with {layers}"
        if embeddings
        else "integrated gradients need a float input, or an integer one that the model only casts to float. `attribeam"
        " inspect` lists layers to explain instead, with model.layer"
    )
    return UsageError(
        "E_MODEL_NOT_DIFFERENTIABLE", f"none of the model's inputs can be differentiated: {listed}; {remedy}"
    )
