"""A model cut at one of its layers: the part up to the layer's value, run once a row, and the rest, which is explained.

The rest takes the value, and besides it those of the model's own inputs that lead past the layer: a residual bypass, or
a mask that is computed from token ids. They are held at the row's values.
"""

from __future__ import annotations

import dataclasses
import difflib
import re
from collections.abc import Collection, Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from transforms.attribution.model.keras_layers import MARKED
from transforms.attribution.model.subgraph import cut, needed, what_comes_before
from transforms.errors import UsageError, quoted

Values = npt.NDArray[Any]
GATHERS = frozenset(("GatherV2", "ResourceGather"))


@dataclasses.dataclass(frozen=True)
class Layer:
    """The part of a model up to a layer.

    Attributes:
        name: as configured.
        reads: the positions of the model's inputs that the value is computed from.
        dtype: of the value, at least float32.
        function: a tensor for each of the model's inputs, [batch, *shape] → list of the layer's value.
    """

    name: str
    reads: frozenset[int]
    dtype: np.dtype[Any]
    function: Any

    def values(self, sources: Sequence[Values]) -> Values:
        """The layer's value at some rows, [rows, *shape].

        Raises:
            UsageError: E_MODEL_LAYER when its first axis is not that of the rows.
        """
        found: Values = self.function(*map(tf.convert_to_tensor, sources))[0].numpy().astype(self.dtype, copy=False)
        if found.shape[:1] != sources[0].shape[:1]:
            raise UsageError(
                "E_MODEL_LAYER",
                f"layer {self.name!r} gives {list(found.shape)} for {len(sources[0])} rows; name one whose first axis"
                " is the row",
            )
        return found


@dataclasses.dataclass(frozen=True)
class Division:
    """A frozen function in two.

    Attributes:
        value: the layer's tensor in the whole graph.
        held: the positions of the model's inputs that the rest takes besides it.
        rest: the value and the inputs held → list of what the function gives.
    """

    layer: Layer
    value: Any
    held: tuple[int, ...]
    rest: Any


def divide(function: Any, name: str, prefix: str | None) -> Division:
    """Cut a frozen function at a layer.

    Args:
        prefix: what inlining put before the names of a SavedModel's ops; None for a Keras model, whose layer is marked.

    Raises:
        UsageError: E_MODEL_LAYER.
    """
    before = what_comes_before(function.graph.get_operations())
    ends = [tensor.op for tensor in function.outputs]
    whole = needed(before, ends)
    value = _marked(function, name, whole) if prefix is None else _named(function, name, prefix)
    if value.op.name not in whole:
        raise _refused(name, "is nothing that the explained output depends on; model.output chooses the output")
    _check(value, name)
    past, feeding = needed(before, ends, value.op.name), needed(before, [value.op])
    held = tuple(index for index, tensor in enumerate(function.inputs) if tensor.op.name in past)
    reads = frozenset(index for index, tensor in enumerate(function.inputs) if tensor.op.name in feeding)
    if not reads:
        raise _refused(name, "does not depend on any input of the model")
    dtype = np.dtype(np.float64 if value.dtype == tf.float64 else np.float32)
    layer = Layer(name, reads, dtype, cut(function.graph, before, function.inputs, [value]))
    feeds = [value, *(function.inputs[index] for index in held)]
    return Division(layer, value, held, cut(function.graph, before, feeds, function.outputs))


def column_name(layer: str, taken: Sequence[str]) -> str:
    """What the layer's values are called beside inputs of these names; nothing in it that a query would quote."""
    name = re.sub(r"[^\w-]", "_", layer.removesuffix(":0"))
    return f"layer_{name}" if name in taken else name


def gathers(function: Any, prefix: str) -> Iterator[str]:
    """The ops of a frozen function that look up a row of a table for each integer of an input: embeddings."""
    operations = function.graph.get_operations()
    before, inputs = what_comes_before(operations), {tensor.op.name for tensor in function.inputs}
    ids = {tensor.op.name for tensor in function.inputs if tensor.dtype.is_integer}
    for op in operations:
        if op.type in GATHERS and op.outputs[0].dtype.is_floating:
            table, indices = (needed(before, [tensor.op]) for tensor in op.inputs[:2])
            if indices & ids and not table & inputs:
                yield op.name.removeprefix(f"{prefix}/")


def _marked(function: Any, name: str, whole: Collection[str]) -> Any:
    """The output of the mark behind a Keras layer."""
    found = [op for op in function.graph.get_operations() if MARKED.fullmatch(op.name) and op.name in whole]
    if len(found) > 1:
        raise _refused(name, f"is used {len(found)} times: its value is not one tensor; name a layer before or behind")
    if not found:
        raise _refused(name, "is nothing that the explained output depends on, or stands within a loop or a branch")
    return found[0].outputs[0]


def _named(function: Any, name: str, prefix: str) -> Any:
    """The first output of a SavedModel's op: by its name as `inspect` lists it, or by the end of it."""
    wanted, operations = name.removesuffix(":0"), {op.name: op for op in function.graph.get_operations() if op.outputs}
    exact = [operations[full] for full in (f"{prefix}/{wanted}", wanted) if full in operations]
    found = exact[:1] or [op for full, op in operations.items() if full.endswith(f"/{wanted}")]
    if len(found) == 1:
        return found[0].outputs[0]
    if found:
        near, problem = [op.name.removeprefix(f"{prefix}/") for op in found][:3], f"is the end of {len(found)} names"
    else:
        ends = {"/".join(full.split("/")[-1 - wanted.count("/") :]) for full in operations}
        near, problem = difflib.get_close_matches(wanted, ends, n=3), "is no op of the model's graph"
    raise _refused(name, f"{problem}{f', near are {near}' if near else ''}; `attribeam inspect` lists them")


def _check(value: Any, name: str) -> None:
    if not value.dtype.is_floating:
        raise _refused(name, f"gives {value.dtype.name}, which cannot be differentiated; name one that gives floats")
    if any(other.consumers() for other in value.op.outputs[1:]):
        raise _refused(name, "has several outputs that are used; name what comes behind the one that is meant")
    if not value.shape.rank:
        raise _refused(name, f"gives {value.shape}; name one that gives [batch, ...] of a known rank")


def _refused(name: str, problem: str) -> UsageError:
    return UsageError("E_MODEL_LAYER", f"model.layer: {quoted(name)} {problem}")
