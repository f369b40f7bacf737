"""Arrow columns become the model's numpy inputs, without silent loss: what does not convert is a fault of its row."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

from transforms.errors import Fault, UsageError, quoted
from transforms.records.config import FeatureConfig

IMAGE_CHANNELS = (1, 3, 4)
_Faults = dict[int, Fault]


@dataclass(frozen=True)
class Feature:
    """A FeatureConfig resolved against the model input it feeds.

    Attributes:
        shape: of one example, all axes known.
        stored_dtype: what stored values must convert to without loss, and raw bytes are read as; None: `dtype`.
        dtype: the model input's.
        decode, scale, offset: as in FeatureConfig.
    """

    name: str
    column: str
    shape: tuple[int, ...]
    stored_dtype: np.dtype[Any] | None
    dtype: np.dtype[Any]
    decode: Literal["raw", "image"] | None = None
    scale: float = 1.0
    offset: float = 0.0

    @property
    def size(self) -> int:
        """Values of one example."""
        return math.prod(self.shape)

    @property
    def stored(self) -> np.dtype[Any]:
        """dtype of the values before scale and offset."""
        if self.stored_dtype is not None:
            return self.stored_dtype
        return np.dtype(np.uint8) if self.decode == "image" else self.dtype

    @property
    def wants(self) -> str:
        """The shape and its size, for messages: `28x28x1 = 784`."""
        return f"{'x'.join(map(str, self.shape))} = {self.size}" if self.shape else "one value"


def resolve(name: str, config: FeatureConfig, shape: tuple[int | None, ...], dtype: str) -> Feature:
    """Merges what the user says with the model input's shape (without batch; None: open) and dtype.

    Raises:
        UsageError: E_FEATURE_SHAPE, E_FEATURE_DTYPE.
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
    )
    _check_conversion(resolved)
    if config.decode == "image":
        _check_image(resolved)
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


def _check_image(feature: Feature) -> None:
    key = f"input.features.{feature.name}"
    if len(feature.shape) != 3 or feature.shape[-1] not in IMAGE_CHANNELS:
        found = f"{key}.decode is image, but the shape is {list(feature.shape)}; images are height, width, 1, 3 or 4"
        raise UsageError("E_FEATURE_SHAPE", found)
    if feature.stored != np.uint8:
        raise UsageError("E_FEATURE_DTYPE", f"{key}.dtype is {feature.stored}; images decode to uint8; remove dtype")


def check_column(kind: pa.DataType, feature: Feature, source: str) -> None:
    """Refuses at launch a column type that can never become this feature; `source` is the file, for the message.

    Raises:
        UsageError: E_COLUMN_MISSING (no row looked at has a value), E_FEATURE_DTYPE, E_FEATURE_SHAPE.
    """
    where = f"column {quoted(feature.column)} of {source}"
    if pt.is_null(kind):
        found = f"{where} has no value in the rows looked at; correct input.features.{feature.name}.column"
        raise UsageError("E_COLUMN_MISSING", found)
    refusal = _refusal(kind, feature)
    if refusal:
        raise UsageError(refusal.code, f"{where}: {refusal.message}")


def _refusal(kind: pa.DataType, feature: Feature) -> Fault | None:
    """Why no value of an Arrow type can become this feature."""
    label, leaf = f"feature {quoted(feature.name)}", _leaf(kind)
    if feature.decode and not _is_bytes(leaf):
        found = f"{label} is {quoted(str(kind))}; decode: {feature.decode} wants bytes; remove decode"
        return Fault("E_FEATURE_DTYPE", found)
    if not feature.decode and not _is_number(leaf):
        hint = "; set decode: raw or image" if _is_bytes(leaf) else "; give a column of numbers"
        return Fault("E_FEATURE_DTYPE", f"{label} is {quoted(str(kind))}; the model wants {feature.dtype}{hint}")
    if pt.is_floating(leaf) and feature.stored.kind != "f":
        found = f"{label} is {leaf}, but {feature.stored} is wanted; floats are not cast to integers"
        return Fault("E_FEATURE_DTYPE", f"{found}; give a column of integers")
    sizes = _fixed_size(kind)
    wanted = 1 if feature.decode else feature.size
    if (sizes is not None and sizes != wanted) or not _tensor_fits(kind, feature):
        found = f"{label} is {quoted(str(kind))}; the model wants {feature.wants}"
        return Fault("E_FEATURE_SHAPE", f"{found}; give another column, or store this shape")
    return None


