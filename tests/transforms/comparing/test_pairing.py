"""Joining rows by id and target, beside a dictionary; and which parts are read for which rows."""

from __future__ import annotations

import itertools
from collections import Counter

import numpy as np
import pyarrow as pa
import pytest

from transforms.comparing.pairing import pair
from transforms.comparing.units import Piece, units


def table(ids: list[str], targets: list[int | None]) -> pa.Table:
    return pa.table({"row_id": pa.array(ids, pa.string()), "target": pa.array(targets, pa.int64())})


def random_table(seed: int, rows: int = 60) -> pa.Table:
    random = np.random.default_rng(seed)
    targets = [None if one == 3 else int(one) for one in random.integers(0, 4, rows)]
    return table([f"row/{one} é" for one in random.integers(0, 25, rows)], targets)


def keyed(rows: pa.Table) -> list[tuple[str, int | None, int]]:
    """Each row with the number of earlier ones of the same id and target."""
    seen, found = Counter(), []
    for row in rows.to_pylist():
        key = row["row_id"], row["target"]
        found.append((*key, seen[key]))
        seen[key] += 1
    return found


@pytest.mark.parametrize("seed", range(8))
def test_pairs_and_what_is_left_over(seed: int) -> None:
    a, b = random_table(seed), random_table(seed + 100, 45)
    found, of_a, of_b = pair(a, b), keyed(a), keyed(b)
    wanted = [(at, of_b.index(key)) for at, key in enumerate(of_a) if key in of_b]
    assert list(zip(found.a.tolist(), found.b.tolist(), strict=True)) == wanted
    names_a, names_b = set(a["row_id"].to_pylist()), set(b["row_id"].to_pylist())
    alone = [key[0] for key in of_a if key not in of_b]
    assert found.only_a == sum(name not in names_b for name in alone)
    assert found.other_target == sum(name in names_b for name in alone)
    assert found.only_b == sum(key[0] not in names_a for key in of_b)
    assert found.only_a + found.other_target + len(found.a) == a.num_rows


def test_no_rows_at_all() -> None:
    nothing, one = table([], []), table(["a"], [None])
    assert len(pair(nothing, nothing).a) == 0
    assert (pair(one, nothing).only_a, pair(nothing, one).only_b) == (1, 1)


def pieces(file: str, cuts: list[int], run: str) -> list[Piece]:
    return [Piece(f"{run}/{file}/{i}-{j}", (file, "digest"), i, j) for i, j in itertools.pairwise(cuts)]


def test_every_row_of_a_shared_file_is_in_one_unit_with_all_parts_that_hold_it() -> None:
    a = pieces("x", [0, 30, 100], "a") + pieces("y", [0, 10], "a")
    b = pieces("y", [0, 4, 10], "b") + pieces("x", [0, 50, 60, 100], "b")
    found = units(a, b, row_bytes=1, unit_bytes=20)
    assert [unit.number for unit in found] == list(range(len(found)))
    for file, last in (("x", 100), ("y", 10)):
        here = [unit for unit in found if unit.a[0].split("/")[1] == file]
        assert [row for unit in here for row in range(*unit.rows)] == list(range(last))
        for unit in here:
            start, stop = unit.rows
            assert stop - start <= 20
            for side, listed in ((unit.a, a), (unit.b, b)):
                holding = [p.part for p in listed if p.file[0] == file and p.start < stop and p.stop > start]
                assert list(side) == holding


def test_other_files_go_into_buckets_that_fit() -> None:
    a, b = pieces("x", [0, 100], "a") + pieces("y", [0, 90], "a"), pieces("y", [0, 90], "b") + pieces("z", [0, 40], "b")
    found = units(a, b, row_bytes=1, unit_bytes=30)
    buckets = [unit for unit in found if unit.rows is None]
    assert [(unit.bucket, unit.buckets) for unit in buckets] == [(n, 4) for n in range(4)]  # 100 rows of 1 in 30
    assert {(unit.a, unit.b) for unit in buckets} == {(("a/x/0-100",), ("b/z/0-40",))}
    assert len(found) == 4 + 3
