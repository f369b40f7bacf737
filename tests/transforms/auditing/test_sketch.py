"""Counting of several kinds of slices together, against counting each row in each of its slices."""

import numpy as np
import pytest

from transforms.auditing.grouping import Grouping
from transforms.auditing.sketch import Buckets, Sketch

ROWS, COLUMNS = 4000, 5


@pytest.mark.parametrize(
    "bits", [1, 6]
)  # few buckets, so that kinds are counted together, and many, so that they are not
@pytest.mark.parametrize("masked", [False, True])
def test_counts_are_those_of_every_row_in_every_slice(bits: int, masked: bool) -> None:
    draw = np.random.default_rng(0)
    values = draw.standard_normal((ROWS, COLUMNS)).astype(np.float32) * np.logspace(-6, 6, COLUMNS, dtype=np.float32)
    valid = draw.random((ROWS, COLUMNS)) < 0.7
    codes = [np.zeros(ROWS, np.int64), draw.integers(1, 4, ROWS), np.where(draw.random(ROWS) < 0.5, 4, -1)]
    buckets = Buckets.below(np.abs(values).max(axis=0), bits, octaves=2)
    grouping, sketch = Grouping.of(codes), Sketch(buckets, slices=5)

    together = [len(kinds) for _, kinds in grouping.joined(ROWS // (2 * buckets.count))]
    assert (max(together) > 1) == (bits == 1)
    for half in (slice(0, ROWS // 2), slice(ROWS // 2, ROWS)):
        part = Grouping.of([of_kind[half] for of_kind in codes])
        sketch.add(part.columns(values[half]), part.columns(valid[half]) if masked else None, part)

    expected = np.zeros_like(sketch.counts)
    places = buckets.positions(np.ascontiguousarray(values.T), slice(None))
    for of_kind in codes:
        for column in range(COLUMNS):
            rows = (of_kind >= 0) & (valid[:, column] | (not masked))
            np.add.at(expected, (of_kind[rows], column, places[column, rows]), 1)
    np.testing.assert_array_equal(sketch.counts, expected)
