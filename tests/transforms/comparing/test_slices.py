"""Slices of rows, folded where they are too many, and histograms: the same however the rows are shared out."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from transforms.comparing.features import features_of
from transforms.comparing.histogram import BINS, Histogram
from transforms.comparing.slices import fold, members, ordered, slice_columns
from transforms.records.maps import MapColumn

ROWS = pa.table(
    {
        "label": pa.array([3, 1, 3, None], pa.int64()),
        "split": pa.array(["a", "b", "a", "a"]).dictionary_encode(),
        "good": [True, False, None, True],
        "weight": [0.5, 1, 2, 3],
    }
)


def test_which_columns_make_slices_and_who_is_in_them() -> None:
    columns = slice_columns(ROWS.schema, ROWS.column_names)
    assert columns == {"label": "label", "keep:split": "split", "keep:good": "good"}
    found = {name: rows.tolist() for name, rows in members(pa.concat_tables([ROWS, ROWS]), columns)}
    assert found == {
        ("all", ""): list(range(8)),
        ("label", "1"): [1, 5],
        ("label", "3"): [0, 2, 4, 6],
        ("label", "null"): [3, 7],
        ("keep:split", "a"): [0, 2, 3, 4, 6, 7],
        ("keep:split", "b"): [1, 5],
        ("keep:good", "true"): [0, 3, 4, 7],
        ("keep:good", "false"): [1, 5],
        ("keep:good", "null"): [2, 6],
    }
    assert {name for name, _ in members(ROWS.slice(0, 0), columns)} == {("all", "")}


@pytest.mark.parametrize("seed", range(5))
def test_folding_does_not_depend_on_the_order(seed: int) -> None:
    random = np.random.default_rng(seed)
    values = random.integers(-5, 20, 300)
    single = [(("label", str(value)), 1) for value in values.tolist()]
    whole = fold(single, most=6)
    kept = sorted(set(values.tolist()))[:6]
    assert whole == {("label", str(value)): int((values == value).sum()) for value in kept} | {
        ("label", "(other)"): int((~np.isin(values, kept)).sum())
    }
    merged: dict = {}
    for piece in np.array_split(random.permutation(300), 9):
        part = fold([single[at] for at in piece], most=6)
        merged = fold([*merged.items(), *part.items()], most=6)
    assert merged == whole


def test_the_order_in_which_slices_are_written() -> None:
    names = [("keep:x", "b"), ("label", "10"), ("label", "(other)"), ("label", "9"), ("all", ""), ("label", "null")]
    assert ordered(names) == [
        ("all", ""),
        ("label", "9"),
        ("label", "10"),
        ("label", "null"),
        ("label", "(other)"),
        ("keep:x", "b"),
    ]


def test_quantiles_are_within_a_bin_and_merge_exactly() -> None:
    values = np.random.default_rng(1).beta(2, 5, 999)
    pieces = [Histogram.of(piece, 0, 1) for piece in np.array_split(np.append(values, np.nan), 7)]
    merged, whole = sum(pieces[1:], pieces[0]), Histogram.of(values, 0, 1)
    assert merged.rows == 999 and (merged.counts == whole.counts).all()
    assert merged.mean == pytest.approx(values.mean(), rel=1e-12)
    for share in (0.0, 0.05, 0.5, 0.95, 1.0):
        exact = np.quantile(values, share, method="inverted_cdf")
        assert merged.quantile(share) == pytest.approx(exact, abs=1 / BINS)
    same = Histogram.of(np.ones(4), -1, 1)
    assert (same.quantile(0.05), same.quantile(0.95)) == (1, 1)
    assert Histogram.of(np.zeros(0), 0, 1).quantile(0.5) is None


def test_features_of_groups_tables_and_sequences_keep_their_names() -> None:
    table, sequence = MapColumn("t", (3,), ("a", "b", "2"), False), MapColumn("s", (None, 4), None, False)
    found = features_of([table, sequence])
    assert [(one.input, one.position, one.name) for one in found.all] == [
        ("t", 0, "a"),
        ("t", 1, "b"),
        ("t", 2, "2"),
        ("s", 0, "all steps"),
    ]
    assert found.of(0, np.array([2, 0])).tolist() == [2, 0]
    assert found.of(1, np.array([17, 3])).tolist() == [3, 3]
    assert (found.grids, found.pooled) == ({}, ())


@pytest.mark.parametrize(
    ("shape", "most", "grid"), [((5, 7, 3), 35, (5, 7)), ((5, 7, 3), 12, (3, 4)), ((6, 4), 1, (1, 1))]
)
def test_pixels_are_features_or_blocks_of_them(shape: tuple[int, ...], most: int, grid: tuple[int, int]) -> None:
    found = features_of([MapColumn("x", shape, None, False)], most)
    assert found.grids == {"x": grid} and len(found.all) == grid[0] * grid[1] <= most
    side = -(-shape[0] // grid[0])
    rows, columns = np.indices(shape)[:2]
    wanted = rows // side * grid[1] + columns // side
    assert found.of(0, np.arange(wanted.size)).tolist() == wanted.ravel().tolist()
    for number, feature in enumerate(found.all):
        assert feature.position == np.flatnonzero(wanted.ravel() == number)[0]


def test_a_long_table_is_taken_in_runs() -> None:
    found = features_of([MapColumn("x", (10,), None, False)], 4)
    assert [one.name for one in found.all] == ["positions 0-2", "positions 3-5", "positions 6-8", "positions 9-9"]
    assert found.of(0, np.arange(10)).tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2, 3] and found.pooled == ("x",)
