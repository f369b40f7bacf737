"""The objective: the last stage of a model, which brings its output, of any rank, to [batch, classes].

What is explained is then an entry of that table, or the only one: a difference of two classes, one position, a user's
function.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection
from typing import Any

import tensorflow as tf

from transforms.attribution import targets
from transforms.attribution.config import ModelConfig
from transforms.attribution.model import scalar_function
from transforms.attribution.target_config import Contrast, OneEntry, Reduced, ScalarFunction, Target
from transforms.class_names import read_class_names
from transforms.errors import UsageError

REDUCTIONS = {"mean": tf.reduce_mean, "sum": tf.reduce_sum, "max": tf.reduce_max}


@dataclasses.dataclass(frozen=True)
class Output:
    """The chosen output of a model, after the activation.

    Attributes:
        shape: of one example; None for a size that the model leaves open.
        dtype: float32 or float64.
        names: of the entries of the last axis; () for none.
    """

    shape: tuple[int | None, ...]
    dtype: Any
    names: tuple[str, ...]

    @property
    def classes(self) -> int:
        """Entries of one example; 0 where the output is no table of a known width."""
        return (self.shape[0] or 0 if self.shape else 1) if len(self.shape) < 2 else 0

    def __str__(self) -> str:
        return (
            f"{self.dtype.name} [{', '.join(['batch', *('?' if size is None else str(size) for size in self.shape)])}]"
        )


@dataclasses.dataclass(frozen=True)
class Objective:
    """What is explained of an output.

    Attributes:
        classes: entries that it leaves of one example.
        read: the output, [batch, ...] → [batch, classes].
    """

    classes: int
    read: Callable[[Any], Any]


def as_table(value: Any) -> Any:
    """[batch] or [batch, classes] → [batch, classes]."""
    return value if value.shape.rank == 2 else tf.expand_dims(value, -1)


def describe_output(output: Any, config: ModelConfig) -> Output:
    """The tensor [batch, ...] that a model gives, checked.

    Raises:
        UsageError: E_MODEL_OUTPUT_SHAPE, E_MODEL_ACTIVATION, E_TARGET_CLASSES.
    """
    if not output.shape.rank or not output.dtype.is_floating:
        raise UsageError(
            "E_MODEL_OUTPUT_SHAPE",
            f"the model's output is {output.dtype.name} {output.shape}; it must be float [batch, ...] of a known rank."
            " Choose another with model.output",
        )
    shape, names = tuple(output.shape[1:]), read_class_names(config.classes)
    last = shape[-1] if shape else 1
    if last == 1 and config.activation == "softmax":
        raise UsageError(
            "E_MODEL_ACTIVATION",
            "model.activation is softmax, which is 1 whatever the one entry of this output is; use sigmoid, or none",
        )
    found = Output(shape, tf.float64 if output.dtype == tf.float64 else tf.float32, names)
    if names and last not in (None, len(names)):
        raise UsageError(
            "E_TARGET_CLASSES",
            f"model.classes has {len(names)} names, but the last axis of the model's output, {found}, has {last}",
        )
    return found


def objective_of(target: Target | None, output: Output, trusted: Collection[str] = ()) -> Objective:
    """What a target, without names, makes of an output.

    Raises:
        UsageError: E_TARGET_RANGE, E_TARGET_RANK, E_TARGET_FUNCTION, E_MODEL_OUTPUT_SHAPE, E_CODE_*.
    """
    if isinstance(target, OneEntry):
        return _one_entry(target.index, output)
    if isinstance(target, Reduced):
        return _reduced(target, output)
    if isinstance(target, ScalarFunction):
        function = scalar_function.load(target.function, output.shape, output.dtype, trusted)
        return Objective(1, lambda value: tf.expand_dims(function(value), -1))
    _check_table(output)
    return _difference(target, output) if isinstance(target, Contrast) else Objective(output.classes, as_table)


def _check_table(output: Output) -> None:
    if len(output.shape) > 1:
        raise UsageError(
            "E_MODEL_OUTPUT_SHAPE",
            f"the model's output is {output}; set attribution.target to {{index: [..]}}, {{reduce: mean, of: ..}} or"
            " {function: ..}, or choose another output with model.output",
        )
    if not output.classes:
        raise UsageError(
            "E_MODEL_OUTPUT_SHAPE",
            f"the model does not say how many entries its output, {output}, has; export it with a fixed number",
        )


def _one_entry(index: tuple[int, ...], output: Output) -> Objective:
    if len(index) != len(output.shape):
        raise UsageError(
            "E_TARGET_RANK",
            f"attribution.target has the index {list(index)}, but the model's output is {output}; give one number for"
            " each axis after the batch",
        )
    for one, size in zip(index, output.shape, strict=True):
        if size is not None and one >= size:
            raise UsageError(
                "E_TARGET_RANGE",
                f"attribution.target has the index {list(index)}, but the model's output is {output}; count from 0",
            )
    place = (slice(None), *index)
    return Objective(1, lambda value: tf.expand_dims(value[place], -1))


def _difference(target: Contrast, output: Output) -> Objective:
    for one in target.contrast:
        targets.check_target(int(one), output.classes)
    first, second = map(int, target.contrast)
    if first == second:
        raise UsageError("E_TARGET_RANGE", f"attribution.target contrasts entry {first} with itself; name two classes")

    def read(value: Any) -> Any:
        return value[:, first : first + 1] - value[:, second : second + 1]

    return Objective(1, read)


def _reduced(target: Reduced, output: Output) -> Objective:
    if len(output.shape) < 2:
        raise UsageError(
            "E_TARGET_RANK",
            f"attribution.target reduces the axes between batch and classes, but the model's output is {output}; leave"
            " `reduce` out, or give {function: ..} for another reduction",
        )
    rest = objective_of(target.of, dataclasses.replace(output, shape=output.shape[-1:]))
    reduce, axes = REDUCTIONS[target.reduce], list(range(1, len(output.shape)))

    def read(value: Any) -> Any:
        return rest.read(tf.ensure_shape(reduce(value, axis=axes), [None, output.shape[-1]]))

    return Objective(rest.classes, read)
