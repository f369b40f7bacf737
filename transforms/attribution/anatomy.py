"""What a model is made of, read from its files: none of its code runs, nothing is loaded."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import pathlib
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from typing import Any, Literal

from transforms.attribution import risks
from transforms.errors import UsageError, quoted

MAX_CONFIG_BYTES = 64 << 20
HDF5_MAGIC = b"\x89HDF\r\n\x1a\n"
# ops between layers that nobody would explain
UNINTERESTING_OPS = frozenset({"Identity", "IdentityN", "Placeholder", "PlaceholderWithDefault", "ReadVariableOp"})
DT_FLOATS = frozenset({1, 2, 14, 19})  # DT_FLOAT, DT_DOUBLE, DT_BFLOAT16, DT_HALF
SAME_SHAPE_LAYERS = frozenset(
    {"Activation", "BatchNormalization", "Dropout", "LayerNormalization", "ReLU", "Relu", "Softmax"}
)

Shape = tuple[int | None, ...]


@dataclasses.dataclass(frozen=True)
class TensorInfo:
    """An input or output: `shape` has the batch dimension first; None when not even its rank is known."""

    name: str
    shape: Shape | None
    dtype: str


@dataclasses.dataclass(frozen=True)
class SignatureInfo:
    """One way of calling the model. A .keras file has one, shown under the name that its export would have."""

    name: str
    inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...]


@dataclasses.dataclass(frozen=True)
class LayerInfo:
    """A Keras layer (`outer/inner` within nested models), or an op by its name in the flat graph.

    Attributes:
        kind: the Keras class, or the op's type.
        output: the shape of its first output, the batch dimension first; None when the files do not say.
    """

    name: str
    kind: str
    output: Shape | None


@dataclasses.dataclass(frozen=True)
class Anatomy:
    """All that a model's files say about it. `risks`: a line for each thing that could reach outside."""

    path: str
    kind: Literal["saved_model", "keras"]
    digest: str
    bytes: int
    signatures: tuple[SignatureInfo, ...]
    layers: tuple[LayerInfo, ...]
    risks: tuple[str, ...]
    versions: dict[str, str]


def dissect(path: str) -> Anatomy:
    """Read a SavedModel directory or a .keras file, without running anything of it.

    Raises:
        UsageError: E_MODEL_MISSING, E_MODEL_H5, E_MODEL_INVALID (neither of the two, or damaged).
    """
    kind, place = _kind(path), pathlib.Path(path)
    if kind == "saved_model":
        parts = _saved_model_parts(place)
    else:
        try:
            parts = _keras_parts(place)
        except (KeyError, TypeError, AttributeError, IndexError, RecursionError) as error:
            raise _invalid(path, f"its description is not a Keras model's ({type(error).__name__})") from error
    size = sum(file.stat().st_size for _, file in _files(place))
    return Anatomy(path, kind, digest(path), size, *parts)


def digest(path: str) -> str:
    """The sha256 of a model, in hex: of a file's bytes; of a directory, over its sorted names and files' sha256.

    Raises:
        UsageError: E_MODEL_MISSING, E_MODEL_H5, E_MODEL_INVALID (neither a SavedModel nor .keras, or unreadable).
    """
    _kind(path)
    place = pathlib.Path(path)
    try:
        if place.is_file():
            return _sha256(place)
        lines = (f"{name}\0{_sha256(file)}\n" for name, file in _files(place))
        return hashlib.sha256("".join(lines).encode(errors="surrogateescape")).hexdigest()
    except OSError as error:
        raise _invalid(path, f"a file cannot be read: {error}") from error


def _sha256(file: pathlib.Path) -> str:
    total = hashlib.sha256()
    with file.open("rb") as stream:
        while block := stream.read(1 << 20):
            total.update(block)
    return total.hexdigest()


def _files(place: pathlib.Path) -> list[tuple[str, pathlib.Path]]:
    """(name relative to the model, file), sorted by name."""
    if place.is_file():
        return [(place.name, place)]
    return sorted((file.relative_to(place).as_posix(), file) for file in place.rglob("*") if file.is_file())


def _kind(path: str) -> Literal["saved_model", "keras"]:
    place = pathlib.Path(path)
    if not _exists(place):
        raise UsageError(
            "E_MODEL_MISSING", f"there is no model at {path}; set model.path to a SavedModel or .keras file"
        )
    if place.is_dir():
        if (place / "saved_model.pb").is_file():
            return "saved_model"
        names = ", ".join(sorted(quoted(entry.name) for entry in place.iterdir())[:5])
        raise _invalid(path, f"the directory has no saved_model.pb; it has {names or 'nothing'}")
    start = _read(place, len(HDF5_MAGIC))
    if start == HDF5_MAGIC:
        raise UsageError(
            "E_MODEL_H5",
            f"{path} is an HDF5 file, which can hide Python code; load it where you trust it and save it anew:"
            " keras.saving.load_model('model.h5').save('model.keras')",
        )
    if not start.startswith(b"PK"):
        raise _invalid(path, f"the file starts with {quoted(start)}, not as a zip does")
    return "keras"


