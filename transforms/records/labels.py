"""Labels: a column of class numbers becomes int64, without silent loss."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from transforms.errors import Fault, quoted
from transforms.records.convert import inexact
from transforms.records.leaves import as_numpy, is_number, leaf_type, numbers, take_apart


def integers(array: pa.Array, name: str) -> tuple[np.ndarray, dict[int, Fault]]:
    """Labels as int64 [rows], 0 where there is a fault; faults by row: E_LABEL_MISSING, E_LABEL_DTYPE.

    Takes integers of any width, booleans, floats without a fraction, dictionaries of these and lists of one.
    """
    labels = np.zeros(len(array), np.int64)
    leaf = leaf_type(array.type)
    if not is_number(leaf):
        present = as_numpy(array.is_valid())
        found = f"has type {quoted(str(array.type))}"
        return labels, {row: _label_fault(name, found if present[row] else None) for row in range(len(array))}
    leaves = take_apart(array)
    rows = leaves.rows(1)
    values = leaves.take(numbers(leaves.values), rows, 1)[:, 0]
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
    return np.broadcast_to(~inexact(values[:, None], np.dtype(np.int64)), (len(values), 1))[:, 0]


def _label_fault(name: str, found: str | None) -> Fault:
    if found is None:
        return Fault("E_LABEL_MISSING", f"label {quoted(name)} is null; give a class, or leave the row out")
    return Fault("E_LABEL_DTYPE", f"label {quoted(name)} {found}; one whole number is wanted; store the class index")
