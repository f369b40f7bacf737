"""Which rows of one run are which rows of another: by `row_id` and target."""

from __future__ import annotations

import dataclasses

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

Integers = npt.NDArray[np.int64]


@dataclasses.dataclass(frozen=True, eq=False)
class Pairing:
    """Rows of two tables that belong together, and how many do not.

    Attributes:
        a, b: positions of the two rows of each pair, in the order of the first table.
        only_a, only_b: rows whose id the other table does not have.
        other_target: rows of the first table whose id the other has, but not at this target.
    """

    a: Integers
    b: Integers
    only_a: int
    only_b: int
    other_target: int


def pair(a: pa.Table, b: pa.Table) -> Pairing:
    """Join two tables by `row_id` and `target`, where no target is a target too.

    Where both occur more than once, the first occurrence is joined with the first, the second with the second.
    """
    ids, keys = _codes(a, b)
    of_a, of_b = np.split(_numbered(keys, a.num_rows), [a.num_rows])
    _, in_a, in_b = np.intersect1d(of_a, of_b, assume_unique=True, return_indices=True)
    order = np.argsort(in_a)
    ids_a, ids_b = np.split(ids, [a.num_rows])
    alone = np.delete(ids_a, in_a)
    elsewhere = int(np.isin(alone, ids_b).sum())
    only_b = int((~np.isin(ids_b, ids_a)).sum())
    return Pairing(in_a[order], in_b[order], len(alone) - elsewhere, only_b, elsewhere)


def _codes(a: pa.Table, b: pa.Table) -> tuple[Integers, Integers]:
    """A number for each row's id, and one for its id and target, the same in both tables: int64 [rows of both]."""
    both = pa.concat_tables([table.select(["row_id", "target"]) for table in (a, b)])
    names = both["row_id"].cast(pa.string()).combine_chunks().dictionary_encode()
    ids = names.indices.to_numpy().astype(np.int64)
    none = np.iinfo(np.int64).min
    targets = np.unique(pc.fill_null(both["target"], none).to_numpy(), return_inverse=True)[1].reshape(-1)
    return ids, ids * (targets.max(initial=0) + 1) + targets


def _numbered(keys: Integers, rows: int) -> Integers:
    """Keys made unique on each side of `rows`: with the number of earlier rows of that side that have the same key."""
    occurrence = np.concatenate([_occurrences(keys[:rows]), _occurrences(keys[rows:])])
    return np.asarray(keys * (occurrence.max(initial=0) + 1) + occurrence)


def _occurrences(keys: Integers) -> Integers:
    order = np.argsort(keys, kind="stable")
    ordered = keys[order]
    first = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]]) if len(keys) else np.zeros(0, np.int64)
    found = np.empty(len(keys), np.int64)
    found[order] = np.arange(len(keys)) - np.repeat(first, np.diff(np.r_[first, len(keys)]))
    return found
