"""What the maps of one input are together: by slice and position, region and token."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from transforms.auditing.audit_plan import MapPlan
from transforms.auditing.audit_tables import QUANTILES
from transforms.auditing.grouping import Array, Grouping, blocks
from transforms.auditing.laid_out import RowMaps, SlicedRows, least_strong
from transforms.auditing.moments import Doubles, Moments, Values, ratio, sample_variance
from transforms.auditing.part_columns import Mask
from transforms.auditing.pooling import compared
from transforms.auditing.regions import RegionShares
from transforms.auditing.sketch import Sketch
from transforms.auditing.slicing import OTHER
from transforms.auditing.survey import class_of_rows
from transforms.auditing.tokens import TokenSums


class PositionSums:
    """By slice and position: moments, shares of the row's Σ|A|, and how often it is among the strongest of its row."""

    def __init__(self, shift: Doubles, slices: int, strongest: int) -> None:
        self.strongest, self.moments = min(strongest, len(shift)), Moments(shift, slices)
        self.hits = np.zeros((slices, len(shift)), np.int64)
        self._share, self._square = np.zeros((2, slices, len(shift)))

    def add(self, values: Values, valid: Mask | None, scale: Doubles, least: Array, grouping: Grouping) -> None:
        """Add maps [positions, rows], in the order of the grouping's cells. Equally strong ones all count.

        Args:
            scale: 1 / Σ|A| of each row, over all inputs, [rows].
            least: magnitude that counts as strong in each row, [rows].
        """
        if not values.size:
            return
        self.moments.add(values, valid, grouping)
        shape = len(values), len(grouping.starts)
        (share, square), hits = np.empty((2, *shape)), np.empty(shape, np.int64)
        for some in blocks(values):
            sizes = np.abs(values[some])
            hits[some] = grouping.by_cell(np.add, sizes >= least, np.int64)
            shares = sizes * scale
            share[some] = grouping.by_cell(np.add, shares)
            square[some] = grouping.by_cell(np.add, np.square(shares, out=shares))
        for mine, found in ((self._share, share), (self._square, square), (self.hits, hits)):
            grouping.into(mine, np.add, found)

    def merge(self, other: PositionSums) -> None:
        """Add what another one added."""
        self.moments.merge(other.moments)
        self.hits += other.hits
        self._share += other._share
        self._square += other._square

    def shares(self) -> tuple[Doubles, Doubles]:
        """Mean and sample variance of the positions' shares, each [slices, positions]."""
        rows = self.moments.rows
        return ratio(self._share, rows), sample_variance(self._share, self._square, rows)


