"""Whether a model does nothing with an integer input but cast it to a float: told by its files, where they tell it.

It is what `differentiable` finds in the frozen graph, from which all that the chosen output does not need is pruned.
So yes is said only where there is one output and one use, and no where no use at all is such a cast.
"""

from __future__ import annotations

import collections
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from transforms.attribution.model.graph_reach import Graph
from transforms.attribution.model.keras_config import is_functional, layers_of, objects, references

DT_FLOATS = frozenset({1, 2, 14, 19})  # DT_FLOAT, DT_DOUBLE, DT_BFLOAT16, DT_HALF
FLOATS = frozenset({"float16", "bfloat16", "float32", "float64"})
CALLS = frozenset({"PartitionedCall", "StatefulPartitionedCall"})
# functions of these attributes are not inlined, or replaced by others
APART = frozenset({"_noinline", "_XlaMustCompile", "api_implements"})

Uses = Mapping[str, Sequence[tuple[Any, int]]]


def only_cast_in_graph(graph: Graph, tensor: str, outputs: int) -> bool | None:
    """Whether the main graph's tensor is only cast; None where the description leaves a doubt.

    Args:
        outputs: how many the signature has.
    """
    users = list(_users(graph, tensor.partition(":")[0]))
    casts = [user for user in users if user is None or _is_cast(user)]
    if not casts:
        return False
    # a graph with a lookup table is not frozen, and cannot be cut
    return True if outputs == len(users) == 1 and users[0] is not None and not _has_tables(graph) else None


def only_cast_in_keras(model: Any, name: str) -> bool | None:
    """The same of an input layer of a Keras model, by its configuration."""
    users = list(_layers_that_use(model, name))
    kinds = {str(layer["class_name"]) for layer in users if str(layer.get("module", "")).split(".")[0] == "keras"}
    if not all(layer["class_name"] in kinds for layer in users):
        return None  # of another's making
    # with a mask, which tells the ids that pad from the others
    if kinds in ({"Embedding"}, {"Embedding", "NotEqual"}):
        return False
    is_cast = kinds == {"Rescaling"} or (kinds == {"Cast"} and users[0]["config"]["dtype"] in FLOATS)
    alone = len(users) == 1 and _output_count(model) == 1
    return (
        True
        if is_cast and alone and not any("Lookup" in kind or "Vectoriz" in kind for kind in _kinds(model))
        else None
    )


def _users(graph: Graph, name: str) -> Iterator[Any | None]:
    """What takes the tensor, through identities and calls; None for what cannot be followed, or may be pruned."""
    waiting, seen, scopes = [("", name)], set[tuple[str, str]](), dict[str, Uses]()
    while waiting:
        place = waiting.pop()
        function = graph.functions.get(place[0])
        if place in seen:
            yield None
            continue
        seen.add(place)
        if place[0] not in scopes:
            scopes[place[0]] = _uses(function.node_def if function else graph.nodes.values())
        if function and place[1] in {value.partition(":")[0] for value in function.ret.values()}:
            yield None
        for node, position in scopes[place[0]].get(place[1], ()):
            if node.op == "Identity":
                waiting.append((place[0], node.name))
            elif node.op in CALLS:
                argument = _argument(graph, node, position)
                if argument is None:
                    yield None
                else:
                    waiting.append(argument)
            else:
                yield node if function is None or not _is_cast(node) or _is_needed(function, node.name) else None


def _uses(nodes: Iterable[Any]) -> Uses:
    """By node or argument, the nodes that take it, and as which of their inputs."""
    found = collections.defaultdict[str, list[tuple[Any, int]]](list)
    for node in nodes:
        for position, tensor in enumerate(node.input):
            if not tensor.startswith("^"):
                found[tensor.partition(":")[0]].append((node, position))
    return found


def _argument(graph: Graph, node: Any, position: int) -> tuple[str, str] | None:
    """What an input of a call is called within; None for a function that is not inlined, or gives several things."""
    called = node.attr["f"].func.name
    function = graph.functions.get(called)
    if function is None or len(function.ret) != 1 or APART & {*function.attr, *node.attr}:
        return None
    arguments = function.signature.input_arg
    return (called, arguments[position].name) if position < len(arguments) else None


def _is_needed(function: Any, name: str) -> bool:
    nodes = {node.name: node for node in function.node_def}
    waiting, seen = [value.partition(":")[0] for value in function.ret.values()], set[str]()
    while waiting:
        found = waiting.pop()
        if found in nodes and found not in seen:
            seen.add(found)
            waiting.extend(tensor.removeprefix("^").partition(":")[0] for tensor in nodes[found].input)
    return name in seen


def _is_cast(node: Any) -> bool:
    return node.op == "Cast" and node.attr["DstT"].type in DT_FLOATS


def _has_tables(graph: Graph) -> bool:
    nodes = [*graph.nodes.values(), *(node for function in graph.functions.values() for node in function.node_def)]
    return any("Table" in node.op for node in nodes)


def _layers_that_use(model: Any, name: str) -> Iterator[Any]:
    """The layers that take an input, one that takes it twice twice over."""
    if not is_functional(model):
        yield from layers_of(model)[1:2]
        return
    for layer in layers_of(model):
        for tensor in objects(layer["inbound_nodes"], "__keras_tensor__"):
            if tensor["config"]["keras_history"][0] == name:
                yield layer


def _output_count(model: Any) -> int:
    return len(references(model["config"]["output_layers"], None)) if is_functional(model) else 1


def _kinds(model: Any) -> Iterator[str]:
    for layer in layers_of(model):
        yield str(layer["class_name"])
        yield from _kinds(layer)
