"""Errors: one safe line, at most 500 characters, the same after pickling."""

from __future__ import annotations

import pathlib
import pickle
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from transforms.errors import AttribeamError, Fault, QuarantineError, UsageError, quoted

CATALOGUE = pathlib.Path(__file__).parent.parent.parent / "docs/errors.md"
KINDS = {AttribeamError: 1, UsageError: 2, QuarantineError: 3}


@pytest.mark.parametrize(("kind", "exit_code"), KINDS.items())
def test_code_message_and_exit_code(kind: type[AttribeamError], exit_code: int) -> None:
    error = kind("E_TEST", "row 3 has\n no\t value")
    assert (error.code, error.message, error.exit_code) == ("E_TEST", "row 3 has no value", exit_code)
    assert str(error) == "E_TEST: row 3 has no value"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("message", ["short", "x" * 1000])
def test_pickling_keeps_everything(kind: type[AttribeamError], message: str) -> None:
    error = kind("E_TEST", message)
    again = pickle.loads(pickle.dumps(error))  # noqa: S301 -- our own bytes
    assert type(again) is kind
    assert (again.code, again.message, str(again)) == (error.code, error.message, str(error))


@pytest.mark.parametrize("size", [491, 492, 493, 2000])
def test_a_message_is_cut_at_500_characters_with_its_code(size: int) -> None:
    text = str(AttribeamError("E_TEST", "x" * size))
    assert text == f"E_TEST: {'x' * size}" if size <= 492 else text == f"E_TEST: {'x' * 491}…"
    assert len(text) == min(size + 8, 500)


@pytest.mark.parametrize("size", [499, 500, 501])
def test_a_fault_is_cut_at_500_characters(size: int) -> None:
    message = Fault("E_TEST", "x" * size).message
    assert message == ("x" * size if size <= 500 else "x" * 499 + "…")


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("a", "'a'"),
        (b"\x1b", "b'\\x1b'"),
        ("\x1b", "'\\x1b'"),
        (None, "None"),
        ("x" * 30, f"'{'x' * 30}'"),
        ("x" * 31, f"'{'x' * 30}…"),
    ],
)
def test_quoted(value: object, shown: str) -> None:
    assert quoted(value) == shown


@pytest.mark.parametrize(
    ("message", "shown"),
    [
        ("d\x1b[31m.parquet", "d[31m.parquet"),
        ("a\x00\x07\x08\x7f\x9bb", "ab"),
        ("a\r\nb\x85c\u2028d\x1fe\xa0f", "a b c d e f"),
        ("a \x1b b", "a b"),
        ("right\u202eleft", "rightleft"),
        ("half\udc80", "half"),
        ("Σα × 28 “ok” …", "Σα × 28 “ok” …"),
    ],
)
def test_control_characters_reach_no_terminal(message: str, shown: str) -> None:
    assert AttribeamError("E_TEST", message).message == shown
    assert Fault("E_TEST", message).message == shown
    assert shown.isprintable()


@given(st.text(max_size=30), st.sampled_from([1, 40]), st.sampled_from([*KINDS, Fault]))
def test_whatever_a_message_repeats_it_is_one_short_printable_line(name: str, times: int, kind: type) -> None:
    error = kind("E_TEST", f"{name * times} is no {quoted(name * times)}")
    said = f"{error.code}: {error.message}" if kind is not Fault else error.message
    assert len(said) <= 500
    assert said.isprintable()


def test_every_code_has_a_cause_an_example_and_a_remedy() -> None:
    lines = [line for line in CATALOGUE.read_text(encoding="utf-8").splitlines() if line.startswith("| `E_")]
    codes = [re.match(r"\| `(E_[A-Z0-9_]+)` \|", line)[1] for line in lines]  # type: ignore[index]
    assert len(codes) > 100
    assert len(set(codes)) == len(codes)
    for line in lines:
        cells = [cell.strip() for cell in line.strip("|").split(" | ")]
        assert len(cells) == 4 and all(cells), line
        assert len(cells[2]) <= 500, "an example is as long as a message at most"


def test_what_is_quoted_is_never_written_out_further_than_it_is_shown() -> None:
    bomb: list[Any] = ["x"]
    for _ in range(60):
        bomb = [bomb, bomb]
    endless: list[Any] = []
    endless += [endless, 1]
    assert quoted(bomb) == "[" * 31 + "…"
    assert quoted(endless) == "[" * 31 + "…"
    assert quoted({"a": [1, (2, "b")], "c": {}}) == "{'a': [1, (2, 'b')], 'c': {}}"
    assert quoted(1 << 20_000) == "a number of 20001 bits"
    assert quoted("é" * 10**6) == "'" + "é" * 30 + "…"
