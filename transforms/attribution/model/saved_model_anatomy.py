"""What a SavedModel directory says about its model: protocol buffers, parsed and never executed."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Iterator, Mapping
from typing import Any

from transforms.attribution.model.anatomy_parts import (
    LayerInfo,
    Parts,
    Shape,
    SignatureInfo,
    TensorInfo,
    invalid,
    read_bytes,
)
from transforms.attribution.model.graph_reach import Graph, reachable, signature_nodes
from transforms.attribution.model.risks import saved_model_risks
from transforms.attribution.model.sole_casts import DT_FLOATS, only_cast_in_graph
from transforms.errors import quoted

# ops between layers that nobody would explain
# and those of several outputs
UNINTERESTING_OPS = frozenset(
    {"Identity", "IdentityN", "Placeholder", "PlaceholderWithDefault", "ReadVariableOp", "Split", "SplitV", "Unpack"}
)
# ops that look up rows, and the attribute that has the type of what they give
GATHERS = {"GatherV2": "Tparams", "ResourceGather": "dtype"}
# of the same model in other forms, which a loader might take first
OTHER_DESCRIPTIONS = ("saved_model.pbtxt", "saved_model.cpb")


def read_saved_model(place: pathlib.Path) -> Parts:
    """The parts of a SavedModel: its graph with the tag `serve`.

    Raises:
        UsageError: E_MODEL_INVALID.
    """
    model = _saved_model(place)
    tags = [sorted(graph.meta_info_def.tags) for graph in model.meta_graphs]
    served = [graph for graph in model.meta_graphs if "serve" in graph.meta_info_def.tags]
    if not served:
        raise invalid(str(place), f"no graph in saved_model.pb has the tag 'serve'; their tags are {quoted(tags)}")
    signatures = {
        key: served[0].signature_def[key] for key in sorted(served[0].signature_def) if not key.startswith("__")
    }
    layers = tuple(_op_layers(served[0], signatures))
    versions = {"tensorflow": served[0].meta_info_def.tensorflow_version}
    graph = Graph.of(served[0])
    shown = tuple(
        SignatureInfo(key, tuple(_inputs(one, graph)), _tensors(one.outputs)) for key, one in signatures.items()
    )
    return Parts(shown, layers, _risks(model, place), versions)


def read_saved_model_risks(place: pathlib.Path) -> tuple[str, ...]:
    """What a SavedModel could do besides arithmetic.

    Raises:
        UsageError: E_MODEL_INVALID.
    """
    return _risks(_saved_model(place), place)


def _risks(model: Any, place: pathlib.Path) -> tuple[str, ...]:
    others = [name for name in OTHER_DESCRIPTIONS if (place / name).exists()]
    return saved_model_risks(model) + tuple(f"beside saved_model.pb, a {name} that may be loaded" for name in others)


def _saved_model(place: pathlib.Path) -> Any:
    from tensorflow.core.protobuf import saved_model_pb2

    return _parsed(saved_model_pb2.SavedModel(), place / "saved_model.pb")


def _parsed(message: Any, file: pathlib.Path) -> Any:
    from google.protobuf.message import DecodeError

    try:
        message.ParseFromString(read_bytes(file))
    except DecodeError as error:
        raise invalid(str(file.parent), f"{file.name} is damaged ({error})") from error
    return message


def _inputs(signature: Any, graph: Graph) -> Iterator[TensorInfo]:
    """A signature's, and of its integers whether they are only cast."""
    for tensor in _tensors(signature.inputs):
        whole = tensor.dtype.startswith(("int", "uint"))
        name, outputs = signature.inputs[tensor.name].name, len(signature.outputs)
        only_cast = only_cast_in_graph(graph, name, outputs) if whole else None
        yield dataclasses.replace(tensor, only_cast=only_cast)


def _tensors(infos: Mapping[str, Any]) -> tuple[TensorInfo, ...]:
    return tuple(TensorInfo(key, _shape(infos[key].tensor_shape), _dtype(infos[key].dtype)) for key in sorted(infos))


def _shape(shape: Any) -> Shape | None:
    return None if shape.unknown_rank else tuple(None if dim.size < 0 else dim.size for dim in shape.dim)


def _dtype(number: int) -> str:
    from tensorflow import dtypes

    try:
        return str(dtypes.as_dtype(number).name)
    except TypeError:
        return "unknown"


def _op_layers(meta_graph: Any, signatures: Mapping[str, Any]) -> Iterator[LayerInfo]:
    """The ops that give floats, a batch of them: those that can be explained."""
    names = [name for signature in signatures.values() for name in signature_nodes(signature)]
    nodes = {found.path: found.node for found in reachable(Graph.of(meta_graph), names)}
    for path, node in nodes.items():
        shapes = node.attr["_output_shapes"].list.shape if "_output_shapes" in node.attr else ()
        shape = _shape(shapes[0]) if shapes else None
        if shape and shape[0] is None and node.op not in UNINTERESTING_OPS and _gives(node) in DT_FLOATS:
            yield LayerInfo(path, node.op, shape, embedding=_looks_up(node, path, nodes))


def _gives(node: Any) -> int:
    """The type of an op's first output."""
    return int(node.attr[GATHERS.get(node.op, "T")].type)


def _looks_up(node: Any, path: str, nodes: Mapping[str, Any]) -> bool:
    """Whether an op looks up rows of a table of weights: then its indices come from the data."""
    if node.op not in GATHERS or not node.input:
        return False
    table = path.removesuffix(node.name) + node.input[0].partition(":")[0]
    return node.op == "ResourceGather" or (table in nodes and nodes[table].op in ("Const", "ReadVariableOp"))
