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
from transforms.records.leaves import fixed_size, is_bytes, is_number, leaf_type, logical_shape

IMAGE_CHANNELS = (1, 3, 4)


@dataclass(frozen=True)
class Feature:
    """A FeatureConfig resolved against the model input it feeds.

    Attributes:
        shape: of one example, all axes known.
        stored_dtype: what stored values must convert to without loss, and raw bytes are read as; None: `dtype`.
        dtype: the model input's.
        decode, scale, offset, window: as in FeatureConfig.
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

    @property
    def size(self) -> int:
        """Values of one example."""
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
        return f"{'x'.join(map(str, self.shape))} = {self.size}" if self.shape else "one value"


def resolve(name: str, config: FeatureConfig, shape: tuple[int | None, ...], dtype: str) -> Feature:
    """Merges what the user says with the model input's shape (without batch; None: open) and dtype.

    Raises:
        UsageError: E_FEATURE_SHAPE, E_FEATURE_DTYPE, E_DECODE_EXTRA.
    """
    stored = None if config.dtype is None else _number_dtype(name, config.dtype, "the configuration")
    resolved = Feature(
        name,
        config.column,
        _merged_shape(name, config.shape, shape),
        stored,
        _number_dtype(name, dtype, "the model"),
        config.decode,
        config.scale,
        config.offset,
        config.window,
    )
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


def _merged_shape(name: str, given: tuple[int, ...] | None, model: tuple[int | None, ...]) -> tuple[int, ...]:
    key = f"input.features.{name}.shape"
    shape = model if given is None else given
    known = tuple(axis for axis in shape if axis is not None)
    if len(known) < len(shape):
        raise UsageError("E_FEATURE_SHAPE", f"the model leaves axes of {quoted(name)} open: {model}; set {key}")
    fits = len(known) == len(model) and all(want in (None, got) for got, want in zip(known, model, strict=True))
    if not fits or any(axis < 1 for axis in known):
        raise UsageError("E_FEATURE_SHAPE", f"{key} is {list(known)}, but the model wants {list(model)}; correct it")
    return known


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
    fault = type_fault(kind, feature)
    if fault:
        raise UsageError(fault.code, f"{where}: {fault.message}")


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
