"""What a model could do besides arithmetic: files, network, Python. Read from its description, nothing is run.

The scan is a reading aid, not a sandbox: it finds the ways out that are known. A model from a stranger belongs into
a container without a network.
"""

from __future__ import annotations

import collections
import dataclasses
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from transforms.errors import quoted

# SaveV2 and its kin are in every model, but only its saver calls them: reached from a signature they write files.
# RestoreV2 is reached from the table restorers that run at load time, so it says nothing.
RISKY_OPS = tuple(
    (does, re.compile(pattern))
    for does, pattern in (
        ("runs Python code", r"(Eager)?PyFunc(Stateless)?|GeneratorDataset"),
        ("runs native code", r"XlaCustomCall(V2)?|CustomPluginOp"),
        ("writes files", r"WriteFile|Save(V2|Slices)?|MergeV2Checkpoints|(Distributed)?Save(Dataset(V2)?)?"),
        ("writes files", r"Create(Summary(File|Db)Writer)|(Snapshot(Chunk)?Dataset|CacheDataset)(V2)?"),
        ("reads files", r"ReadFile|(Experimental)?MatchingFiles(Dataset)?|LoadAndRemapMatrix|LoadDataset"),
        ("reads files", r"InitializeTableFromTextFile(V2)?|ListSnapshotChunksDataset|Snapshot(Nested)?DatasetReader"),
        ("reads files", r"(WholeFile|TextLine|FixedLengthRecord|TFRecord|LMDB)Reader(V2)?"),
        ("reads files", r"(Experimental)?(TFRecord|TextLine|FixedLengthRecord|CSV|LMDB)Dataset(V2)?"),
        ("opens a database or a server", r"(Experimental)?SqlDataset|Bigtable\w*|(Register|DataService)Dataset(V\d)?"),
        ("talks to other processes", r"_?(Host)?(Send|Recv)|Collective\w*|RemoteCall|Rpc\w*|TryRpc"),
        ("changes how files are reached", r"FileSystemSetConfiguration"),
        (
            "prints what it computes",
            r"Print(V2)?|Debug(NanCount|(Gradient)?(Ref)?Identity(V[23])?|NumericSummary(V2)?)",
        ),
    )
)
RUN_AT_LOAD = frozenset({"_initialize", "_create_resource", "_destroy_resource"})
INIT_COLLECTIONS = ("saved_model_main_op", "saved_model_init_op", "legacy_init_op", "table_initializer")

SAFE_KERAS_MODULES = re.compile(
    r"keras(\.(src\.)?(activations|constraints|dtype_policies|engine|initializers|layers|losses|metrics|models|ops"
    r"|optimizers|quantizers|random|regularizers|tree)(\.\w+)*)?"
)
RISKY_KERAS_CLASSES = {
    "__lambda__": "Python bytecode",
    "Lambda": "runs a Python function",
    "TFSMLayer": "loads a SavedModel from a path",
    "TorchModuleWrapper": "unpickles a PyTorch module",
    "JaxLayer": "runs a Python function",
    "FlaxLayer": "runs a Python function",
}


@dataclasses.dataclass(frozen=True)
class Graph:
    """A meta graph's nodes and functions by name; `gradients`: custom gradients' functions by what they derive."""

    nodes: Mapping[str, Any]
    functions: Mapping[str, Any]
    gradients: Mapping[str, str]

    @classmethod
    def of(cls, meta_graph: Any) -> Graph:
        """Index a `MetaGraphDef`."""
        library = meta_graph.graph_def.library
        gradients = {entry.registered_op_type: entry.gradient_func for entry in library.registered_gradients}
        gradients.update((entry.function_name, entry.gradient_func) for entry in library.gradient)
        return cls(
            {node.name: node for node in meta_graph.graph_def.node},
            {function.signature.name: function for function in library.function},
            gradients,
        )


def reachable(graph: Graph, nodes: Iterable[str], functions: Iterable[str] = ()) -> Iterator[tuple[str, Any]]:
    """(path, NodeDef) of all that can run for those main-graph nodes and functions; each function once.

    The path is the node's name in the flat graph: the call nodes it is inlined through, joined by `/`.
    """
    waiting = collections.deque(("", name) for name in functions)
    for name in _ancestors(graph.nodes, nodes):
        yield name, graph.nodes[name]
        waiting.extend((name, called) for called in _called(graph, graph.nodes[name]))
    seen = set()
    while waiting:
        path, name = waiting.popleft()
        if name in seen or name not in graph.functions:
            continue
        seen.add(name)
        # a loaded signature is its wrapper: names in the flat graph start inside it
        prefix = "" if "signature_wrapper" in name or not path else f"{path}/"
        for node in graph.functions[name].node_def:
            yield prefix + node.name, node
            waiting.extend((prefix + node.name, called) for called in _called(graph, node))


