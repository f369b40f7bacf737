"""What a SavedModel could do besides arithmetic: files, network, Python. Read from its description, nothing is run.

The scan finds the ways out that are known; it is no sandbox. A model from a stranger belongs into a container without a
network all the same.
"""

from __future__ import annotations

import collections
import pathlib
from collections.abc import Iterator, Mapping
from typing import Any

from transforms.attribution.model.graph_reach import (
    Graph,
    Reached,
    called_functions,
    origin,
    reachable,
    signature_nodes,
)
from transforms.attribution.model.op_risks import runs_where_it_stands, what_it_does
from transforms.errors import quoted

RUN_AT_LOAD = frozenset({"_initialize", "_create_resource", "_destroy_resource"})
INIT_COLLECTIONS = ("saved_model_main_op", "saved_model_init_op", "legacy_init_op", "table_initializer")
RESTORES = frozenset({"Restore", "RestoreSlice", "RestoreV2"})
TABLE_FILES = frozenset({"InitializeTableFromTextFile", "InitializeTableFromTextFileV2"})


def saved_model_risks(model: Any) -> tuple[str, ...]:
    """One line for each kind of op that reaches outside, of those that loading, calling or deriving it can run.

    Args:
        model: a `SavedModel`; each of its meta graphs counts.
    """
    return tuple(dict.fromkeys(line for meta_graph in model.meta_graphs for line in _meta_graph_risks(meta_graph)))


def _meta_graph_risks(meta_graph: Any) -> Iterator[str]:
    graph, found = Graph.of(meta_graph), dict[str, str]()
    yield from _twice(meta_graph)
    inside = _Model(meta_graph, graph)
    for reached in inside.reached():
        op = reached.node.op
        does = None if op in graph.functions else inside.does(reached)
        if does is not None:
            found.setdefault(op, f"{op[:64]}: {does} (node {quoted(reached.node.name)})")
    yield from (found[op] for op in sorted(found))


def _twice(meta_graph: Any) -> Iterator[str]:
    """Names that mean two things: what is scanned must be what TensorFlow takes."""
    functions = collections.Counter(function.signature.name for function in meta_graph.graph_def.library.function)
    nodes = collections.Counter(node.name for node in meta_graph.graph_def.node)
    for what, names in (("functions", functions), ("nodes", nodes)):
        yield from (f"{count} {what} of the name {quoted(name)}" for name, count in names.items() if count > 1)


class _Model:
    """One meta graph, and what in it reads the model's own files as a model must."""

    def __init__(self, meta_graph: Any, graph: Graph) -> None:
        self._meta_graph, self._graph = meta_graph, graph
        self._called = called_functions(graph)
        self._assets = _asset_arguments(meta_graph, graph)

    def reached(self) -> Iterator[Reached]:
        """What a load, a call or a gradient can run, and what runs wherever it stands."""
        graph = self._graph
        yield from reachable(graph, self._root_nodes(), _root_functions(self._meta_graph.object_graph_def), named=True)
        for restored in reachable(graph, [self._meta_graph.saver_def.restore_op_name], named=True):
            if not self._restores_itself(restored):
                yield restored
        everywhere = [(name, node) for name, function in graph.functions.items() for node in function.node_def]
        everywhere += [("", node) for node in graph.nodes.values()]
        standing = {op for op in {node.op for _, node in everywhere} if runs_where_it_stands(op)}
        yield from (Reached(node.name, node, name) for name, node in everywhere if node.op in standing)

    def does(self, reached: Reached) -> str | None:
        """What an op does outside of the model."""
        if reached.node.op in TABLE_FILES and self._reads_an_asset(reached):
            return None
        return what_it_does(reached.node.op)

    def _root_nodes(self) -> list[str]:
        found = self._meta_graph
        names = [name for signature in found.signature_def.values() for name in signature_nodes(signature)]
        for key in INIT_COLLECTIONS:
            if key in found.collection_def:
                names.extend(found.collection_def[key].node_list.value)
        return names

    def _restores_itself(self, restored: Reached) -> bool:
        """Whether an op reads the model's own checkpoint: the saver's ops are in every model.

        TensorFlow 2 does not run them to load; of a model of TensorFlow 1 it does, and then feeds the path.
        """
        if restored.node.op not in RESTORES:
            return False
        if self._meta_graph.HasField("object_graph_def"):
            return True
        fed = self._meta_graph.saver_def.filename_tensor_name.partition(":")[0]
        return not restored.function and origin(self._graph.nodes, restored.node.input[0]) == fed

    def _reads_an_asset(self, reached: Reached) -> bool:
        """Whether the file of a table comes with the model. Who else calls the function could hand it another."""
        if len(reached.node.input) < 2 or reached.function in self._called:
            return False
        function = self._graph.functions.get(reached.function)
        nodes = {node.name: node for node in function.node_def} if function else self._graph.nodes
        return origin(nodes, reached.node.input[1]) in self._assets.get(reached.function, ())


def _asset_arguments(meta_graph: Any, graph: Graph) -> Mapping[str, frozenset[str]]:
    """By function, the arguments that a loader binds to files of the model; under "", the main graph's nodes."""
    objects, assets = meta_graph.object_graph_def, meta_graph.asset_file_def
    plain = [_is_plain(asset.filename) for asset in assets]
    found = {"": frozenset(asset.tensor_info.name.partition(":")[0] for asset in assets if _is_plain(asset.filename))}
    for name, concrete in objects.concrete_functions.items():
        if name not in graph.functions:
            continue
        arguments = [argument.name for argument in graph.functions[name].signature.input_arg]
        captured = arguments[len(arguments) - len(concrete.bound_inputs) :]
        found[name] = frozenset(
            argument
            for argument, bound in zip(captured, concrete.bound_inputs, strict=False)
            if 0 <= bound < len(objects.nodes) and _is_asset(objects.nodes[bound], plain)
        )
    return found


def _is_asset(node: Any, plain: list[bool]) -> bool:
    index = node.asset.asset_file_def_index
    return bool(node.WhichOneof("kind") == "asset" and 0 <= index < len(plain) and plain[index])


def _is_plain(name: str) -> bool:
    """Whether a file's name stays in the folder of assets."""
    path = pathlib.PurePosixPath(name)
    return not path.is_absolute() and ".." not in path.parts and "://" not in name


def _root_functions(object_graph: Any) -> list[str]:
    """The concrete functions of the signatures, and those that `tf.saved_model.load` itself calls."""
    wanted: set[int] = set()
    # whatever is called so, a dict as well as a map of signatures, is asked for the one that is explained
    named = {
        child.node_id for node in object_graph.nodes for child in node.children if child.local_name == "signatures"
    }
    for index, node in enumerate(object_graph.nodes):
        is_signatures = index in named or node.user_object.identifier == "signature_map"
        wanted.update(child.node_id for child in node.children if is_signatures or child.local_name in RUN_AT_LOAD)
        wanted.update(saveable.restore_function for saveable in node.saveable_objects.values())
    nodes = [object_graph.nodes[index] for index in sorted(wanted) if 0 <= index < len(object_graph.nodes)]
    bare = [node.bare_concrete_function.concrete_function_name for node in nodes]
    return [name for node in nodes for name in node.function.concrete_functions] + [name for name in bare if name]
