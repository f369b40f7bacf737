"""One model input and the column it is fed from: resolved, and checked at launch against the column's type."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.types as pt

from transforms.errors import Fault, UsageError, quoted
from transforms.records.config import FeatureConfig
from transforms.records.formats import KINDS, Decode, check_packages
from transforms.records.leaves import fixed_size, is_bytes, is_number, leaf_type, logical_shape, step_type

IMAGE_CHANNELS = (1, 3, 4)
MAX_LENGTH = 4096


@dataclass(frozen=True)
class Varying:
    """The first axis of a feature whose rows have lengths of their own.

    Attributes:
        most: steps of a row, at most.
        whole: the only length that the model takes; None: any.
        pad: what a row is filled up with, in the model's units.
    """

    most: int
    whole: int | None = None
    pad: float = 0.0


@dataclass(frozen=True)
class Feature:
    """A FeatureConfig resolved against the model input it feeds.

    Attributes:
        shape: of one example, all axes known; where the length varies, of one step.
        stored_dtype: what stored values must convert to without loss, and raw bytes are read as; None: `dtype`.
        dtype: the model input's.
        decode, scale, offset, window: as in FeatureConfig.
        varying: the axis before `shape`, where each row has its own length; else None.
    """

    name: str
    column: str
    shape: tuple[int, ...]
    stored_dtype: np.dtype[Any] | None
    dtype: np.dtype[Any]
    decode: Decode | None = None
    scale: float = 1.0
    offset: float = 0.0
    window: Literal["file"] | tuple[float, float] | None = None
    varying: Varying | None = None

    @property
    def open_shape(self) -> tuple[int | None, ...]:
        """Of one example, None for the length of a row."""
        return (None, *self.shape) if self.varying else self.shape

    @property
    def size(self) -> int:
        """Values of one example, or of one step."""
        return math.prod(self.shape)

    @property
    def stored(self) -> np.dtype[Any]:
        """dtype of the values before scale and offset."""
        if self.stored_dtype is not None:
            return self.stored_dtype
        kind = KINDS.get(self.decode or "")
        return kind.dtype if kind else self.dtype

    @property
    def wants(self) -> str:
        """The shape and its size, for messages: `28x28x1 = 784`."""
        if len(self.shape) == 1:
            return f"a list of {self.size}"
        return f"{'x'.join(map(str, self.shape))} = {self.size}" if self.shape else "one value"


def resolve(
    name: str, config: FeatureConfig, shape: tuple[int | None, ...], dtype: str, most: int = MAX_LENGTH
) -> Feature:
    """Merges what the user says with the model input's shape (without batch; None: open) and dtype.

    Args:
        most: steps that a row may have, where the length varies.

    Raises:
        UsageError: E_FEATURE_SHAPE, E_FEATURE_DTYPE, E_DECODE_EXTRA.
    """
    stored = None if config.dtype is None else _number_dtype(name, config.dtype, "the configuration")
    fed = _number_dtype(name, dtype, "the model")
    merged = _merged_shape(name, config.shape, shape)
    varying = None
    if merged[:1] == (None,):
        whole = shape[0]
        varying = Varying(whole or most, whole, _checked_pad(name, config.pad, fed))
    elif config.pad:
        found = f"input.features.{name}.pad is {config.pad}, but its shape is {list(merged)}: no row is filled up"
        raise UsageError("E_FEATURE_SHAPE", f"{found}; remove it, or put null in place of the first axis")
    step = tuple(axis for axis in merged if axis is not None)
    given = (config.decode, config.scale, config.offset, config.window)
    resolved = Feature(name, config.column, step, stored, fed, *given, varying)
    _check_conversion(resolved)
    if config.decode and config.decode in KINDS:
        _check_decoded(resolved, config.decode)
        check_packages(name, config.decode)
    return resolved


def _number_dtype(name: str, dtype: str, source: str) -> np.dtype[Any]:
    try:
        resolved = np.dtype(dtype)
    except TypeError:
        resolved = np.dtype(object)
    if resolved.kind not in "fiub" or resolved.itemsize > 8:
        found = (
            f"feature {quoted(name)} has dtype {quoted(dtype)} by {source}; only float16 to float64, integers and bool"
        )
        raise UsageError("E_FEATURE_DTYPE", f"{found} can be fed")
    return resolved


def _merged_shape(
    name: str, given: tuple[int | None, ...] | None, model: tuple[int | None, ...]
) -> tuple[int | None, ...]:
    key = f"input.features.{name}.shape"
    shape = model if given is None else given
    if None in shape[1:]:
        found = f"axes of {quoted(name)} are open: {list(shape)}; set {key}, with null for the first axis at most"
        raise UsageError("E_FEATURE_SHAPE", found)
    pairs = list(zip(shape, model, strict=False))
    fits = len(shape) == len(model) and all(got is None or want in (None, got) for got, want in pairs)
    if not fits or any(axis is not None and axis < 1 for axis in shape):
        raise UsageError("E_FEATURE_SHAPE", f"{key} is {list(shape)}, but the model wants {list(model)}; correct it")
    return shape


def _checked_pad(name: str, pad: float, dtype: np.dtype[Any]) -> float:
    with np.errstate(over="ignore", invalid="ignore"):
        held = float(np.asarray(pad).astype(dtype))
    if not math.isfinite(held) or (dtype.kind != "f" and held != pad):
        raise UsageError(
            "E_FEATURE_DTYPE", f"input.features.{name}.pad is {pad}, which {dtype} cannot hold; correct it"
        )
    return held


def _check_conversion(feature: Feature) -> None:
    if feature.dtype.kind == "f":
        return
    key = f"input.features.{feature.name}"
    if feature.stored.kind == "f":
        found = f"{key}.dtype is {feature.stored}, but the model wants {feature.dtype}; floats are not cast to integers"
        raise UsageError("E_FEATURE_DTYPE", found)
    if (feature.scale, feature.offset) != (1.0, 0.0):
        found = f"{key} has scale {feature.scale} and offset {feature.offset}, but the model wants {feature.dtype}"
        raise UsageError("E_FEATURE_DTYPE", f"{found}; remove them")


def _check_decoded(feature: Feature, decode: str) -> None:
    key, kind = f"input.features.{feature.name}", KINDS[decode]
    if kind.picture and (len(feature.shape) != 3 or feature.shape[-1] not in IMAGE_CHANNELS):
        found = f"{key}.decode is {decode}, but the shape is {list(feature.shape)}; it gives height, width, 1, 3 or 4"
        raise UsageError("E_FEATURE_SHAPE", found)
    if feature.stored != kind.dtype:
        found = f"{key}.dtype is {feature.stored}; {decode} decodes to {kind.dtype}; remove dtype"
        raise UsageError("E_FEATURE_DTYPE", found)


def check_column(kind: pa.DataType, feature: Feature, source: str) -> None:
    """Refuses at launch a column type that can never become this feature; `source` is the file, for the message.

    Raises:
        UsageError: E_COLUMN_MISSING (no row looked at has a value), E_FEATURE_DTYPE, E_FEATURE_SHAPE.
    """
    where = f"column {quoted(feature.column)} of {source}"
    if pt.is_null(kind):
        found = f"{where} has no value in the rows looked at; correct input.features.{feature.name}.column"
        raise UsageError("E_COLUMN_MISSING", found)
    fault = type_fault(kind, feature) if feature.varying is None else sequence_fault(kind, feature)
    if fault:
        raise UsageError(fault.code, f"{where}: {fault.message}")


def sequence_fault(kind: pa.DataType, feature: Feature) -> Fault | None:
    """Why no value of an Arrow type can become rows of this feature's steps."""
    steps = step_type(kind)
    if steps is None or isinstance(kind, pa.FixedShapeTensorType):
        found = f"feature {quoted(feature.name)} is {quoted(str(kind))}, but its length varies from row to row"
        return Fault("E_FEATURE_SHAPE", f"{found}; give a column of lists, or set its shape")
    flat = pa.list_(steps) if is_number(steps) and not feature.decode else steps
    return type_fault(flat, feature)


