"""Which layers of a Keras model are its affine first part, read from its configuration; nothing is built.

It is the first half of what `stem` finds in the frozen graph: that also asks whether a cut pays, and knows ops that are
no layers.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from transforms.attribution.model.keras_config import is_functional, layers_of, name_of, objects, references

AFFINE = "affine"
# of one operand; in inference, dropout and noise do nothing
# fmt: off
AFFINE_LAYERS = frozenset((
    "ActivityRegularization", "AlphaDropout", "AveragePooling1D", "AveragePooling2D", "AveragePooling3D",
    "BatchNormalization", "Conv1D", "Conv2D", "Conv3D", "Cropping1D", "Cropping2D", "Cropping3D", "Dense",
    "DepthwiseConv1D", "DepthwiseConv2D", "Dropout", "EinsumDense", "Flatten", "GaussianDropout", "GaussianNoise",
    "GlobalAveragePooling1D", "GlobalAveragePooling2D", "GlobalAveragePooling3D", "Identity", "Normalization",
    "Permute", "Rescaling", "Reshape", "SeparableConv1D", "SeparableConv2D", "SpatialDropout1D", "SpatialDropout2D",
    "SpatialDropout3D", "ZeroPadding1D", "ZeroPadding2D", "ZeroPadding3D",
))
# fmt: on
AFFINE_MERGES = frozenset(("Add", "Average", "Concatenate", "Subtract"))
# a narrower type rounds on the way
POLICIES = frozenset(("float32", "float64"))

# the model's input that a tensor is affine in; None: in none alone
Origin = str | None


def affine_layers(model: Any) -> dict[str, str]:
    """By name (`outer/inner` within nested models), `affine` or `affine, then <activation>`; the others are left out.

    Args:
        model: the configuration of a functional or sequential model.
    """
    labels: dict[str, str] = {}
    _walk(model, None, "", labels)
    return labels


def _walk(model: Any, fed: Origin, prefix: str, labels: dict[str, str]) -> Origin:
    """Label the layers of a model, and say what its output is affine in; `fed`: what a nested one takes."""
    nested, before = bool(prefix), fed if prefix else "inputs"
    origins: dict[str, Origin] = {}
    for layer in layers_of(model):
        name = name_of(layer)
        if layer["class_name"] == "InputLayer":
            before = fed if nested else name
        else:
            given = _common(_feeds(layer, origins)) if is_functional(model) else before
            before = _through(layer, given, prefix + name, labels)
        origins[name] = before
    if not is_functional(model):
        return before
    ends = references(model["config"]["output_layers"], None)
    return _common(_of_first_call(history, origins) for _, history in ends)


def _through(layer: Any, given: Origin, name: str, labels: dict[str, str]) -> Origin:
    """Label one layer; what its output is affine in."""
    if layers_of(layer):
        end = _walk(layer, given, f"{name}/", labels)
        if end is not None:
            labels[name] = AFFINE
        return end
    if given is None or not _is_affine(layer):
        return None
    activation = _activation(layer["config"].get("activation"))
    labels[name] = f"{AFFINE}, then {activation}" if activation else AFFINE
    return None if activation else given


def _is_affine(layer: Any) -> bool:
    kind, config = layer["class_name"], layer["config"]
    policy = config.get("dtype") or "float32"
    named = policy["config"].get("name") if isinstance(policy, dict) else policy
    # a class of that name need not be Keras's own
    if named not in POLICIES or str(layer.get("module", "keras")).split(".")[0] != "keras":
        return False
    if kind == "Activation":
        return not _activation(config["activation"])
    return kind in AFFINE_LAYERS or (kind in AFFINE_MERGES and config.get("axis") != 0)


def _activation(value: Any) -> str:
    """Its name; empty where there is none, or the identity."""
    if isinstance(value, dict):
        inner = value.get("config")
        value = inner if isinstance(inner, str) else value["class_name"]
    return "" if value in (None, "linear") else str(value)


def _feeds(layer: Any, origins: Mapping[str, Origin]) -> Iterator[Origin]:
    """Of each tensor that goes into a layer, what it is affine in."""
    if len(layer["inbound_nodes"]) != 1:
        yield None  # called several times: its output is no one tensor
    for tensor in objects(layer["inbound_nodes"], "__keras_tensor__"):
        yield _of_first_call(tensor["config"]["keras_history"], origins)


def _of_first_call(history: Any, origins: Mapping[str, Origin]) -> Origin:
    name, call, output = history
    return origins.get(str(name)) if call == output == 0 else None


def _common(origins: Iterator[Origin]) -> Origin:
    found = set(origins)
    return found.pop() if len(found) == 1 else None
