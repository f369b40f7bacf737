"""Arrow columns become the model's numpy inputs, without silent loss: what does not convert is a fault of its row."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.types as pt

from transforms.errors import Fault, quoted
from transforms.records.audio import decode_audio
from transforms.records.convert import convert
from transforms.records.dicom import decode_dicom
from transforms.records.exr import decode_exr
from transforms.records.feature import Feature, type_fault
from transforms.records.leaves import Leaves, as_numpy, numbers, take_apart
from transforms.records.tfio_decode import decode_tiff, decode_webp


def decode(array: pa.Array, feature: Feature) -> tuple[np.ndarray, dict[int, Fault]]:
    """Values [rows, *shape] in `feature.dtype`, perhaps read-only; rows that have a fault hold zeros.

    Faults by row: E_FEATURE_MISSING, E_FEATURE_NULL, E_FEATURE_SHAPE, E_FEATURE_DTYPE, E_FEATURE_DECODE,
    E_FEATURE_NONFINITE, E_FEATURE_WINDOW. Never raises for what a row holds.
    """
    refusal = missing(feature) if pt.is_null(array.type) else type_fault(array.type, feature)
    if refusal:
        return np.zeros((len(array), *feature.shape), feature.dtype), as_faults(array, feature, refusal)
    leaves = take_apart(array)
    rows = leaves.rows(1 if feature.decode else feature.size)
    faults = _structure_faults(leaves, rows, feature)
    if feature.decode:
        stored, undecoded = _from_bytes(leaves, rows, feature)
        faults |= undecoded
        rows = rows[[row not in undecoded for row in rows.tolist()]] if undecoded else rows
    else:
        stored = _row_major(leaves.take(numbers(leaves.values), rows, feature.size), array.type)
    fed, refused = convert(stored, feature)
    faults |= {int(rows[at]): fault for at, fault in refused.items()}
    kept = np.array([at not in refused for at in range(len(rows))], bool) if refused else slice(None)
    return _placed(fed[kept], rows[kept], len(array), feature), faults


def missing(feature: Feature) -> Fault:
    """The fault of a row without a value."""
    return Fault("E_FEATURE_MISSING", f"feature {quoted(feature.name)} is null; give a value or leave the row out")


def as_faults(array: pa.Array, feature: Feature, refusal: Fault) -> dict[int, Fault]:
    """Why a whole column is refused, as faults of its rows."""
    valid = as_numpy(array.is_valid()).tolist()
    return {row: refusal if present else missing(feature) for row, present in enumerate(valid)}


def _placed(values: np.ndarray, rows: np.ndarray, count: int, feature: Feature) -> np.ndarray:
    """[count, *shape] with `values` [len(rows), size] in their rows and zeros elsewhere."""
    if len(rows) < count:
        placed = np.zeros((count, feature.size), feature.dtype)
        placed[rows] = values
        values = placed
    return values.reshape(count, *feature.shape)


def _structure_faults(leaves: Leaves, good: np.ndarray, feature: Feature) -> dict[int, Fault]:
    faults: dict[int, Fault] = {}
    label = f"feature {quoted(feature.name)}"
    wanted = "one byte string" if feature.decode else feature.wants
    bad = np.setdiff1d(np.arange(len(leaves.counts)), good, assume_unique=True)
    for row in bad.tolist():
        if not leaves.present[row]:
            faults[row] = missing(feature)
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


def _from_bytes(leaves: Leaves, rows: np.ndarray, feature: Feature) -> tuple[np.ndarray, dict[int, Fault]]:
    """Decoded values [rows without a fault, size] in the stored dtype, and the faults by row."""
    at = (np.cumsum(leaves.counts) - leaves.counts)[rows]
    pieces = leaves.values.take(pa.array(at)).to_pylist()
    one = _DECODERS[feature.decode or "raw"]
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


_DECODERS: Mapping[str, Callable[[bytes, Feature], bytes | Fault]] = {
    "raw": _raw,
    "image": _image,
    "dicom": decode_dicom,
    "tiff": decode_tiff,
    "webp": decode_webp,
    "exr": decode_exr,
    "audio": decode_audio,
}
