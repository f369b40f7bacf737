"""SavedModel directories and .keras files, brought to one form: a call that takes tensors in a fixed order."""

from __future__ import annotations

import dataclasses
import pathlib
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import tensorflow as tf

from transforms.attribution.config import ModelConfig
from transforms.attribution.model import keras_layers
from transforms.attribution.model.model_input import check_input
from transforms.errors import UsageError, quoted


@dataclasses.dataclass(frozen=True)
class Callee:
    """A loaded model.

    Attributes:
        inputs: a named TensorSpec per input, the batch dimension first.
        call: the tensors, in that order → the chosen output.
        embeddings: the names of a Keras model's embedding layers; None for a SavedModel, whose graph has to tell.
    """

    inputs: tuple[Any, ...]
    call: Callable[[Sequence[Any]], Any]
    embeddings: tuple[str, ...] | None = None


def load(config: ModelConfig) -> Callee:
    """Load the model at `config.path`, which runs what code it holds.

    Raises:
        UsageError: E_MODEL_LOAD when TensorFlow cannot load it; E_MODEL_SIGNATURE, E_MODEL_OUTPUT when there is none
            of that name; E_MODEL_INPUT_SHAPE, E_MODEL_INPUT_DTYPE for inputs that no feature can feed;
            E_MODEL_LAYER when a Keras model has no such layer.
    """
    callee = _saved_model(config) if pathlib.Path(config.path).is_dir() else _keras(config)
    for spec in callee.inputs:
        check_input(spec)
    return callee


def _saved_model(config: ModelConfig) -> Callee:
    try:
        loaded = tf.saved_model.load(config.path)
    except (OSError, ValueError, AttributeError, tf.errors.OpError) as error:
        raise _cannot_load(config, error) from error
    if config.signature not in loaded.signatures:
        raise no_signature(config, loaded.signatures)
    signature = loaded.signatures[config.signature]
    specs = signature.structured_input_signature[1]
    names = sorted(specs)

    def call(tensors: Sequence[Any]) -> Any:
        # the loaded object owns the variables: as long as this function lives, so must it
        assert loaded is not None
        outputs = signature(**dict(zip(names, tensors, strict=True)))
        # a signature keeps its outputs in a protobuf map, whose order is another one in every process
        return _select({name: outputs[name] for name in sorted(outputs, key=counting)}, config)

    return Callee(tuple(tf.TensorSpec(specs[name].shape, specs[name].dtype, name) for name in names), call)


def _keras(config: ModelConfig) -> Callee:
    import keras

    try:
        model = keras.saving.load_model(config.path, compile=False, safe_mode=not config.trust)
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise _cannot_load(config, error) from error
    if not getattr(model, "inputs", None):
        raise UsageError(
            "E_MODEL_LOAD",
            f"the Keras model {config.path} does not know its inputs; call it once before saving",
        )
    # a Sequential that was just loaded has no `input` yet, only `inputs`
    structure = model.inputs[0] if isinstance(model, keras.Sequential) else model.input
    named = _named_inputs(structure, model.inputs)
    layer = None if config.layer is None else keras_layers.find_layer(model, config.layer)

    def call(tensors: Sequence[Any]) -> Any:
        with keras_layers.marked(layer, str(config.layer)):
            return _select(model(keras.tree.pack_sequence_as(structure, tensors), training=False), config, model)

    specs = tuple(tf.TensorSpec(spec.shape, spec.dtype, name) for name, spec in named.items())
    return Callee(specs, call, keras_layers.embeddings(model))


def _named_inputs(structure: Any, tensors: Sequence[Any]) -> dict[str, Any]:
    """Input tensors by name, in the order in which Keras flattens them."""
    if isinstance(structure, dict):
        return {name: structure[name] for name in sorted(structure)}
    return {tensor.name: tensor for tensor in tensors}


def counting(name: str) -> list[Any]:
    """A sort key that puts output_2 before output_10."""
    return [int(part) if part.isdecimal() else part for part in re.split(r"(\d+)", name)]


def _select(outputs: Any, config: ModelConfig, model: Any = None) -> Any:
    """The output that is explained, of one tensor, a list or a dict of them."""
    if not isinstance(outputs, (dict, list, tuple)):
        named: Mapping[str, Any] = dict.fromkeys(getattr(model, "output_names", ["output"]), outputs)
    elif isinstance(outputs, dict):
        named = outputs
    else:
        named = dict(zip(getattr(model, "output_names", map(str, range(len(outputs)))), outputs, strict=True))
    return named[choose(list(named), config)]


def choose(names: Sequence[str], config: ModelConfig) -> str:
    """The name of the output that is explained.

    Raises:
        UsageError: E_MODEL_OUTPUT.
    """
    wanted = config.output
    if wanted is None and len(names) == 1:
        return names[0]
    if isinstance(wanted, int) and 0 <= wanted < len(names):
        return names[wanted]
    if isinstance(wanted, str) and wanted in names:
        return wanted
    found = "no model.output is given" if wanted is None else f"there is no output {wanted!r}"
    raise UsageError(
        "E_MODEL_OUTPUT", f"{found}, and the model {config.path} has {list(names)}; set model.output to one of them"
    )


def no_signature(config: ModelConfig, names: Iterable[str]) -> UsageError:
    """E_MODEL_SIGNATURE, with the names that there are."""
    return UsageError(
        "E_MODEL_SIGNATURE",
        f"the model {config.path} has no signature {config.signature!r}; it has {sorted(names)}: set model.signature to"
        " one of them",
    )


def _cannot_load(config: ModelConfig, error: Exception) -> UsageError:
    return UsageError(
        "E_MODEL_LOAD",
        f"TensorFlow cannot load the model {config.path}: {type(error).__name__}: {str(error)[:200]}; see `attribeam"
        f" inspect` for what it holds, and save it with this TensorFlow version ({quoted(tf.__version__)})",
    )