class MapSums:
    """The maps of one input, as its plan wants them looked at.

    Args:
        slices: how many there are.
    """

    def __init__(self, plan: MapPlan, slices: int) -> None:
        self.plan = plan
        pooled = plan.pool
        self.whole = PositionSums(plan.shift, 1 if pooled else slices, plan.strongest)
        self.coarse = PositionSums(np.zeros(pooled.size), slices, plan.strongest) if pooled else None
        self.sketch = Sketch(plan.buckets, plan.sketched) if plan.buckets else None
        self.regions = RegionShares(plan.column, slices) if plan.column.kind == "image" else None
        self.tokens = TokenSums(plan.column, *plan.words, slices) if plan.words else None
        self._slices = slices

    def add(self, rows: SlicedRows, maps: RowMaps, scale: Doubles) -> None:
        """Add rows with their maps.

        Args:
            scale: 1 / Σ|A| of each row, over all inputs, in the order of the grouping's cells, [rows].
        """
        grouping, everything = rows.grouping, Grouping.everything(len(rows.table))
        own = everything if self.coarse else grouping
        self.whole.add(maps.columns, maps.valid, scale, maps.strong, own)
        if self.coarse and self.plan.pool:
            sums = self.plan.pool.sums(maps.values)
            strong = grouping.sorted(least_strong(sums, self.coarse.strongest))
            self.coarse.add(grouping.columns(sums), None, scale, strong, grouping)
        if self.sketch:
            self.sketch.add(maps.columns, maps.valid, everything if self.plan.sketched == 1 else grouping)
        if self.regions:
            self.regions.add(maps.columns, grouping)
        if self.tokens:
            self.tokens.add(rows.table, grouping.restored(scale), grouping)

    def merge(self, other: MapSums) -> None:
        """Add what another one added."""
        for mine, theirs in (
            (self.whole, other.whole),
            (self.coarse, other.coarse),
            (self.sketch, other.sketch),
            (self.regions, other.regions),
            (self.tokens, other.tokens),
        ):
            if mine is not None:
                mine.merge(theirs)  # type: ignore[arg-type]

    def features(self) -> tuple[Array, dict[str, pa.Array]]:
        """The slice of each line of `features`, and its columns; positions that no row has are left out."""
        whole = self._lines(self.whole, 0, quantiles=True)
        if self.coarse is None:
            return whole
        coarse = self._lines(self.coarse, 1, quantiles=False)
        both = {name: pa.concat_arrays([array, coarse[1][name]]) for name, array in whole[1].items()}
        return np.concatenate([whole[0], coarse[0]]), both

    def _lines(self, sums: PositionSums, first: int, quantiles: bool) -> tuple[Array, dict[str, pa.Array]]:
        moments, shares = sums.moments, sums.shares()
        slices, positions = np.nonzero(moments.rows[first:])
        at = slices + first, positions
        found = {
            "position": pa.array(positions),
            "name": self._names(positions),
            "rows": pa.array(moments.rows[at]),
            "mean": pa.array(moments.mean[at]),
            "mean_abs": pa.array(moments.mean_abs[at]),
            "variance": _numbers(moments.variance[at]),
            "min": pa.array(moments.least[at]),
            "max": pa.array(moments.largest[at]),
            **self._quantiles(moments, at, quantiles),
            "top_share": pa.array(sums.hits[at] / moments.rows[at]),
            "share_mean": pa.array(shares[0][at]),
            "share_variance": _numbers(shares[1][at]),
        }
        return at[0], found

    def _names(self, positions: Array) -> pa.Array:
        names = self.plan.column.names
        return pa.array([names[place] if place < len(names) else None for place in positions.tolist()], pa.string())

    def _quantiles(self, moments: Moments, at: tuple[Array, Array], wanted: bool) -> dict[str, pa.Array]:
        lines = {name: np.full(len(at[0]), np.nan) for name in QUANTILES}
        if self.sketch and wanted:
            known = at[0] < self.plan.sketched
            here = at[0][known], at[1][known]
            for name, found in zip(QUANTILES, self.sketch.quantiles(list(QUANTILES.values())), strict=True):
                lines[name][known] = np.clip(found[here], moments.least[here], moments.largest[here])
        return {name: _numbers(values) for name, values in lines.items()}


def distances(plans: tuple[MapPlan, ...], rows: SlicedRows, maps: tuple[RowMaps, ...]) -> Doubles:
    """1 − the cosine between a row's maps, one after another, and the mean maps of its class, [rows]; NaN where one of
    them is zero."""
    classes, grouping = class_of_rows(rows.columns), rows.grouping
    codes = grouping.sorted(classes.codes)
    product, own, mean_size = np.zeros((3, len(codes)))
    for plan, one in zip(plans, maps, strict=True):
        found = compared(plan.column, one.values, None if plan.column.open else plan.comparing)
        columns = one.columns if found is one.values else grouping.columns(found)
        means = np.zeros((max(len(columns), plan.means.shape[1]), len(classes.values)))
        for code, name in enumerate(classes.values):
            place = plan.classes.get(name, plan.classes.get(OTHER))
            if place is not None:
                means[: plan.means.shape[1], code] = plan.means[place]
        mean_size += np.square(means).sum(axis=0)[codes]
        for some in blocks(columns) if columns.size else ():
            exact = columns[some].astype(np.float64)
            own += np.einsum("cr,cr->r", exact, exact)
            product += np.einsum("cr,cr->r", exact, means[some].take(codes, axis=1))
    size = np.sqrt(own * mean_size)
    cosine = np.divide(product, size, out=np.full(len(size), np.nan), where=size > 0)
    return grouping.restored(1 - np.clip(cosine, -1, 1))


def _numbers(values: Doubles) -> pa.Array:
    """With null in place of NaN."""
    return pa.array(values, from_pandas=True)
