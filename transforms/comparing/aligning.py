"""The maps of paired rows, value beside value: whole ones by their order, thinned-out ones by their positions."""

from __future__ import annotations

import dataclasses

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from transforms.comparing.features import Features
from transforms.comparing.measures import FlatPairs
from transforms.records.maps import FlatMaps, MapColumn, flat_maps

Columns = tuple[MapColumn, MapColumn]
Mask = npt.NDArray[np.bool_]


@dataclasses.dataclass(frozen=True, eq=False)
class Aligned:
    """What can be compared of some pairs of rows.

    Attributes:
        pairs: of all rows, without the values of those that cannot be compared.
        other_length: rows whose maps have different lengths, bool [rows].
        nonfinite: rows of which a value is no number, bool [rows].
    """

    pairs: FlatPairs
    other_length: Mask
    nonfinite: Mask

    @property
    def comparable(self) -> Mask:
        """bool [rows]."""
        return ~(self.other_length | self.nonfinite)


def align(a: pa.Table, b: pa.Table, columns: tuple[Columns, ...], features: Features) -> Aligned:
    """The maps of rows that belong together.

    With `output.top` only what is kept by one of the two is compared, and what the other one left out is 0.

    Args:
        a, b: row by row the same rows.
        columns: by explained input, how each run has stored it.
    """
    found, longer = list[FlatPairs](), np.zeros(a.num_rows, bool)
    for number, (column_a, column_b) in enumerate(columns):
        flat_a, flat_b = flat_maps(a, column_a), flat_maps(b, column_b)
        if column_a.top or column_b.top:
            flat_a, flat_b = _union(flat_a, flat_b)
        else:
            lengths = [np.bincount(flat.rows, minlength=a.num_rows) for flat in (flat_a, flat_b)]
            differs = lengths[0] != lengths[1]
            longer |= differs
            flat_a, flat_b = (_without(flat, differs) for flat in (flat_a, flat_b))
        counted = features.of(number, flat_a.positions)
        found.append(FlatPairs(flat_a.values, flat_b.values, flat_a.rows, counted, a.num_rows))
    joined = _joined(found)
    wrong = ~(np.isfinite(joined.a) & np.isfinite(joined.b))
    nonfinite = np.bincount(joined.rows, wrong, a.num_rows) > 0
    nonfinite |= np.any([_nonfinite(table) for table in (a, b)], axis=0)
    nonfinite &= ~longer
    return Aligned(_kept(joined, ~(longer | nonfinite)), longer, nonfinite)


def _union(a: FlatMaps, b: FlatMaps) -> tuple[FlatMaps, FlatMaps]:
    """Both at every position that one of them has."""
    width = 1 + max(a.positions.max(initial=0), b.positions.max(initial=0))
    keys = [flat.rows * width + flat.positions for flat in (a, b)]
    both = np.union1d(*keys)
    values = np.zeros((2, len(both)))
    for into, flat, key in zip(values, (a, b), keys, strict=True):
        into[np.searchsorted(both, key)] = flat.values
    of_a, of_b = (FlatMaps(one, both // width, both % width) for one in values)
    return of_a, of_b


def _without(flat: FlatMaps, rows: Mask) -> FlatMaps:
    kept = ~rows[flat.rows]
    return FlatMaps(flat.values[kept], flat.rows[kept], flat.positions[kept])


def _joined(several: list[FlatPairs]) -> FlatPairs:
    a, b, rows, features = (
        np.concatenate([getattr(pairs, name) for pairs in several]) for name in ("a", "b", "rows", "features")
    )
    return FlatPairs(a, b, rows, features, several[0].count)


def _kept(pairs: FlatPairs, rows: Mask) -> FlatPairs:
    kept = rows[pairs.rows]
    return FlatPairs(pairs.a[kept], pairs.b[kept], pairs.rows[kept], pairs.features[kept], pairs.count)


def _nonfinite(table: pa.Table) -> Mask:
    return np.array([status == "nonfinite" for status in table["status"].to_pylist()], bool)
