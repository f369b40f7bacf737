"""Stored numbers become the numbers a model is fed: scaled, cast, and refused where a cast would change an integer."""

from __future__ import annotations

from typing import Any

import numpy as np

from transforms.errors import Fault, quoted
from transforms.records.feature import Feature

_REASONS = {
    "E_FEATURE_NONFINITE": "which is not a finite {dtype} after scale and offset; correct it, or leave the row out",
    "E_FEATURE_DTYPE": "which {stored} or {dtype} cannot hold exactly; store a float64 to have it rounded",
}


def convert(stored: np.ndarray, feature: Feature) -> tuple[np.ndarray, dict[int, Fault]]:
    """stored * scale + offset in `feature.dtype`, [rows, size], and faults by position."""
    compute = np.dtype(np.float32) if feature.dtype == np.float16 else feature.dtype
    lossy = inexact(stored, feature.stored) | inexact(stored, compute)
    with np.errstate(over="ignore", invalid="ignore"):
        values = stored.astype(feature.stored, copy=False).astype(compute, copy=False)
        if (feature.scale, feature.offset) != (1.0, 0.0):
            values = values * compute.type(feature.scale) + compute.type(feature.offset)
        values = values.astype(feature.dtype, copy=False)
    faults = _value_faults(stored, ~np.isfinite(values), feature, "E_FEATURE_NONFINITE")
    return values, faults | _value_faults(stored, lossy, feature, "E_FEATURE_DTYPE")


def inexact(values: np.ndarray, dtype: np.dtype[Any]) -> np.ndarray:
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


def _value_faults(stored: np.ndarray, bad: np.ndarray, feature: Feature, code: str) -> dict[int, Fault]:
    faults: dict[int, Fault] = {}
    if not bad.any():
        return faults
    bad = np.broadcast_to(bad, stored.shape)
    for at in np.flatnonzero(bad.any(axis=1)).tolist():
        first = int(np.argmax(bad[at]))
        place = [int(axis) for axis in np.unravel_index(first, feature.shape)] if feature.shape else ""
        reason = _REASONS[code].format(dtype=feature.dtype, stored=feature.stored)
        faults[at] = Fault(code, f"feature {quoted(feature.name)} holds {stored[at, first]} at {place}, {reason}")
    return faults
