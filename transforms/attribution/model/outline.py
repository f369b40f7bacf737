"""What a model's files tell of it in the words of a loaded one: enough to plan a run; nothing of it is executed.

What they do not tell is None. What they do is what `load_model` finds, or there is no outline.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from transforms.attribution.config import ModelConfig
from transforms.attribution.model import freezing, layers, loading
from transforms.attribution.model.anatomy import Anatomy
from transforms.attribution.model.anatomy_parts import LayerInfo, SignatureInfo, TensorInfo
from transforms.attribution.model.differentiable import not_differentiable
from transforms.attribution.model.keras_layers import check_layer
from transforms.attribution.model.model_input import (
    ModelInput,
    check_input,
    describe_input,
    fixed_batch,
    held_input,
)
from transforms.attribution.model.objective import Output, describe_output
from transforms.class_names import read_class_names
from transforms.errors import UsageError


@dataclasses.dataclass(frozen=True)
class ModelOutline:
    """A model as its files describe it; the fields are those of `Model`.

    Attributes:
        sources: whether one is explained, and in which dtype its points are, is only right where `explained` is known.
        explained: of a layer's value the sizes that are not known are None, and the dtype is not known at all.
        output: None where its rank is not known; a size that is not known is None.
        batch: the only batch size the model takes, or None for any.
        layered: whether a layer is explained.
    """

    sources: tuple[ModelInput, ...]
    explained: tuple[ModelInput, ...] | None
    held: tuple[ModelInput, ...] | None
    output: Output | None
    names: tuple[str, ...]
    batch: int | None
    digest: str
    layered: bool

    @property
    def whole_output(self) -> Output | None:
        """The output, where every size of it is known."""
        return None if self.output is None or None in self.output.shape else self.output


def outline_of(found: Anatomy, config: ModelConfig) -> ModelOutline:
    """Select signature, output and layer of a model that is not loaded.

    Raises:
        UsageError: E_MODEL_SIGNATURE, E_MODEL_OUTPUT, E_MODEL_OUTPUT_SHAPE, E_MODEL_ACTIVATION, E_MODEL_INPUT_SHAPE,
            E_MODEL_INPUT_DTYPE, E_MODEL_NOT_DIFFERENTIABLE, E_MODEL_LAYER, E_TARGET_CLASSES as `load_model`;
            E_PLAN_UNKNOWN when the files do not even tell the inputs.
    """
    signature = _signature(found, config)
    _check_told(found, signature, config)
    specs = [_spec(tensor) for tensor in signature.inputs]
    for spec in specs:
        check_input(spec)
    if config.layer is None:
        sources, decided = _from_inputs(found, signature.inputs, specs)
        explained = tuple(spec for spec in sources if spec.explained) if decided else None
        held = tuple(spec for spec in sources if not spec.explained) if decided else None
    else:
        sources = tuple(map(held_input, specs))
        explained, held = _value(found, config.layer, sources), None
    return ModelOutline(
        sources,
        explained,
        held,
        _output(found, signature, config),
        read_class_names(config.classes),
        fixed_batch(specs),
        found.digest,
        layered=config.layer is not None,
    )


def untold(path: str, what: str) -> UsageError:
    """E_PLAN_UNKNOWN."""
    return UsageError(
        "E_PLAN_UNKNOWN",
        f"the files of the model {path} do not tell {what}, so that nothing can be planned without running it;"
        " `attribeam plan --pilot 1` loads it and tries",
    )


def _signature(found: Anatomy, config: ModelConfig) -> SignatureInfo:
    if found.kind == "keras":
        return found.signatures[0]
    named = {signature.name: signature for signature in found.signatures}
    if config.signature not in named:
        raise loading.no_signature(config, named)
    return named[config.signature]


def _check_told(found: Anatomy, signature: SignatureInfo, config: ModelConfig) -> None:
    tensors = signature.inputs
    # a sequence without an input layer gets one when it is loaded, of a name that is made up
    named = found.kind == "saved_model" or any(layer.kind == "InputLayer" for layer in found.layers)
    ranked = found.kind == "saved_model" or all(tensor.shape is not None for tensor in tensors)
    if not (tensors and named and ranked and all(tensor.dtype != "unknown" for tensor in tensors)):
        raise untold(config.path, "its inputs")


def _spec(tensor: TensorInfo) -> Any:
    return tf.TensorSpec(tensor.shape, tensor.dtype, tensor.name)


def _output(found: Anatomy, signature: SignatureInfo, config: ModelConfig) -> Output | None:
    outputs = {tensor.name: tensor for tensor in signature.outputs}
    names = list(outputs) if found.kind == "keras" else sorted(outputs, key=loading.counting)
    chosen = outputs[loading.choose(names, config)]
    return None if chosen.shape is None or chosen.dtype == "unknown" else describe_output(_spec(chosen), config)


def _from_inputs(
    found: Anatomy, tensors: Sequence[TensorInfo], specs: Sequence[Any]
) -> tuple[tuple[ModelInput, ...], bool]:
    """The inputs, and whether it is known of all of them if they are explained."""
    # one that is too large to be frozen cannot be cut behind its casts
    large = found.bytes > freezing.MAX_FROZEN_BYTES
    casts = [
        False if not spec.dtype.is_integer else tensor.only_cast for tensor, spec in zip(tensors, specs, strict=True)
    ]
    inputs = tuple(describe_input(spec, cast is True) for spec, cast in zip(specs, casts, strict=True))
    decided = None not in casts and not (large and True in casts)
    if decided and not any(spec.explained for spec in inputs):
        raise not_differentiable(inputs, [layer.name for layer in found.layers if layer.embedding])
    return inputs, decided


def _value(found: Anatomy, name: str, sources: Sequence[ModelInput]) -> tuple[ModelInput, ...] | None:
    """The value of a layer; None where the files do not have it, or not its rank."""
    if found.kind == "keras":
        inputs = [layer.name for layer in found.layers if layer.kind == "InputLayer"]
        check_layer(name, [layer.name for layer in found.layers], inputs)
    shape = _layer_shape(found.layers, name.removesuffix(":0") if found.kind == "saved_model" else name)
    if not shape:
        return None
    column, real = layers.column_name(name, [spec.name for spec in sources]), np.dtype(np.float32)
    return (ModelInput(column, shape[1:], real, real, explained=True),)


def _layer_shape(listed: Sequence[LayerInfo], name: str) -> tuple[int | None, ...] | None:
    exact = [layer for layer in listed if layer.name == name]
    found = exact[:1] or [layer for layer in listed if layer.name.endswith(f"/{name}")]
    return found[0].output if len(found) == 1 else None