def _storage(kind: pa.DataType) -> pa.DataType:
    if isinstance(kind, pa.BaseExtensionType):
        return kind.storage_type
    return kind.value_type if pt.is_dictionary(kind) else kind


def _is_list(kind: pa.DataType) -> bool:
    return bool(pt.is_list(kind) or pt.is_large_list(kind) or pt.is_fixed_size_list(kind))


def _leaf(kind: pa.DataType) -> pa.DataType:
    while (inner := _storage(kind).value_type if _is_list(_storage(kind)) else _storage(kind)) != kind:
        kind = inner
    return kind


def _fixed_size(kind: pa.DataType) -> int | None:
    """Values per row when the type alone decides that."""
    size, kind = 1, _storage(kind)
    while _is_list(kind):
        if not pt.is_fixed_size_list(kind):
            return None
        size, kind = size * kind.list_size, _storage(kind.value_type)
    return size


def _is_number(kind: pa.DataType) -> bool:
    return bool(pt.is_integer(kind) or pt.is_floating(kind) or pt.is_boolean(kind))


def _is_bytes(kind: pa.DataType) -> bool:
    return bool(pt.is_binary(kind) or pt.is_large_binary(kind) or pt.is_fixed_size_binary(kind))


def _logical_shape(kind: pa.FixedShapeTensorType) -> tuple[int, ...]:
    order = kind.permutation or range(len(kind.shape))
    return tuple(kind.shape[axis] for axis in order)


def _tensor_fits(kind: pa.DataType, feature: Feature) -> bool:
    """A tensor column of more than one axis keeps its axes: channels first is not channels last."""
    if not isinstance(kind, pa.FixedShapeTensorType) or len(kind.shape) < 2:
        return True
    return [n for n in _logical_shape(kind) if n > 1] == [n for n in feature.shape if n > 1]


class _Leaves(NamedTuple):
    """A column taken apart: its innermost values, and how they belong to rows."""

    values: pa.Array  # [sum of counts]; nulls only in rows where `nulls`
    counts: np.ndarray  # [rows] int64: values of each row
    present: np.ndarray  # [rows] bool: the row is not null
    nulls: np.ndarray  # [rows] bool: there is a null inside the row

    def rows(self, size: int) -> np.ndarray:
        """Rows that hold exactly `size` values and no null, int64, ascending."""
        return np.flatnonzero(self.present & ~self.nulls & (self.counts == size))

    def take(self, values: np.ndarray, rows: np.ndarray, size: int) -> np.ndarray:
        """`values` of these rows, [len(rows), size]; a view when that is all of them."""
        if len(rows) == len(self.counts):
            return np.reshape(values, (len(rows), size))
        starts = np.cumsum(self.counts) - self.counts
        return np.asarray(values[starts[rows, None] + np.arange(size)])


def _dense(array: pa.Array) -> pa.Array:
    if isinstance(array, pa.ExtensionArray):
        return _dense(array.storage)
    return array.dictionary_decode() if pt.is_dictionary(array.type) else array


def _leaves(array: pa.Array) -> _Leaves:
    array = _dense(array)
    present = _numpy(array.is_valid())
    counts, nulls = np.ones(len(array), np.int64), np.zeros(len(array), bool)
    while _is_list(array.type):
        nulls |= _has_null(array, counts)
        counts = _sums(counts, _numpy(pc.fill_null(pc.list_value_length(array), 0)))
        array = _dense(array.flatten())
    nulls = (nulls | _has_null(array, counts)) & present
    return _Leaves(array, counts, present, nulls)


