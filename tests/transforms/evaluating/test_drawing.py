"""Drawing rows and grouping them: the same rows for any shards, each in one group of its shard."""

from __future__ import annotations

import hashlib

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from transforms.evaluate import GROUP_ROWS, groups
from transforms.evaluating.drawing import Drawn, key_of, smallest
from transforms.records.source import RowRange
from transforms.runs.shard import Shard


def rows(names: list[str], borders: list[int], seed: int) -> list[list[Drawn]]:
    """The rows of a dataset by shard, cut at these places."""
    found = []
    for number, (first, stop) in enumerate(zip([0, *borders], [*borders, len(names)], strict=True)):
        shard = Shard(number, "f", "f", "parquet", "none", RowRange(first, stop), "d")
        found.append(
            [Drawn(key_of(seed, names[row]), names[row], number, row, row - first, shard) for row in range(first, stop)]
        )
    return found


NAMES = st.lists(st.text(max_size=3), min_size=1, max_size=40)


@given(NAMES, st.data(), st.integers(1, 50), st.integers(0, 9))
def test_the_same_rows_for_any_shards_even_where_ids_are_not_unique(
    names: list[str], data: st.DataObject, count: int, seed: int
) -> None:
    borders = sorted(data.draw(st.lists(st.integers(0, len(names)), max_size=5)))
    of_shards = [row for shard in rows(names, borders, seed) for row in smallest(shard, count)]
    drawn = smallest(of_shards, count)
    whole = smallest(rows(names, [], seed)[0], count)
    assert [row.source_row for row in drawn] == [row.source_row for row in whole]
    wanted = sorted(
        range(len(names)), key=lambda row: (hashlib.sha256(f"{seed}/{names[row]}".encode()).hexdigest(), row)
    )
    assert [row.source_row for row in drawn] == wanted[:count]
    grouped = list(groups(drawn))
    assert sorted(row for group in grouped for row in group) == drawn
    for group in grouped:
        assert 1 <= len(group) <= GROUP_ROWS and len({row.shard_number for row in group}) == 1
        assert [row.position for row in group] == sorted(row.position for row in group)


def test_every_row_is_drawn_about_as_often() -> None:
    names = [f"r{row}" for row in range(40)]
    drawn = [row.source_row for seed in range(400) for row in smallest(rows(names, [], seed)[0], 10)]
    counts = np.bincount(drawn, minlength=40)
    # 400 draws of a quarter: mean 100, deviation √(400 · ¼ · ¾) = 8.7; five of them
    assert np.abs(counts - 100).max() < 5 * 8.7
