"""What a .keras file says about its model: two JSON texts in a zip; nothing is built from them."""

from __future__ import annotations

import dataclasses
import pathlib
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from typing import Any

from transforms.attribution.model.anatomy_parts import (
    LayerInfo,
    Parts,
    Shape,
    SignatureInfo,
    TensorInfo,
    invalid,
    parse_json,
)
from transforms.attribution.model.keras_affine import affine_layers
from transforms.attribution.model.keras_archive import archive_risks
from transforms.attribution.model.keras_config import is_functional, layers_of, name_of, objects, references
from transforms.attribution.model.keras_risks import keras_risks
from transforms.attribution.model.sole_casts import only_cast_in_keras

MAX_CONFIG_BYTES = 64 << 20
# others are unpacked without a limit
COMPRESSIONS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
SAME_SHAPE_LAYERS = frozenset(
    {"Activation", "BatchNormalization", "Dropout", "LayerNormalization", "ReLU", "Relu", "Softmax"}
)


def read_keras(place: pathlib.Path) -> Parts:
    """The parts of a .keras file.

    Raises:
        UsageError: E_MODEL_INVALID.
    """
    try:
        return _keras_parts(place)
    except (KeyError, TypeError, AttributeError, IndexError, ValueError, RecursionError) as error:
        raise invalid(str(place), f"its description is not a Keras model's ({type(error).__name__})") from error


def _keras_parts(place: pathlib.Path) -> Parts:
    files = {name: parse_json(text, str(place), name) for name, text in _unzipped(place).items()}
    config, versions = files["config.json"], {"keras": str(files["metadata.json"]["keras_version"])}
    layers = tuple(_keras_layers(config, "", affine_layers(config)))
    signature = SignatureInfo("serving_default", _keras_inputs(config), _keras_outputs(config))
    return Parts((signature,), layers, read_keras_risks(place), versions)


def read_keras_risks(place: pathlib.Path) -> tuple[str, ...]:
    """What a .keras file could do besides arithmetic.

    Raises:
        UsageError: E_MODEL_INVALID.
    """
    config = parse_json(_unzipped(place)["config.json"], str(place), "config.json")
    return keras_risks(config) + archive_risks(place)


def _unzipped(place: pathlib.Path) -> dict[str, bytes]:
    """The two descriptions in a .keras file; the weights stay packed."""
    texts = {}
    try:
        with zipfile.ZipFile(place) as archive:
            for name in ("config.json", "metadata.json"):
                if archive.getinfo(name).compress_type not in COMPRESSIONS:
                    raise zipfile.BadZipFile(f"{name} is compressed in a way that Keras does not write")
                with archive.open(name) as stream:
                    texts[name] = stream.read(MAX_CONFIG_BYTES + 1)
    # RuntimeError: encrypted
    except (zipfile.BadZipFile, zlib.error, KeyError, EOFError, OSError, ValueError, RuntimeError) as error:
        raise invalid(str(place), f"the zip cannot be read: {error}") from error
    for name, text in texts.items():
        if len(text) > MAX_CONFIG_BYTES:
            raise invalid(str(place), f"its {name} has more than {MAX_CONFIG_BYTES} bytes")
    return texts


def _keras_layers(model: Any, prefix: str, affine: Mapping[str, str]) -> Iterator[LayerInfo]:
    shapes = _keras_outputs_of_layers(model)
    for layer in layers_of(model):
        name, kind = prefix + name_of(layer), str(layer["class_name"])
        yield LayerInfo(name, kind, shapes.get(name_of(layer)), affine.get(name, ""), kind == "Embedding")
        yield from _keras_layers(layer, f"{name}/", affine)


def _keras_outputs_of_layers(model: Any) -> dict[str, Shape | None]:
    """Each layer's output shape, as far as its consumers' or its own configuration tells."""
    if is_functional(model):
        return _functional_outputs(layers_of(model))
    shapes: dict[str, Shape | None] = {}
    before: Shape | None = None
    following = [*map(_built, layers_of(model)), None][1:]
    for layer, after in zip(layers_of(model), following, strict=True):
        before = shapes[name_of(layer)] = _own_output(layer, before) or after
    return shapes


def _functional_outputs(layers: list[Any]) -> dict[str, Shape | None]:
    shapes: dict[str, Shape | None] = {}
    used: dict[str, Shape | None] = {}
    for layer in layers:
        tensors = [tensor["config"] for tensor in objects(layer["inbound_nodes"], "__keras_tensor__")]
        shapes[name_of(layer)] = _own_output(layer, _plain(tensors[0]["shape"]) if tensors else None)
        first = [tensor for tensor in tensors if tensor["keras_history"][1:] == [0, 0]]
        used.update((str(tensor["keras_history"][0]), _plain(tensor["shape"])) for tensor in first)
    return shapes | used


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


def _keras_inputs(model: Any) -> tuple[TensorInfo, ...]:
    if is_functional(model):
        inputs = _ends(model, "input_layers")
        # as Keras takes the values of a dict, and as they are loaded
        is_dict = isinstance(model["config"]["input_layers"], dict)
        return tuple(sorted(inputs, key=lambda tensor: tensor.name)) if is_dict else inputs
    first = layers_of(model)[:1]
    if first and first[0]["class_name"] == "InputLayer":
        return (_input(name_of(first[0]), first[0], _own_output(first[0], None), model),)
    shape = _built(model)
    return (TensorInfo("inputs", shape, "float32"),) if shape else ()


def _keras_outputs(model: Any) -> tuple[TensorInfo, ...]:
    if is_functional(model):
        return _ends(model, "output_layers")
    shapes, last = _keras_outputs_of_layers(model), layers_of(model)[-1:]
    return tuple(_tensor(name_of(layer), layer, shapes[name_of(layer)]) for layer in last)


def _ends(model: Any, which: str) -> tuple[TensorInfo, ...]:
    """A functional model's inputs or outputs, by their key in a dict or else the layer's name."""
    layers, shapes = {name_of(layer): layer for layer in layers_of(model)}, _keras_outputs_of_layers(model)
    found, named = references(model["config"][which], None), isinstance(model["config"][which], dict)
    ends = [(key if key and named else layer, layer) for key, (layer, *_) in found]
    if which == "output_layers":
        return tuple(_tensor(name, layers[layer], shapes[layer]) for name, layer in ends)
    return tuple(_input(name, layers[layer], shapes[layer], model) for name, layer in ends)


def _input(name: str, layer: Any, shape: Shape | None, model: Any) -> TensorInfo:
    tensor = _tensor(name, layer, shape)
    whole = tensor.dtype.startswith(("int", "uint"))
    return dataclasses.replace(tensor, only_cast=only_cast_in_keras(model, name_of(layer)) if whole else None)


def _tensor(name: str, layer: Any, shape: Shape | None) -> TensorInfo:
    policy = layer["config"].get("dtype", "float32")
    named = policy["config"]["name"] if isinstance(policy, dict) else policy
    return TensorInfo(name, shape, str(named).removeprefix("mixed_"))