def _exists(place: pathlib.Path) -> bool:
    try:
        return place.exists()
    # names with a null byte, too long, or in a directory that is not ours to see
    except (OSError, ValueError):
        return False


def _read(file: pathlib.Path, size: int = -1) -> bytes:
    try:
        with file.open("rb") as stream:
            return stream.read(size)
    except OSError as error:
        raise _invalid(str(file), f"it cannot be read: {error}") from error


def _invalid(path: str, found: str) -> UsageError:
    return UsageError(
        "E_MODEL_INVALID",
        f"{path} is no model that can be read: {found}; a SavedModel directory or a .keras file is expected",
    )


# (signatures, layers, risks, versions)
Parts = tuple[tuple[SignatureInfo, ...], tuple[LayerInfo, ...], tuple[str, ...], dict[str, str]]


def _saved_model_parts(place: pathlib.Path) -> Parts:
    from tensorflow.core.protobuf import saved_model_pb2

    model = _parsed(saved_model_pb2.SavedModel(), place / "saved_model.pb")
    tags = [sorted(graph.meta_info_def.tags) for graph in model.meta_graphs]
    served = [graph for graph in model.meta_graphs if "serve" in graph.meta_info_def.tags]
    if not served:
        raise _invalid(str(place), f"no graph in saved_model.pb has the tag 'serve'; their tags are {quoted(tags)}")
    signatures = {
        key: served[0].signature_def[key] for key in sorted(served[0].signature_def) if not key.startswith("__")
    }
    layers = tuple(_keras_2_layers(place, served[0])) or tuple(_op_layers(served[0], signatures))
    versions = {"tensorflow": served[0].meta_info_def.tensorflow_version}
    shown = tuple(SignatureInfo(key, _tensors(one.inputs), _tensors(one.outputs)) for key, one in signatures.items())
    return shown, layers, risks.saved_model_risks(served[0]), versions


def _parsed(message: Any, file: pathlib.Path) -> Any:
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

    try:
        message.ParseFromString(_read(file))
    except DecodeError as error:
        raise _invalid(str(file.parent), f"{file.name} is damaged ({error})") from error
    return message


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
    names = [name for signature in signatures.values() for name in risks.signature_nodes(signature)]
    for path, node in risks.reachable(risks.Graph.of(meta_graph), names):
        shapes = node.attr["_output_shapes"].list.shape if "_output_shapes" in node.attr else ()
        shape = _shape(shapes[0]) if shapes else None
        if shape and shape[0] is None and node.op not in UNINTERESTING_OPS and node.attr["T"].type in DT_FLOATS:
            yield LayerInfo(path, node.op, shape)


def _keras_2_layers(place: pathlib.Path, meta_graph: Any) -> Iterator[LayerInfo]:
    from tensorflow.python.keras.protobuf import saved_metadata_pb2

    nodes: Any = [node.user_object for node in meta_graph.object_graph_def.nodes]
    if (place / "keras_metadata.pb").is_file():
        nodes = _parsed(saved_metadata_pb2.SavedMetadata(), place / "keras_metadata.pb").nodes
    for node in nodes:
        if node.identifier.endswith("layer") and node.metadata:
            layer = _json(node.metadata, str(place), f"the Keras metadata of {quoted(node.identifier)}")
            if isinstance(layer, dict) and "class_name" in layer:
                yield LayerInfo(str(layer.get("name")), str(layer["class_name"]), None)


def _json(text: str | bytes, path: str, what: str) -> Any:
    try:
        return json.loads(text)
    # ValueError: also bytes that are no text, and integers of thousands of digits
    except (ValueError, RecursionError) as error:
        raise _invalid(path, f"{what} is not JSON ({error})") from error


def _keras_parts(place: pathlib.Path) -> Parts:
    files = {name: _json(text, str(place), name) for name, text in _unzipped(place).items()}
    config, versions = files["config.json"], {"keras": str(files["metadata.json"]["keras_version"])}
    layers = tuple(_keras_layers(config, ""))
    signature = SignatureInfo("serving_default", _keras_inputs(config), _keras_outputs(config))
    return (signature,), layers, risks.keras_risks(config), versions


def _unzipped(place: pathlib.Path) -> dict[str, bytes]:
    """The two descriptions in a .keras file; the weights stay packed."""
    texts = {}
    try:
        with zipfile.ZipFile(place) as archive:
            for name in ("config.json", "metadata.json"):
                with archive.open(name) as stream:
                    texts[name] = stream.read(MAX_CONFIG_BYTES + 1)
    # RuntimeError: encrypted; NotImplementedError: an unknown compression
    except (zipfile.BadZipFile, zlib.error, KeyError, EOFError, OSError, ValueError, RuntimeError) as error:
        raise _invalid(str(place), f"the zip cannot be read: {error}") from error
    for name, text in texts.items():
        if len(text) > MAX_CONFIG_BYTES:
            raise _invalid(str(place), f"its {name} has more than {MAX_CONFIG_BYTES} bytes")
    return texts


