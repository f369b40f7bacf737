"""Rows of different lengths against lists of them, and the lengths that they are filled up to."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from transforms.records.ragged import SHORTEST, Ragged, padded_length, padded_lengths

LISTS = st.lists(st.lists(st.integers(-9, 9), max_size=5), min_size=1, max_size=6)


def ragged(rows: list[list[int]]) -> Ragged:
    flat = np.array([[value, -value] for row in rows for value in row], np.float32).reshape(-1, 2)
    return Ragged(flat, np.array([len(row) for row in rows], np.int64))


def lists(rows: Ragged) -> list[list[int]]:
    assert (rows.values[:, 0] == -rows.values[:, 1]).all()
    return [part[:, 0].tolist() for part in np.split(rows.values, np.cumsum(rows.lengths)[:-1])]


@given(LISTS, st.data())
def test_rows_are_taken_as_from_a_list(rows: list[list[int]], data: st.DataObject) -> None:
    positions = data.draw(st.lists(st.integers(0, len(rows) - 1), min_size=1))
    mask = np.array(data.draw(st.lists(st.booleans(), min_size=len(rows), max_size=len(rows))))
    assert lists(ragged(rows)[np.array(positions)]) == [rows[position] for position in positions]
    kept = ragged(rows)[mask]
    assert len(kept) == mask.sum()
    assert not mask.any() or lists(kept) == [row for row, keep in zip(rows, mask, strict=True) if keep]


@given(LISTS)
def test_rows_are_filled_up_at_the_end(rows: list[list[int]]) -> None:
    filled = ragged(rows).padded(6, 0.5)
    assert filled.shape == (len(rows), 6, 2)
    assert filled.dtype == np.float32
    assert filled[..., 0].tolist() == [row + [0.5] * (6 - len(row)) for row in rows]


@pytest.mark.parametrize("most", [1, 7, 16, 17, 100, 4096, 5000])
def test_lengths_are_few_and_near(most: int) -> None:
    ladder = padded_lengths(most)
    assert ladder[-1] == most
    assert (np.diff(ladder) > 0).all()
    # two for every doubling from 16 on, and the longest
    assert len(ladder) <= max(0, 2 * np.log2(most / SHORTEST)) + 2
    lengths = np.arange(1, most + 1)
    chosen = padded_length(lengths, most)
    assert (chosen >= lengths).all()
    assert (chosen == [min(one for one in ladder if one >= length) for length in lengths]).all()
    assert ((chosen - lengths) / chosen < 1 / 3)[lengths > SHORTEST].all()
