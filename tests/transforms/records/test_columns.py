"""How attributions become columns: against loops over every value, and what is refused."""

from __future__ import annotations

import itertools
import json
import math
import re
from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from transforms.errors import UsageError
from transforms.records.columns import AttributionColumns, Stored, attribution_columns
from transforms.records.config import OutputConfig
from transforms.records.values import row_values, strongest

ROUNDED = 2.0**-24  # of float32, relative


def columns_of(shapes: Mapping[str, tuple[int | None, ...]], **output: Any) -> tuple[AttributionColumns, ...]:
    return attribution_columns(OutputConfig.model_validate({"path": "out", **output}), shapes)


def stored(values: np.ndarray, **output: Any) -> Stored:
    """Attributions of one input, called x."""
    (columns,) = columns_of({"x": values.shape[1:]}, **output)
    found = columns.store(values)
    assert [field.name for field in columns.fields()] == list(found.columns)
    for field in columns.fields():
        assert found.columns[field.name].type == field.type
    return found


def rows_of(column: pa.Array) -> list[list[float]]:
    """The values of each row."""
    values, rows = row_values(column)
    return [values[rows == row].tolist() for row in range(len(column))]


def random(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


@pytest.mark.parametrize("axes", [(), (0,), (-1,), ("channels",), (0, "channels"), (1, -3), (0, 1, 2), (2, "channels")])
def test_axes_are_summed_value_by_value_and_never_averaged(axes: tuple[Any, ...]) -> None:
    values = random(3, 2, 3, 4)
    dropped = {2 if axis == "channels" else axis % 3 for axis in axes}
    sums: dict[tuple[int, ...], float] = {}
    for place in np.ndindex(*values.shape):
        left = (place[0], *(at for axis, at in enumerate(place[1:]) if axis not in dropped))
        sums[left] = sums.get(left, 0.0) + float(values[place])
    found = stored(values, reduce={"x": list(axes)}).columns["attribution_x"]
    assert found.type.shape == ([size for axis, size in enumerate((2, 3, 4)) if axis not in dropped] or [1])
    wanted = np.array(list(sums.values()))
    np.testing.assert_allclose(np.ravel(rows_of(found)), wanted, rtol=ROUNDED * 1.01, atol=0)


@st.composite
def partitions(draw: Any) -> tuple[int, dict[str, list[int]]]:
    """A number of values, and some of them in groups, in any order."""
    order = draw(st.permutations(range(draw(st.integers(1, 12)))))
    used = draw(st.integers(1, len(order)))
    cuts = sorted(draw(st.sets(st.integers(1, used), max_size=3)) | {0, used})
    members = [list(order[start:stop]) for start, stop in itertools.pairwise(cuts)]
    return len(order), {f"g{number}": some for number, some in enumerate(members) if some}


@given(partitions())
def test_groups_are_the_sums_of_their_members_and_the_rest_stays(
    given_groups: tuple[int, dict[str, list[int]]],
) -> None:
    size, groups = given_groups
    values = random(4, size, seed=size)
    (columns,) = columns_of({"x": (size,)}, groups=groups)
    (field,) = columns.fields()
    names = json.loads(field.metadata[b"attribeam.groups"])
    grouped = set(itertools.chain.from_iterable(groups.values()))
    members = groups | {str(position): [position] for position in range(size) if position not in grouped}
    assert sorted(names) == sorted(members)
    assert [min(members[name]) for name in names] == sorted(min(some) for some in members.values())
    found = columns.store(values).columns["attribution_x"]
    for row, written in enumerate(rows_of(found)):
        for name, value in zip(names, written, strict=True):
            exact = math.fsum(float(values[row, position]) for position in members[name])
            # one rounding to float32, of a float64 sum
            assert value == pytest.approx(exact, rel=ROUNDED * 1.01, abs=1e-14)
    np.testing.assert_allclose([sum(row) for row in rows_of(found)], values.sum(axis=1, dtype=float), atol=size * 1e-6)


def test_positions_of_groups_count_what_reduce_leaves_in_row_major_order() -> None:
    values = random(2, 2, 3, 4)
    found = stored(values, reduce={"x": ["channels"]}, groups={"x": {"edge": [0, 5]}})
    pixels = values.sum(axis=-1, dtype=float).reshape(2, 6)
    wanted = np.stack([pixels[:, 0] + pixels[:, 5], *pixels[:, 1:5].T], axis=1)
    np.testing.assert_allclose(rows_of(found.columns["attribution_x"]), wanted, atol=1e-6)


def test_the_order_in_which_groups_are_written_down_does_not_matter() -> None:
    one, other = {"b": [3, 1], "a": [0, 2]}, {"a": [2, 0], "b": [1, 3]}
    assert columns_of({"x": (4,)}, groups=one) == columns_of({"x": (4,)}, groups=other)


few = st.sampled_from([0.0, -0.0, 1.0, -1.0, 2.5, -2.5, 7.0])


@given(st.lists(st.lists(few, min_size=6, max_size=6), min_size=1, max_size=4), st.integers(1, 6))
def test_the_strongest_values_are_those_of_a_sort_with_ties_in_order(rows: list[list[float]], count: int) -> None:
    wanted = [sorted(range(6), key=lambda place: (-abs(row[place]), place))[:count] for row in rows]
    assert strongest(np.array(rows, np.float32), count).tolist() == wanted


def test_what_is_no_number_is_never_among_the_strongest_while_there_are_others() -> None:
    nan, inf = np.nan, np.inf
    values = np.array([[nan, 1, 2, nan], [nan, nan, nan, 0], [inf, 1, -inf, nan]], np.float32)
    assert strongest(values, 2).tolist() == [[2, 1], [3, 0], [0, 2]]


@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize("top", [1, 3, 8, 99])
def test_the_strongest_with_their_share_and_the_sum_of_the_rest(top: int, dtype: str) -> None:
    values = random(5, 2, 4)
    values[4] = 0
    found = stored(values, top=top, dtype=dtype).columns
    flat, kept = values.reshape(5, 8).astype(float), min(top, 8)
    for row in range(5):
        index = found["index_x"][row].as_py()
        assert index == sorted(range(8), key=lambda place: (-abs(flat[row, place]), place))[:kept]
        written = found["attribution_x"][row].as_py()
        np.testing.assert_array_equal(written, flat[row, index].astype(dtype))
        size = np.abs(flat[row]).sum()
        share = np.abs(flat[row, index]).sum() / size if size else 1
        assert found["share_x"][row].as_py() == pytest.approx(share, rel=1e-6)
        assert rows_of(found["attribution_x_rest"])[row] == pytest.approx(
            [flat[row].sum() - flat[row, index].sum()], abs=1e-6
        )


def test_the_strongest_of_groups() -> None:
    values = np.array([[1, 1, 1, -2.5, 0.5]], np.float32)
    found = stored(values, groups={"three": [0, 1, 2]}, top=2).columns
    assert found["attribution_x"].to_pylist() == [[3.0, -2.5]]
    assert found["index_x"].to_pylist() == [[0, 1]]
    assert rows_of(found["attribution_x_rest"]) == [[0.5]]


LENGTHS = np.array([2, 5, 1, 4])


def ragged(**output: Any) -> tuple[list[np.ndarray], AttributionColumns, Stored]:
    """Rows of [length, 3], without their padding, and how they are stored."""
    block = random(4, 6, 3) * (np.arange(6) < LENGTHS[:, None])[..., None]
    (columns,) = columns_of({"x": (None, 3)}, **output)
    found = columns.store(block.astype(np.float32), LENGTHS)
    for field in columns.fields():
        assert found.columns[field.name].type == field.type
    return [row[:length] for row, length in zip(block, LENGTHS, strict=True)], columns, found


@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize(("axes", "shape"), [((), [None, 3]), (("channels",), [None]), ((0,), None)])
def test_rows_of_varying_length_are_written_at_their_own(axes: tuple[Any, ...], shape: Any, dtype: str) -> None:
    rows, columns, found = ragged(reduce={"x": list(axes)}, dtype=dtype)
    (field,) = columns.fields()
    assert json.loads((field.metadata or {}).get(b"attribeam.shape", b"null")) == shape
    dropped = tuple(1 if axis == "channels" else axis for axis in axes)
    for row, written in zip(rows, rows_of(found.columns["attribution_x"]), strict=True):
        wanted = row.sum(axis=dropped, dtype=np.float64) if dropped else row
        # both round the same float64 sum to float32; a half is within 2^-11 of it
        np.testing.assert_allclose(written, wanted.ravel(), rtol=ROUNDED * 1.01 if dtype == "float32" else 2**-11)
    assert found.finite.all() and found.lost.any() == (dtype == "float16")


@pytest.mark.parametrize("top", [1, 4, 99])
def test_the_strongest_of_rows_of_varying_length(top: int) -> None:
    rows, _, found = ragged(top=top)
    kept, rest = rows_of(found.columns["attribution_x"]), rows_of(found.columns["attribution_x_rest"])
    for at, row in enumerate(rows):
        flat = row.ravel()
        index = found.columns["index_x"][at].as_py()
        assert index == sorted(range(len(flat)), key=lambda place: -abs(flat[place]))[:top]
        np.testing.assert_array_equal(kept[at], flat[index])
        # float64 sums of up to 15 values, of which the rest is rounded to float32
        assert sum(kept[at]) + rest[at][0] == pytest.approx(flat.sum(dtype=float), abs=1e-6)


def test_padding_is_never_among_the_strongest_not_even_before_what_is_no_number() -> None:
    (columns,) = columns_of({"x": (None,)}, top=3)
    values = np.array([[np.nan, 0, 0, 0], [1, 2, 3, 4]], np.float32)
    found = columns.store(values, np.array([2, 4]))
    assert found.columns["index_x"].to_pylist() == [[1, 0], [3, 2, 1]]
    assert found.finite.tolist() == [False, True]


def test_bytes_of_a_row_of_varying_length_are_those_of_a_usual_one() -> None:
    for output, values in (({}, 7 * 3 * 4), ({"reduce": {"x": [1]}}, 7 * 4), ({"reduce": {"x": [0]}}, 3 * 4)):
        config = OutputConfig.model_validate({"path": "out", **output})
        (columns,) = attribution_columns(config, {"x": (None, 3)}, {"x": 7})
        assert columns.row_bytes == values


def test_groups_of_rows_of_varying_length_need_their_steps_summed() -> None:
    _, _, found = ragged(reduce={"x": [0]}, groups={"ends": [0, 2]})
    assert found.columns["attribution_x"].type.shape == [2]


def test_rounding_is_measured_against_float32() -> None:
    values = random(6, 7)
    found = stored(values, dtype="float16")
    half = values.astype(np.float16).astype(float)
    np.testing.assert_allclose(found.lost, np.abs(half - values).sum(axis=1), rtol=1e-12)
    np.testing.assert_allclose(found.size, np.abs(values.astype(float)).sum(axis=1), rtol=1e-12)
    assert (found.lost > 0).all() and (found.lost <= 2**-11 * found.size).all()
    assert not stored(values).lost.any()


@pytest.mark.parametrize("top", [None, 1])
@pytest.mark.parametrize(("bad", "dtype"), [(np.nan, "float32"), (np.inf, "float32"), (7e4, "float16")])
def test_a_value_that_is_no_number_as_written_flags_its_row_only(bad: float, dtype: str, top: int | None) -> None:
    values = np.array([[1, 2, 3], [1, bad, 3], [3, 2, 1]], np.float32)
    found = stored(values, dtype=dtype, top=top)
    assert found.finite.tolist() == [True, False, True]


def test_no_rows() -> None:
    for output in ({}, {"top": 2}, {"groups": {"a": [0, 1]}}, {"dtype": "float16", "reduce": {"x": [0]}}):
        assert {len(column) for column in stored(np.zeros((0, 3), np.float32), **output).columns.values()} == {0}


def test_bytes_of_a_row_are_those_that_arrow_holds() -> None:
    for output in ({}, {"dtype": "float16"}, {"top": 3}, {"top": 3, "dtype": "float16"}, {"groups": {"a": [0, 1]}}):
        (columns,) = columns_of({"x": (5,)}, **output)
        found = columns.store(random(1000, 5)).columns.values()
        offsets = 4 * 1000 * sum(pa.types.is_list(column.type) for column in found)
        assert sum(column.nbytes for column in found) - offsets == 1000 * columns.row_bytes


REFUSED = {
    "unknown input of reduce": ({"x": (4,)}, {"reduce": {"y": [0]}}, "E_REDUCE", "'y'.*'x'"),
    "unknown axis": ({"x": (4,)}, {"reduce": {"x": [1]}}, "E_REDUCE", "axis 1"),
    "no axes at all": ({"x": ()}, {"reduce": {"x": ["channels"]}}, "E_REDUCE", "channels"),
    "unknown input of groups": ({"x": (4,)}, {"groups": {"y": {"a": [0]}}}, "E_GROUPS", "'y'.*'x'"),
    "several inputs": ({"x": (4,), "y": (4,)}, {"groups": {"a": [0]}}, "E_GROUPS", "x, y.*INPUT"),
    "out of range": ({"x": (2, 2)}, {"groups": {"a": [4]}}, "E_GROUPS", "'a'.*'x'.*position 4.*0 to 3"),
    "out of range after reduce": ({"x": (2, 2)}, {"groups": {"a": [2]}, "reduce": {"x": [1]}}, "E_GROUPS", "0 to 1"),
    "negative": ({"x": (4,)}, {"groups": {"a": [-1]}}, "E_GROUPS", "position -1"),
    "in two groups": ({"x": (4,)}, {"groups": {"a": [0, 1], "b": [1]}}, "E_GROUPS", "position 1.*'a' and 'b'"),
    "twice in one": ({"x": (4,)}, {"groups": {"a": [2, 2]}}, "E_GROUPS", "position 2.*'a' and 'a'"),
    "empty": ({"x": (4,)}, {"groups": {"a": []}}, "E_GROUPS", "'a'.*no positions"),
    "name of a position": ({"x": (4,)}, {"groups": {"3": [0, 1]}}, "E_GROUPS", "'3'.*rename"),
    "rows of varying length": ({"x": (None, 3)}, {"groups": {"a": [0]}}, "E_GROUPS", "'x'.*lengths.*reduce: {x: "),
    "two columns of one name": ({"x": (4,), "x_rest": (4,)}, {"top": 1}, "E_TOP", "attribution_x_rest"),
}


@pytest.mark.parametrize("case", list(REFUSED))
def test_what_does_not_fit_is_refused(case: str) -> None:
    shapes, output, code, message = REFUSED[case]
    with pytest.raises(UsageError) as caught:
        columns_of(shapes, **output)
    assert caught.value.code == code
    assert re.search(message, caught.value.message), caught.value.message


def test_a_group_may_have_the_name_of_a_position_that_it_holds() -> None:
    (columns,) = columns_of({"x": (4,)}, groups={"3": [0, 3]})
    assert columns.groups is not None and columns.groups.names == ("3", "1", "2")
