"""Faults that all decoders of bytes share: bytes that cannot be decoded, and values of another shape."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from transforms.errors import Fault, quoted
from transforms.records.feature import Feature


def undecodable(data: bytes, feature: Feature, why: str, remedy: str) -> Fault:
    """E_FEATURE_DECODE, with the first bytes."""
    found = f"feature {quoted(feature.name)} has {len(data)} bytes {quoted(data[:32])}, {why}"
    return Fault("E_FEATURE_DECODE", f"{found}; {remedy}")


def shape_fault(shape: Sequence[int], feature: Feature, what: str) -> Fault | None:
    """E_FEATURE_SHAPE unless `shape` is the feature's, axes of length 1 aside."""
    if [axis for axis in shape if axis != 1] == [axis for axis in feature.shape if axis != 1]:
        return None
    found = f"feature {quoted(feature.name)} is {what} of {'x'.join(map(str, shape))}; the model wants {feature.wants}"
    return Fault("E_FEATURE_SHAPE", f"{found}; bring it to this shape before it is stored")


def as_stored(values: np.ndarray, feature: Feature) -> bytes:
    """Values in the feature's stored dtype, row-major, little endian."""
    return values.astype(feature.stored.newbyteorder("<")).tobytes()
