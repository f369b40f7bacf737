"""Arrow columns whose rows have different lengths become `Ragged`: their steps are decoded as rows of their own."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.types as pt

from transforms.errors import Fault, quoted
from transforms.records.decode import as_faults, decode, missing
from transforms.records.feature import Feature, Varying, sequence_fault
from transforms.records.leaves import is_number, outer_lists
from transforms.records.ragged import Lengths, Ragged


def decode_sequences(array: pa.Array, feature: Feature, varying: Varying) -> tuple[Ragged, dict[int, Fault]]:
    """Rows of steps, [*shape] each in `feature.dtype`; rows that have a fault have no steps.

    An item of a row's list is a step; numbers without lists around them are cut into steps.

    Faults by row: E_SEQUENCE_EMPTY, E_SEQUENCE_LENGTH, and those of `decode`. Never raises for what a row holds.
    """
    refusal = missing(feature) if pt.is_null(array.type) else sequence_fault(array.type, feature)
    if refusal:
        empty = np.zeros((0, *feature.shape), feature.dtype)
        return Ragged(empty, np.zeros(len(array), np.int64)), as_faults(array, feature, refusal)
    lists = outer_lists(array)
    flat = is_number(lists.items.type)
    size = feature.size if flat else 1
    faults = _length_faults(lists.counts, lists.present, size, feature, varying)
    good = np.ones(len(array), dtype=bool)
    good[list(faults)] = False
    items = lists.items.filter(pa.array(np.repeat(good, lists.counts))) if faults else lists.items
    steps = pa.FixedSizeListArray.from_arrays(items, size) if flat else items
    lengths = np.where(good, lists.counts // size, 0)
    values, found = decode(steps, feature)
    return _without(Ragged(values, lengths), faults, _by_row(found, lengths))


def _length_faults(
    counts: Lengths, present: npt.NDArray[np.bool_], size: int, feature: Feature, varying: Varying
) -> dict[int, Fault]:
    label = f"feature {quoted(feature.name)}"
    wrong = ~present | (counts == 0) | (counts % size != 0) | (counts // size > varying.most)
    faults: dict[int, Fault] = {}
    for row in np.flatnonzero(wrong).tolist():
        count = int(counts[row])
        if not present[row]:
            faults[row] = missing(feature)
        elif not count:
            faults[row] = Fault("E_SEQUENCE_EMPTY", f"{label} has no steps; leave the row out")
        elif count % size:
            found = f"{label} has {count} values, which are no steps of {feature.wants}"
            faults[row] = Fault("E_FEATURE_SHAPE", f"{found}; leave the row out, or correct the column or shape")
        else:
            limit = "the model takes" if varying.whole else "limits.sequence_length allows"
            found = f"{label} has {count // size} steps, more than the {varying.most} that {limit}"
            faults[row] = Fault("E_SEQUENCE_LENGTH", f"{found}; shorten it, or leave the row out")
    return faults


def _by_row(found: dict[int, Fault], lengths: Lengths) -> dict[int, Fault]:
    """Faults of steps as those of their rows, of which the first counts."""
    ends = np.cumsum(lengths)
    faults: dict[int, Fault] = {}
    for step, fault in sorted(found.items()):
        row = int(np.searchsorted(ends, step, side="right"))
        # the row is there: what is null is one of its steps
        code = "E_FEATURE_NULL" if fault.code == "E_FEATURE_MISSING" else fault.code
        place = step - int(ends[row] - lengths[row])
        faults.setdefault(row, Fault(code, f"step {place}: {fault.message}"))
    return faults


def _without(rows: Ragged, faults: dict[int, Fault], of_steps: dict[int, Fault]) -> tuple[Ragged, dict[int, Fault]]:
    """The rows, those with a fault of a step emptied too; and all faults."""
    if not of_steps:
        return rows, faults
    bad = np.zeros(len(rows), dtype=bool)
    bad[list(of_steps)] = True
    kept = Ragged(rows.values[~np.repeat(bad, rows.lengths)], np.where(bad, 0, rows.lengths))
    return kept, faults | of_steps
