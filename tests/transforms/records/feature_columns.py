"""Features and columns for tests of what becomes of them."""

from __future__ import annotations

import math

import numpy as np
import pyarrow as pa

from transforms.records.config import FeatureConfig
from transforms.records.feature import Feature, resolve


def wanted(shape: tuple[int, ...] = (), dtype: str = "float32", /, **config: object) -> Feature:
    return resolve("image", FeatureConfig(column="pixels", **config), shape, dtype)


def codes(faults: dict) -> dict[int, str]:
    assert all(len(fault.message) <= 500 and "'image'" in fault.message for fault in faults.values())
    return {row: fault.code for row, fault in faults.items()}


def tensor_column(values: np.ndarray, permutation: list[int] | None = None) -> pa.Array:
    """Stores logical [rows, *shape] values with physical axes so that `permutation` brings them back."""
    order = permutation or list(range(values.ndim - 1))
    physical = np.ascontiguousarray(values.transpose(0, *[int(axis) + 1 for axis in np.argsort(order)]))
    kind = pa.fixed_shape_tensor(pa.from_numpy_dtype(values.dtype), physical.shape[1:], permutation=permutation)
    flat = pa.FixedSizeListArray.from_arrays(physical.ravel(), math.prod(physical.shape[1:]))
    return pa.ExtensionArray.from_storage(kind, flat)