def type_fault(kind: pa.DataType, feature: Feature) -> Fault | None:
    """Why no value of an Arrow type can become this feature."""
    label, leaf = f"feature {quoted(feature.name)}", leaf_type(kind)
    if feature.decode and not is_bytes(leaf):
        found = f"{label} is {quoted(str(kind))}; decode: {feature.decode} wants bytes; remove decode"
        return Fault("E_FEATURE_DTYPE", found)
    if not feature.decode and not is_number(leaf):
        hint = "; set decode: raw or image" if is_bytes(leaf) else "; give a column of numbers"
        return Fault("E_FEATURE_DTYPE", f"{label} is {quoted(str(kind))}; the model wants {feature.dtype}{hint}")
    if pt.is_floating(leaf) and feature.stored.kind != "f":
        found = f"{label} is {leaf}, but {feature.stored} is wanted; floats are not cast to integers"
        return Fault("E_FEATURE_DTYPE", f"{found}; give a column of integers")
    sizes = fixed_size(kind)
    wanted = 1 if feature.decode else feature.size
    if (sizes is not None and sizes != wanted) or not _tensor_fits(kind, feature):
        found = f"{label} is {quoted(str(kind))}; the model wants {feature.wants}"
        return Fault("E_FEATURE_SHAPE", f"{found}; give another column, or store this shape")
    return None


def _tensor_fits(kind: pa.DataType, feature: Feature) -> bool:
    """A tensor column of more than one axis keeps its axes: channels first is not channels last."""
    if not isinstance(kind, pa.FixedShapeTensorType) or len(kind.shape) < 2:
        return True
    return [n for n in logical_shape(kind) if n > 1] == [n for n in feature.shape if n > 1]
