"""Labels: a column of class numbers, or of class names, becomes int64, without silent loss."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from transforms.class_names import unknown
from transforms.errors import Fault, quoted
from transforms.records.convert import inexact
from transforms.records.leaves import Leaves, as_numpy, is_number, is_text, leaf_type, numbers, take_apart


def class_indices(array: pa.Array, name: str, classes: Sequence[str]) -> tuple[np.ndarray, dict[int, Fault]]:
    """Labels as int64 [rows], by the names of the classes where they are text, and else as `integers`.

    A name that no class has is a fault: E_TARGET_NAME.
    """
    if not classes or not is_text(leaf_type(array.type)):
        return integers(array, name)
    labels, leaves = np.zeros(len(array), np.int64), take_apart(array)
    rows, texts = leaves.rows(1), leaves.values.cast(pa.large_binary())
    # TFRecord has bytes for text
    known = pa.array([one.encode() for one in classes], pa.large_binary())
    indices = as_numpy(pc.fill_null(pc.index_in(texts, value_set=known), -1))
    found = leaves.take(indices, rows, 1)[:, 0]
    labels[rows] = np.maximum(found, 0)
    strange = rows[found < 0]
    starts = np.cumsum(leaves.counts) - leaves.counts
    names = texts.take(pa.array(starts[strange])).to_pylist()
    # each is looked up once: a whole column may be wrong
    says = {one: f"label {quoted(name)}: {unknown(one.decode(errors='replace'), classes)}" for one in set(names)}
    faults = {row: Fault("E_TARGET_NAME", says[one]) for row, one in zip(strange.tolist(), names, strict=True)}
    return labels, faults | _not_one(leaves, rows, name)


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
    return labels, faults | _not_one(leaves, rows, name)


def _not_one(leaves: Leaves, rows: np.ndarray, name: str) -> dict[int, Fault]:
    """The faults of all rows but `rows`, which hold one value."""
    faults = {}
    for row in np.setdiff1d(np.arange(len(leaves.counts)), rows, assume_unique=True).tolist():
        count = int(leaves.counts[row])
        faults[row] = _label_fault(name, f"has {count} values" if leaves.present[row] and count > 1 else None)
    return faults


def _integral(values: np.ndarray) -> np.ndarray:
    if values.dtype.kind == "f":  # beyond 2**53 neighbouring integers are the same float64
        return np.asarray(np.isfinite(values) & (np.rint(values) == values) & (np.abs(values) <= 2**53))
    return np.broadcast_to(~inexact(values[:, None], np.dtype(np.int64)), (len(values), 1))[:, 0]


def _label_fault(name: str, found: str | None) -> Fault:
    if found is None:
        return Fault("E_LABEL_MISSING", f"label {quoted(name)} is null; give a class, or leave the row out")
    return Fault(
        "E_LABEL_DTYPE",
        f"label {quoted(name)} {found}; one whole number is wanted; store the class index, or"
        " list the names in model.classes",
    )
