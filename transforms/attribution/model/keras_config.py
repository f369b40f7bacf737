"""How the configuration of a Keras model is laid out."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any


def layers_of(model: Any) -> list[Any]:
    """The layers of a model; none of what is no model."""
    inner = model["config"]
    return inner.get("layers", []) if isinstance(inner, dict) else []


def name_of(layer: Any) -> str:
    """The name of a layer."""
    return str(layer["config"]["name"])


def is_functional(model: Any) -> bool:
    """Whether its layers are a graph, and not a sequence."""
    return "output_layers" in model["config"]


def objects(value: Any, kind: str) -> Iterator[Any]:
    """The objects of that class anywhere within a configuration."""
    if isinstance(value, dict) and value.get("class_name") == kind:
        yield value
    for part in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from objects(part, kind)


def references(value: Any, key: str | None) -> list[tuple[str | None, list[Any]]]:
    """(dict key, `[layer, call, output]`) of those triples in any nesting."""
    if isinstance(value, dict):
        return [pair for name, part in value.items() for pair in references(part, name)]
    if len(value) == 3 and isinstance(value[0], str):
        return [(key, value)]
    return [pair for part in value for pair in references(part, key)]