def _numpy(array: pa.Array) -> np.ndarray:
    values: np.ndarray = array.to_numpy(zero_copy_only=False)
    return values


def _has_null(array: pa.Array, counts: np.ndarray) -> np.ndarray:
    """Whether the run of values that belongs to a row holds a null, bool [rows]."""
    return _sums(counts, _numpy(array.is_null())) > 0 if array.null_count else np.zeros(len(counts), bool)


def _sums(counts: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Sum of `values` over runs of these lengths, int64 [len(counts)]."""
    sums, ends = np.concatenate([[0], np.cumsum(values, dtype=np.int64)]), np.cumsum(counts)
    return np.asarray(sums[ends] - sums[ends - counts])


def _numbers(values: pa.Array) -> np.ndarray:
    """Numbers as numpy; null becomes 0, bool uint8."""
    if pt.is_boolean(values.type):
        values = values.cast(pa.uint8())
    if pt.is_float16(values.type):
        values = values.cast(pa.float32())
    return _numpy(pc.fill_null(values, pa.scalar(0, values.type)) if values.null_count else values)


def decode(array: pa.Array, feature: Feature) -> tuple[np.ndarray, _Faults]:
    """Values [rows, *shape] in `feature.dtype`, perhaps read-only; rows that have a fault hold zeros.

    Faults by row: E_FEATURE_MISSING, E_FEATURE_NULL, E_FEATURE_SHAPE, E_FEATURE_DTYPE, E_FEATURE_DECODE,
    E_FEATURE_NONFINITE. Never raises for what a row holds.
    """
    missing = Fault("E_FEATURE_MISSING", f"feature {quoted(feature.name)} is null; give a value or leave the row out")
    refusal = missing if pt.is_null(array.type) else _refusal(array.type, feature)
    if refusal:
        valid = _numpy(array.is_valid()).tolist()
        faults = {row: refusal if present else missing for row, present in enumerate(valid)}
        return np.zeros((len(array), *feature.shape), feature.dtype), faults
    leaves = _leaves(array)
    rows = leaves.rows(1 if feature.decode else feature.size)
    faults = _structure_faults(leaves, rows, feature, missing)
    if feature.decode:
        stored, undecoded = _from_bytes(leaves, rows, feature)
        faults |= undecoded
        rows = rows[[row not in undecoded for row in rows.tolist()]] if undecoded else rows
    else:
        stored = _row_major(leaves.take(_numbers(leaves.values), rows, feature.size), array.type)
    fed, refused = _fed(stored, feature)
    faults |= {int(rows[at]): fault for at, fault in refused.items()}
    kept = np.array([at not in refused for at in range(len(rows))], bool) if refused else slice(None)
    return _placed(fed[kept], rows[kept], len(array), feature), faults


def _placed(values: np.ndarray, rows: np.ndarray, count: int, feature: Feature) -> np.ndarray:
    """[count, *shape] with `values` [len(rows), size] in their rows and zeros elsewhere."""
    if len(rows) < count:
        placed = np.zeros((count, feature.size), feature.dtype)
        placed[rows] = values
        values = placed
    return values.reshape(count, *feature.shape)


def _structure_faults(leaves: _Leaves, good: np.ndarray, feature: Feature, missing: Fault) -> _Faults:
    faults: _Faults = {}
    label = f"feature {quoted(feature.name)}"
    wanted = "one byte string" if feature.decode else feature.wants
    bad = np.setdiff1d(np.arange(len(leaves.counts)), good, assume_unique=True)
    for row in bad.tolist():
        if not leaves.present[row]:
            faults[row] = missing
        elif leaves.nulls[row]:
            faults[row] = Fault("E_FEATURE_NULL", f"{label} has a null among its values; fill it, or leave the row out")
        else:
            found = f"{label} has {leaves.counts[row]} values; the model wants {wanted}"
            faults[row] = Fault("E_FEATURE_SHAPE", f"{found}; leave the row out, or correct the column or shape")
    return faults


def _row_major(values: np.ndarray, kind: pa.DataType) -> np.ndarray:
    """[rows, size] in the order of the logical axes: a tensor column may store them permuted."""
    if not isinstance(kind, pa.FixedShapeTensorType) or kind.permutation is None:
        return values
    axes = [axis + 1 for axis in kind.permutation]
    return np.reshape(values.reshape(len(values), *kind.shape).transpose(0, *axes), values.shape)


def _from_bytes(leaves: _Leaves, rows: np.ndarray, feature: Feature) -> tuple[np.ndarray, _Faults]:
    """Decoded values [rows without a fault, size] in the stored dtype, and the faults by row."""
    at = (np.cumsum(leaves.counts) - leaves.counts)[rows]
    pieces = leaves.values.take(pa.array(at)).to_pylist()
    one = _image if feature.decode == "image" else _raw
    decoded = [one(piece, feature) for piece in pieces]
    good = [value for value in decoded if not isinstance(value, Fault)]
    faults = {int(row): value for row, value in zip(rows, decoded, strict=True) if isinstance(value, Fault)}
    values = np.frombuffer(b"".join(good), dtype=_raw_dtype(feature)).reshape(len(good), feature.size)
    return values, faults


def _raw_dtype(feature: Feature) -> np.dtype[Any]:
    return np.dtype(np.uint8) if feature.stored.kind == "b" else feature.stored.newbyteorder("<")


def _raw(data: bytes, feature: Feature) -> bytes | Fault:
    wanted_bytes = feature.size * feature.stored.itemsize
    if len(data) == wanted_bytes:
        return data
    found = f"feature {quoted(feature.name)} has {len(data)} raw bytes; {feature.wants} values of {feature.stored} take"
    return Fault("E_FEATURE_SHAPE", f"{found} {wanted_bytes}; correct shape or dtype, or leave the row out")


def _image(data: bytes, feature: Feature) -> bytes | Fault:
    import tensorflow as tf

    label, errors = f"feature {quoted(feature.name)}", tf.errors
    try:
        image = tf.io.decode_image(data, channels=feature.shape[-1], expand_animations=False).numpy()
    except (
        errors.InvalidArgumentError,
        errors.InternalError,
        errors.UnimplementedError,
        errors.ResourceExhaustedError,
    ):
        found = f"{label} has {len(data)} bytes {quoted(data[:32])}, no image of {feature.shape[-1]} channels"
        return Fault("E_FEATURE_DECODE", f"{found}; give JPEG, PNG, BMP or GIF")
    if image.shape != feature.shape:
        found = f"{label} is an image of {'x'.join(map(str, image.shape))}; the model wants {feature.wants}"
        return Fault("E_FEATURE_SHAPE", f"{found}; resize it before it is stored")
    return bytes(image.tobytes())


def _fed(stored: np.ndarray, feature: Feature) -> tuple[np.ndarray, _Faults]:
    """stored * scale + offset in `feature.dtype`, [rows, size], and faults by position."""
    compute = np.dtype(np.float32) if feature.dtype == np.float16 else feature.dtype
    lossy = _lossy(stored, feature.stored) | _lossy(stored, compute)
    with np.errstate(over="ignore", invalid="ignore"):
        values = stored.astype(feature.stored, copy=False).astype(compute, copy=False)
        if (feature.scale, feature.offset) != (1.0, 0.0):
            values = values * compute.type(feature.scale) + compute.type(feature.offset)
        values = values.astype(feature.dtype, copy=False)
    faults = _value_faults(stored, ~np.isfinite(values), feature, "E_FEATURE_NONFINITE")
    return values, faults | _value_faults(stored, lossy, feature, "E_FEATURE_DTYPE")


def _lossy(values: np.ndarray, dtype: np.dtype[Any]) -> np.ndarray:
    """Which integers have no exact counterpart in `dtype`; floats may round. Broadcasts against `values`."""
    none = np.zeros((1, 1), bool)
    if values.dtype.kind == "f" or not values.size:
        return none
    low, high = _exact_bounds(dtype)
    if low <= values.min() and values.max() <= high:
        return none
    if dtype.kind != "f":
        return (values < low) | (values > high)
    with np.errstate(over="ignore", invalid="ignore"):
        near = values.astype(dtype).astype(np.float64)
    held = np.isfinite(near) & (near < 2.0 ** (8 * values.dtype.itemsize - (values.dtype.kind == "i")))
    return np.asarray(~held | (np.where(held, near, 0).astype(values.dtype) != values))


def _exact_bounds(dtype: np.dtype[Any]) -> tuple[int, int]:
    if dtype.kind == "b":
        return 0, 1
    if dtype.kind == "f":
        limit = 2 ** (np.finfo(dtype).nmant + 1)
        return -limit, limit
    return int(np.iinfo(dtype).min), int(np.iinfo(dtype).max)


_REASONS = {
    "E_FEATURE_NONFINITE": "which is not a finite {dtype} after scale and offset; correct it, or leave the row out",
    "E_FEATURE_DTYPE": "which {stored} or {dtype} cannot hold exactly; store a float64 to have it rounded",
}


def _value_faults(stored: np.ndarray, bad: np.ndarray, feature: Feature, code: str) -> _Faults:
    faults: _Faults = {}
    if not bad.any():
        return faults
    bad = np.broadcast_to(bad, stored.shape)
    for at in np.flatnonzero(bad.any(axis=1)).tolist():
        first = int(np.argmax(bad[at]))
        place = [int(axis) for axis in np.unravel_index(first, feature.shape)] if feature.shape else ""
        reason = _REASONS[code].format(dtype=feature.dtype, stored=feature.stored)
        faults[at] = Fault(code, f"feature {quoted(feature.name)} holds {stored[at, first]} at {place}, {reason}")
    return faults


def integers(array: pa.Array, name: str) -> tuple[np.ndarray, _Faults]:
    """Labels as int64 [rows], 0 where there is a fault; faults by row: E_LABEL_MISSING, E_LABEL_DTYPE.

    Takes integers of any width, booleans, floats without a fraction, dictionaries of these and lists of one.
    """
    labels = np.zeros(len(array), np.int64)
    leaf = _leaf(array.type)
    if not _is_number(leaf):
        present = _numpy(array.is_valid())
        found = f"has type {quoted(str(array.type))}"
        return labels, {row: _label_fault(name, found if present[row] else None) for row in range(len(array))}
    leaves = _leaves(array)
    rows = leaves.rows(1)
    values = leaves.take(_numbers(leaves.values), rows, 1)[:, 0]
    exact = _integral(values)
    labels[rows[exact]] = values[exact].astype(np.int64)
    faults = {
        int(row): _label_fault(name, f"is {value}") for row, value in zip(rows[~exact], values[~exact], strict=True)
    }
    for row in np.setdiff1d(np.arange(len(array)), rows, assume_unique=True).tolist():
        count = int(leaves.counts[row])
        faults[row] = _label_fault(name, f"has {count} values" if leaves.present[row] and count > 1 else None)
    return labels, faults


def _integral(values: np.ndarray) -> np.ndarray:
    if values.dtype.kind == "f":  # beyond 2**53 neighbouring integers are the same float64
        return np.asarray(np.isfinite(values) & (np.rint(values) == values) & (np.abs(values) <= 2**53))
    return np.broadcast_to(~_lossy(values[:, None], np.dtype(np.int64)), (len(values), 1))[:, 0]


def _label_fault(name: str, found: str | None) -> Fault:
    if found is None:
        return Fault("E_LABEL_MISSING", f"label {quoted(name)} is null; give a class, or leave the row out")
    return Fault("E_LABEL_DTYPE", f"label {quoted(name)} {found}; one whole number is wanted; store the class index")
