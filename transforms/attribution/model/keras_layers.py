"""The layers of a loaded Keras model by name, and a mark in its graph behind the one that is explained."""

from __future__ import annotations

import contextlib
import difflib
import re
from collections.abc import Collection, Iterator, Sequence
from typing import Any

import tensorflow as tf

from transforms.errors import UsageError, quoted

MARK = "attribeam_layer"
MARKED = re.compile(rf"(.*/)?{MARK}(_\d+)?")  # TensorFlow numbers those that meet in one scope


def layers_by_name(model: Any, prefix: str = "") -> dict[str, Any]:
    """Every layer and `keras.ops` of a model, `outer/inner` within nested ones: the names that `inspect` lists."""
    found: dict[str, Any] = {}
    for layer in getattr(model, "operations", getattr(model, "layers", ())):
        found[prefix + layer.name] = layer
        found |= layers_by_name(layer, f"{prefix}{layer.name}/")
    return found


def find_layer(model: Any, name: str) -> Any:
    """The layer of that name.

    Raises:
        UsageError: E_MODEL_LAYER.
    """
    import keras

    named = layers_by_name(model)
    inputs = [one for one, layer in named.items() if isinstance(layer, keras.layers.InputLayer)]
    check_layer(name, list(named), inputs)
    return named[name]


def check_layer(name: str, names: Sequence[str], inputs: Collection[str]) -> None:
    """Refuse what is no layer of a Keras model, or one of its inputs.

    Args:
        names: of all of its layers.

    Raises:
        UsageError: E_MODEL_LAYER.
    """
    if name not in names:
        near = difflib.get_close_matches(name, names, n=3, cutoff=0.3) or names[:3]
        raise UsageError(
            "E_MODEL_LAYER",
            f"the model has no layer {quoted(name)}; near are {near}: set model.layer to one that `attribeam inspect`"
            " lists",
        )
    if name in inputs:
        raise UsageError("E_MODEL_LAYER", f"{name!r} is an input of the model; leave model.layer out to explain it")


def embeddings(model: Any) -> tuple[str, ...]:
    """The names of its embedding layers."""
    import keras

    return tuple(name for name, layer in layers_by_name(model).items() if isinstance(layer, keras.layers.Embedding))


@contextlib.contextmanager
def marked(layer: Any | None, name: str) -> Iterator[None]:
    """While a model is traced within, an identity named `MARK` stands behind each call of the layer; never afterwards.

    Raises:
        UsageError: E_MODEL_LAYER for a layer that does not give one tensor.
    """
    if layer is None:
        yield
        return
    call, others = layer.call, list[Any]()

    def call_and_mark(*args: Any, **keywords: Any) -> Any:
        value = call(*args, **keywords)
        if not tf.is_tensor(value):  # Keras would take an error for its own
            others.append(value)
            return value
        return tf.identity(value, MARK)

    layer.call = call_and_mark
    try:
        yield
    finally:
        del layer.call
    if others:
        found = type(others[0]).__name__
        raise UsageError("E_MODEL_LAYER", f"layer {name!r} gives no tensor, but a {found}; name a layer behind it")
