"""What a survey decides: which slices there are, and how finely each map is looked at in the memory there is."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import numpy as np

from transforms.auditing.measures import LOGARITHMIC, OCTAVES, SKETCHED, MeasurePlan
from transforms.auditing.moments import Doubles
from transforms.auditing.notable_rows import KINDS, MOST
from transforms.auditing.part_columns import LABEL, MapColumn, PartColumns
from transforms.auditing.pooling import Pool, comparing_pool
from transforms.auditing.row_hashes import Hashes
from transforms.auditing.sketch import Buckets
from transforms.auditing.slicing import ALL, CORRECT, LABEL_CORRECT, OTHER, Slice
from transforms.auditing.survey import Limits, MapSurvey, Survey
from transforms.auditing.tokens import MOST as MOST_TOKENS

# int64 and float64 sums of a slice and position, and of a slice and token.
MOMENT_BYTES, TOKEN_BYTES = 72, 64
MAP_OCTAVES = 16
# Two to the power of these buckets to an octave, the finest that there is room for.
BITS = (6, 5, 4)
NOTABLE = (ALL, LABEL, CORRECT, LABEL_CORRECT)
# Repeated rows that are counted again, by name.
MOST_REPEATED = 10_000


@dataclasses.dataclass(frozen=True)
class MapPlan:
    """How the maps of one input are looked at.

    Attributes:
        size: positions of a map.
        shift: near the mean of each position.
        buckets: of its quantiles; None: there is no room for them.
        sketched: slices that have quantiles: all of them, or the first, `all`.
        pool: the grid that slices other than `all` are summed over; None: they have every position.
        words: the kept column of its tokens, and the tokens that are told apart.
        classes: which class has which mean.
        means: [classes, values compared], and the pool that makes them.
    """

    column: MapColumn
    size: int
    shift: Doubles
    buckets: Buckets | None
    sketched: int
    pool: Pool | None
    words: tuple[str, tuple[str, ...]] | None
    classes: dict[str, int]
    means: Doubles
    comparing: Pool | None

    @property
    def strongest(self) -> int:
        """How many positions of a row count as its strongest: a tenth of them, at most five."""
        return min(5, -(-self.size // 10))


@dataclasses.dataclass(frozen=True)
class AuditPlan:
    """How the rows of a run are looked at, the same for all its parts.

    Attributes:
        slices: all of them; the first is `all`.
        maps: of each input.
        measures: how deltas and the like are counted.
        repeated: hashes of the rows that may occur more than once, rising.
        notable: rows of a slice and kind that are kept; less than five where rows are large and slices many.
        notable_slices: in which those are, a flag for each slice.
        limits: what was bounded, in words.
    """

    columns: PartColumns
    classes: tuple[str, ...]
    slices: tuple[Slice, ...]
    maps: tuple[MapPlan, ...]
    measures: MeasurePlan
    repeated: Hashes
    notable: int
    chunk_values: int
    limits: tuple[str, ...]
    duplicates: dict[str, Any]

    @functools.cached_property
    def index(self) -> dict[Slice, int]:
        """Which each slice is."""
        return {one: number for number, one in enumerate(self.slices)}

    @functools.cached_property
    def other(self) -> dict[str, int]:
        """By kind, the slice of the values that have none of their own."""
        return {kind: number for number, (kind, value) in enumerate(self.slices) if value == OTHER}


def plan_audit(survey: Survey) -> AuditPlan:
    """Decide, from the survey of all parts of a run."""
    slices, said = survey.slices.slices(), list[str]()
    for kind in survey.slices.left_out:
        said.append(
            f"{kind} has more than {survey.limits.values} values; those after the first are in the slice {OTHER}"
        )
    maps = tuple(_map_plan(found, len(slices), survey, said) for found in survey.maps.values())
    _say_columns(survey.columns, any(kind == CORRECT for kind, _ in slices), said)
    room = _finest(len(slices) * len(SKETCHED), OCTAVES, survey.limits.sketch_bytes, (5, 4, 3, 2, 1))
    measures = MeasurePlan.of(survey.ranges, room or 1)
    said.append(
        f"quantiles of {', '.join(SKETCHED)} are off by at most {measures.buckets.relative_error:.2%} of themselves;"
        f" the bins of {' and '.join(LOGARITHMIC)} are two to an octave"
    )
    repeated, sampled = survey.hashes.repeated, survey.hashes.sampled
    if sampled < 1:
        said.append(f"rows that occur twice were looked for among {sampled:.4g} of them, drawn by their ids")
    return AuditPlan(
        survey.columns,
        survey.classes,
        slices,
        maps,
        measures,
        repeated[:MOST_REPEATED],
        _notable(survey, slices, said),
        survey.limits.chunk_values,
        tuple(said),
        {"repeated": round(len(repeated) / sampled), "sampled": sampled},
    )


def _map_plan(found: MapSurvey, slices: int, survey: Survey, said: list[str]) -> MapPlan:
    column, name, limits, size = found.column, found.column.input, survey.limits, found.positions
    _say_map(found, said)
    pool = Pool.of(column, size) if slices * size * MOMENT_BYTES > limits.moment_bytes else None
    if pool is not None:
        said.append(f"{name}: maps of slices are sums over a grid of {list(pool.shape)}; that of `all` is whole")
    sketched, buckets = _buckets(found, 1 if pool else slices, slices, limits, said)
    classes, means = found.classes.means()
    shift = _shift(found, means)
    words = _words(found, slices, survey, said)
    return MapPlan(column, size, shift, buckets, sketched, pool, words, classes, means, comparing_pool(column))


def _buckets(found: MapSurvey, wanted: int, slices: int, limits: Limits, said: list[str]) -> tuple[int, Buckets | None]:
    """How many slices have quantiles, and in which buckets they are counted."""
    name, size = found.column.input, found.positions
    sketched, bits = wanted, _finest(wanted * size, MAP_OCTAVES, limits.sketch_bytes, BITS)
    if bits is None:
        sketched, bits = 1, _finest(size, MAP_OCTAVES, limits.sketch_bytes, BITS)
    if bits is None:
        bits = _finest(size, MAP_OCTAVES, limits.all_bytes, BITS[-1:])
    if bits is None:
        said.append(f"{name}: there are no quantiles, for maps are large")
        return 1, None
    if sketched < slices:
        said.append(f"{name}: there are quantiles of the slice `all` only")
    buckets = Buckets.below(found.largest, bits, MAP_OCTAVES)
    said.append(
        f"{name}: quantiles are off by at most {buckets.relative_error:.2%} of themselves, or by"
        f" 2^-{MAP_OCTAVES - 1} of the position's largest magnitude"
    )
    return sketched, buckets


def _finest(pairs: int, octaves: int, most_bytes: int, bits: tuple[int, ...]) -> int | None:
    """The most bits for which the counts of so many slices and positions fit; None where they do not."""
    return next((one for one in bits if pairs * (2 * (octaves << one) + 1) * 8 <= most_bytes), None)


def _shift(found: MapSurvey, means: Doubles) -> Doubles:
    """The mean of all rows where positions are those that rows are compared by, else 0."""
    if means.shape[1] != found.positions or not found.rows:
        return np.zeros(found.positions)
    rows = np.array([found.classes.rows[name] for name in found.classes.sums], np.float64)
    return np.asarray(rows @ means / rows.sum())


def _words(found: MapSurvey, slices: int, survey: Survey, said: list[str]) -> tuple[str, tuple[str, ...]] | None:
    for (name, words), counts in survey.words.items():
        if name == found.column.input and counts.aligned and counts.counts:
            most = max(1, min(MOST_TOKENS, survey.limits.token_bytes // (TOKEN_BYTES * slices)))
            if len(counts.counts) > most:
                said.append(
                    f"{name}: the {most} most frequent tokens of {words} are told apart, the others are {OTHER}"
                )
            if counts.lost:
                said.append(f"{name}: a token that occurs at most {counts.lost} times may be missing among them")
            return words, counts.most_frequent(most)
    return None


def _notable(survey: Survey, slices: tuple[Slice, ...], said: list[str]) -> int:
    listed = sum(kind in NOTABLE for kind, _ in slices) * len(KINDS)
    most = min(MOST, max(1, survey.limits.row_bytes // max(1, survey.row_bytes * listed)))
    if most < MOST:
        said.append(f"rows.parquet has {most} rows of a kind and slice, for there are many slices and rows are large")
    return most


def _say_map(found: MapSurvey, said: list[str]) -> None:
    name = found.column.input
    if found.column.sparse:
        said.append(f"{name}: only the strongest values of each row were kept; the others count as 0")
    if found.longest > found.positions:
        said.append(f"{name}: positions from {found.positions} on are left out")


def _say_columns(columns: PartColumns, compared: bool, said: list[str]) -> None:
    if columns.ranked:
        said.append("an example has several targets; each of its rows counts as one")
    if not compared:
        said.append("no row has a prediction to compare to its label: there are no slices of right and wrong")
    for name in columns.unsliced:
        said.append(f"{name} makes no slices: its values are not words, whole numbers or true and false")
