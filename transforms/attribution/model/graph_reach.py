"""Which ops of a SavedModel's graph can run for a signature, or when it is loaded: found in its description alone."""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple


@dataclasses.dataclass(frozen=True)
class Graph:
    """A meta graph's nodes and functions by name.

    Attributes:
        gradients: custom gradients' functions by what they derive.
        twins: the functions that stand in for each other, by the interface that they say they implement: TensorFlow
            takes the one for the device at hand (https://github.com/tensorflow/tensorflow, implementation_selector.cc).
    """

    nodes: Mapping[str, Any]
    functions: Mapping[str, Any]
    gradients: Mapping[str, str]
    twins: Mapping[str, tuple[str, ...]]

    @classmethod
    def of(cls, meta_graph: Any) -> Graph:
        """Index a `MetaGraphDef`."""
        library = meta_graph.graph_def.library
        gradients = {entry.registered_op_type: entry.gradient_func for entry in library.registered_gradients}
        gradients.update((entry.function_name, entry.gradient_func) for entry in library.gradient)
        twins = collections.defaultdict[str, tuple[str, ...]](tuple)
        for function in library.function:
            if interface := _text(function.attr["api_implements"]) if "api_implements" in function.attr else "":
                twins[interface] += (function.signature.name,)
        return cls(
            {node.name: node for node in meta_graph.graph_def.node},
            {function.signature.name: function for function in library.function},
            gradients,
            twins,
        )


class Reached(NamedTuple):
    """An op that can run.

    Attributes:
        path: its name in the flat graph: the call nodes it is inlined through, joined by `/`.
        function: that it stands in; "" for the main graph.
    """

    path: str
    node: Any
    function: str


def reachable(
    graph: Graph, nodes: Iterable[str], functions: Iterable[str] = (), named: bool = False
) -> Iterator[Reached]:
    """All that can run for those main-graph nodes and functions; each function once.

    Args:
        named: also functions that an attribute only names, and those that may stand in for one that is called.
    """
    waiting = collections.deque(("", name) for name in functions)
    for name in _ancestors(graph.nodes, nodes):
        yield Reached(name, graph.nodes[name], "")
        waiting.extend((name, called) for called in _called(graph, graph.nodes[name], named))
    seen = set()
    while waiting:
        path, name = waiting.popleft()
        if name in seen or name not in graph.functions:
            continue
        seen.add(name)
        if named:
            waiting.extend((path, other) for other in _attached(graph, graph.functions[name]))
        # a loaded signature is its wrapper: names in the flat graph start inside it
        prefix = "" if "signature_wrapper" in name or not path else f"{path}/"
        for node in graph.functions[name].node_def:
            yield Reached(prefix + node.name, node, name)
            waiting.extend((prefix + node.name, called) for called in _called(graph, node, named))


def origin(nodes: Mapping[str, Any], tensor: str) -> str:
    """The node, or the argument of a function, that a tensor comes from unchanged."""
    for _ in range(len(nodes) + 1):
        name = _node_name(tensor)
        if name not in nodes or nodes[name].op != "Identity" or not nodes[name].input:
            return name
        tensor = nodes[name].input[0]
    return ""


def called_functions(graph: Graph) -> frozenset[str]:
    """The functions that a node of another function calls, as opposed to those that only a loader does."""
    nodes = (node for function in graph.functions.values() for node in function.node_def)
    return frozenset(name for node in nodes for name in _called(graph, node, named=True))


def signature_nodes(signature: Any) -> list[str]:
    """The main graph's tensors that a `SignatureDef` returns."""
    return [name for info in signature.outputs.values() for name in _tensor_names(info)]


def _tensor_names(info: Any) -> list[str]:
    sparse, parts = info.coo_sparse, info.composite_tensor.components
    names = [info.name, sparse.values_tensor_name, sparse.indices_tensor_name, sparse.dense_shape_tensor_name]
    return [name for name in names if name] + [name for part in parts for name in _tensor_names(part)]


def _ancestors(nodes: Mapping[str, Any], names: Iterable[str]) -> Iterator[str]:
    waiting, seen = list(names), set()
    while waiting:
        name = _node_name(waiting.pop())
        if name in nodes and name not in seen:
            seen.add(name)
            yield name
            waiting.extend(nodes[name].input)


def _node_name(tensor: str) -> str:
    return tensor.removeprefix("^").partition(":")[0]


def _called(graph: Graph, node: Any, named: bool) -> list[str]:
    """Names of the functions a node calls, their gradients included: explaining a model runs those too."""
    names = {node.op, *_function_names(node.attr)}
    keys = set(names)
    if "_gradient_op_type" in node.attr:
        keys.add(_text(node.attr["_gradient_op_type"]))
    found = names | {graph.gradients[key] for key in keys if key in graph.gradients}
    return sorted(found | _named(graph, node.attr) if named else found)


def _attached(graph: Graph, function: Any) -> set[str]:
    """Functions that another one names as a part or a stand-in of its own."""
    twins = graph.twins.get(_text(function.attr["api_implements"]), ()) if "api_implements" in function.attr else ()
    gradient = graph.gradients.get(function.signature.name, "")
    return {*twins, gradient, *_function_names(function.attr), *_named(graph, function.attr)}


def _named(graph: Graph, attributes: Mapping[str, Any]) -> set[str]:
    """Functions whose bare names stand in attributes, as those of a backward pass do; or the interface of some."""
    texts = {_text(value) for value in attributes.values()}
    texts |= {text.decode(errors="replace") for value in attributes.values() for text in value.list.s}
    twins = {name for text in texts for name in graph.twins.get(text, ())}
    return {text for text in texts if text in graph.functions} | twins


def _text(value: Any) -> str:
    return str(value.s.decode(errors="replace"))


def _function_names(attributes: Mapping[str, Any]) -> Iterator[str]:
    for value in attributes.values():
        for function in [*([value.func] if value.HasField("func") else []), *value.list.func]:
            yield function.name
            yield from _function_names(function.attr)