def _ancestors(nodes: Mapping[str, Any], names: Iterable[str]) -> Iterator[str]:
    waiting, seen = list(names), set()
    while waiting:
        name = waiting.pop().removeprefix("^").partition(":")[0]
        if name in nodes and name not in seen:
            seen.add(name)
            yield name
            waiting.extend(nodes[name].input)


def _called(graph: Graph, node: Any) -> list[str]:
    """Names of the functions a node calls, their gradients included: explaining a model runs those too."""
    names = {node.op, *_function_names(node.attr)}
    keys = set(names)
    if "_gradient_op_type" in node.attr:
        keys.add(node.attr["_gradient_op_type"].s.decode(errors="replace"))
    return sorted(names | {graph.gradients[key] for key in keys if key in graph.gradients})


def _function_names(attributes: Mapping[str, Any]) -> Iterator[str]:
    for value in attributes.values():
        for function in [*([value.func] if value.HasField("func") else []), *value.list.func]:
            yield function.name
            yield from _function_names(function.attr)


def signature_nodes(signature: Any) -> list[str]:
    """The main graph's tensors that a `SignatureDef` returns."""
    return [name for info in signature.outputs.values() for name in _tensor_names(info)]


def _tensor_names(info: Any) -> list[str]:
    sparse, parts = info.coo_sparse, info.composite_tensor.components
    names = [info.name, sparse.values_tensor_name, sparse.indices_tensor_name, sparse.dense_shape_tensor_name]
    return [name for name in names if name] + [name for part in parts for name in _tensor_names(part)]


def saved_model_risks(meta_graph: Any) -> tuple[str, ...]:
    """One line for each kind of op that reaches outside, of those that loading, calling or deriving it can run.

    Args:
        meta_graph: a `MetaGraphDef`.
    """
    graph = Graph.of(meta_graph)
    found: dict[str, str] = {}
    for _, node in reachable(graph, _root_nodes(meta_graph), _root_functions(meta_graph.object_graph_def)):
        does = None if node.op in graph.functions else _does(node.op)
        if does is not None:
            found.setdefault(node.op, f"{node.op[:64]}: {does} (node {quoted(node.name)})")
    return tuple(found[op] for op in sorted(found))


def _does(op: str) -> str | None:
    from tensorflow.python.framework import op_def_registry

    for does, pattern in RISKY_OPS:
        if pattern.fullmatch(op):
            return does
    return None if op_def_registry.get(op) else "is no op of this TensorFlow; it needs a native library"


def _root_nodes(meta_graph: Any) -> list[str]:
    names = [name for signature in meta_graph.signature_def.values() for name in signature_nodes(signature)]
    for key in INIT_COLLECTIONS:
        if key in meta_graph.collection_def:
            names.extend(meta_graph.collection_def[key].node_list.value)
    return [*names, meta_graph.saver_def.restore_op_name]


def _root_functions(object_graph: Any) -> list[str]:
    """The concrete functions of the signatures, and those that `tf.saved_model.load` itself calls."""
    wanted: set[int] = set()
    for node in object_graph.nodes:
        is_signatures = node.user_object.identifier == "signature_map"
        wanted.update(child.node_id for child in node.children if is_signatures or child.local_name in RUN_AT_LOAD)
        wanted.update(saveable.restore_function for saveable in node.saveable_objects.values())
    nodes = [object_graph.nodes[index] for index in sorted(wanted) if 0 <= index < len(object_graph.nodes)]
    bare = [node.bare_concrete_function.concrete_function_name for node in nodes]
    return [name for node in nodes for name in node.function.concrete_functions] + [name for name in bare if name]


def keras_risks(config: Any) -> tuple[str, ...]:
    """One line for each object of a Keras configuration (parsed JSON) that brings or runs code of its own."""
    found: set[str] = set()
    waiting = [config]
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            found.update(_object_risks(value))
            waiting.extend(value.values())
        elif isinstance(value, list):
            waiting.extend(value)
    return tuple(sorted(found))


def _object_risks(value: Mapping[str, Any]) -> Iterator[str]:
    kind, module, registered = value.get("class_name"), value.get("module"), value.get("registered_name")
    if not isinstance(kind, str):
        return
    if kind in RISKY_KERAS_CLASSES:
        yield f"{kind}: {RISKY_KERAS_CLASSES[kind]}"
    if module is not None and not _is_keras(module):
        yield f"{quoted(kind)}: not a Keras class but of the module {quoted(module)}"
    elif ">" in kind or registered not in (None, kind):
        yield f"{quoted(kind)}: a custom class, registered as {quoted(registered or kind)}"
    elif module is None and registered is not None:
        yield f"{quoted(kind)}: a custom class"
    inner = value.get("config")
    if isinstance(inner, dict) and isinstance(inner.get("vocabulary"), str):
        yield f"{quoted(kind)}: reads its vocabulary from the file {quoted(inner['vocabulary'])}"


def _is_keras(module: object) -> bool:
    """Whether Keras keeps only layers, losses and the like there: `keras.utils.get_file` is Keras, and downloads."""
    return SAFE_KERAS_MODULES.fullmatch(str(module)) is not None
