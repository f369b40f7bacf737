"""Poisoned rows are cut out of what is read, wherever they stand, and each is refused by its place."""

from hypothesis import given
from hypothesis import strategies as st

from transforms.errors import Fault
from transforms.isolation.poison import Poison, healthy, refusals
from transforms.records.source import RowRange
from transforms.runs.shard import Shard

FAULT = Fault("E_POISON_CRASH", "it died")
ROWS = RowRange(5, 17, offset=99, offset_row=3)


@given(st.lists(st.tuples(st.integers(0, 25), st.integers(1, 6))))
def test_what_is_left_is_every_other_row_in_order(places: list[tuple[int, int]]) -> None:
    poison = [Poison(start, start + size, FAULT) for start, size in places]
    ranges = list(healthy(ROWS, poison))
    left = [row for one in ranges for row in range(one.start, one.stop)]
    poisoned = {row for one in poison for row in range(one.start, one.stop)}
    assert left == [row for row in range(5, 17) if row not in poisoned]
    assert all(one.start < one.stop and (one.offset, one.offset_row) == (99, 3) for one in ranges)


def test_a_refusal_names_file_row_and_reason() -> None:
    shard = Shard(0, "/data/a.parquet", "a.parquet", "parquet", "none", ROWS, "digest")
    found = refusals(shard, [Poison(7, 9, FAULT)])
    assert [(one.row_id, one.source_row) for one in found] == [("a.parquet#7", 7), ("a.parquet#8", 8)]
    assert found[1].fault == Fault("E_POISON_CRASH", "a.parquet row 8: it died")