def _keras_layers(model: Any, prefix: str) -> Iterator[LayerInfo]:
    shapes = _keras_outputs_of_layers(model)
    for layer in _layers(model):
        name = prefix + _name(layer)
        yield LayerInfo(name, str(layer["class_name"]), shapes.get(_name(layer)))
        yield from _keras_layers(layer, f"{name}/")


def _layers(model: Any) -> list[Any]:
    inner = model["config"]
    return inner.get("layers", []) if isinstance(inner, dict) else []


def _name(layer: Any) -> str:
    return str(layer["config"]["name"])


def _keras_outputs_of_layers(model: Any) -> dict[str, Shape | None]:
    """Each layer's output shape, as far as its consumers' or its own configuration tells."""
    if _is_functional(model):
        return _functional_outputs(_layers(model))
    shapes: dict[str, Shape | None] = {}
    before: Shape | None = None
    following = [*map(_built, _layers(model)), None][1:]
    for layer, after in zip(_layers(model), following, strict=True):
        before = shapes[_name(layer)] = _own_output(layer, before) or after
    return shapes


def _functional_outputs(layers: list[Any]) -> dict[str, Shape | None]:
    shapes: dict[str, Shape | None] = {}
    used: dict[str, Shape | None] = {}
    for layer in layers:
        tensors = [tensor["config"] for tensor in _objects(layer["inbound_nodes"], "__keras_tensor__")]
        shapes[_name(layer)] = _own_output(layer, _plain(tensors[0]["shape"]) if tensors else None)
        first = [tensor for tensor in tensors if tensor["keras_history"][1:] == [0, 0]]
        used.update((str(tensor["keras_history"][0]), _plain(tensor["shape"])) for tensor in first)
    return shapes | used


def _is_functional(model: Any) -> bool:
    return "output_layers" in model["config"]


def _own_output(layer: Any, fed: Shape | None) -> Shape | None:
    inner, kind = layer["config"], layer["class_name"]
    if kind == "InputLayer":
        return _plain(inner.get("batch_shape", inner.get("batch_input_shape")))
    shape = _built(layer) or fed
    if shape and kind == "Dense":
        return _plain([*shape[:-1], inner["units"]])
    return shape if kind in SAME_SHAPE_LAYERS else None


def _built(layer: Any) -> Shape | None:
    return _plain((layer.get("build_config") or {}).get("input_shape"))


def _plain(shape: Any) -> Shape | None:
    if not isinstance(shape, list) or not all(size is None or type(size) is int for size in shape):
        return None
    return tuple(shape)


def _objects(value: Any, kind: str) -> Iterator[Any]:
    """The objects of that class anywhere within a configuration."""
    if isinstance(value, dict) and value.get("class_name") == kind:
        yield value
    for part in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from _objects(part, kind)


def _keras_inputs(model: Any) -> tuple[TensorInfo, ...]:
    if _is_functional(model):
        return _ends(model, "input_layers")
    first = _layers(model)[:1]
    if first and first[0]["class_name"] == "InputLayer":
        return (_tensor(_name(first[0]), first[0], _own_output(first[0], None)),)
    shape = _built(model)
    return (TensorInfo("inputs", shape, "float32"),) if shape else ()


def _keras_outputs(model: Any) -> tuple[TensorInfo, ...]:
    if _is_functional(model):
        return _ends(model, "output_layers")
    shapes, last = _keras_outputs_of_layers(model), _layers(model)[-1:]
    return tuple(_tensor(_name(layer), layer, shapes[_name(layer)]) for layer in last)


def _ends(model: Any, which: str) -> tuple[TensorInfo, ...]:
    """A functional model's inputs or outputs, by their key in a dict or else the layer's name."""
    layers, shapes = {_name(layer): layer for layer in _layers(model)}, _keras_outputs_of_layers(model)
    ends = _references(model["config"][which], None)
    return tuple(_tensor(key or layer, layers[layer], shapes[layer]) for key, layer in ends)


def _references(value: Any, key: str | None) -> list[tuple[str | None, str]]:
    """(dict key, layer name) of the `[layer, call, output]` triples in any nesting."""
    if isinstance(value, dict):
        return [pair for name, part in value.items() for pair in _references(part, name)]
    if len(value) == 3 and isinstance(value[0], str):
        return [(key, value[0])]
    return [pair for part in value for pair in _references(part, key)]


def _tensor(name: str, layer: Any, shape: Shape | None) -> TensorInfo:
    policy = layer["config"].get("dtype", "float32")
    named = policy["config"]["name"] if isinstance(policy, dict) else policy
    return TensorInfo(name, shape, str(named).removeprefix("mixed_"))
