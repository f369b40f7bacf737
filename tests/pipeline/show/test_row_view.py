"""How a row is shown: each kind of map, by signs where there are no colours, and names that try to be obeyed."""

from __future__ import annotations

import html
import io
import pathlib
import re
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from rich.console import Console

from pipeline.pages.show_page import write_page
from pipeline.show.find import Found
from pipeline.show.picture import draw
from pipeline.show.row_view import BARS, RowView, view
from pipeline.show.terminal import print_row, shrunk
from transforms.errors import UsageError
from transforms.records.columns import attribution_columns
from transforms.records.config import ColumnsConfig
from transforms.records.maps import carried_columns, map_columns

EVIL = "a\x1b[31m\u202egpj\x07<b>"
PNG = b"\x89PNG\r\n\x1a\n"


def found(values: dict[str, np.ndarray], carried: dict[str, Any] | None = None, **output: Any) -> Found:
    """A row with these maps, as a part holds it."""
    fields, arrays = [], []
    lengths = {name: np.array([len(array)]) for name, array in values.items() if output.get("varying")}
    varying = output.pop("varying", False)
    shapes = {name: (None, *array.shape[1:]) if varying else array.shape for name, array in values.items()}
    for columns in attribution_columns(ColumnsConfig(**output), shapes):
        stored = columns.store(values[columns.input][None].astype(np.float32), lengths.get(columns.input))
        fields += columns.fields()
        arrays += [stored.columns[field.name] for field in columns.fields()]
    plain = {"row_id": ["r/1"], "source_file": [EVIL], "source_row": [3], **(carried or {}), "target": [1]}
    plain |= {"output": [2.5], "delta": [None], "steps": [8], "status": ["ok"]}
    known = pa.table(plain)
    table = pa.Table.from_arrays([*known.columns, *arrays], schema=pa.schema([*known.schema, *fields]))
    run = {"config": {"model": {"classes": ["cat", EVIL]}}}
    return Found(table, map_columns(table.schema), carried_columns(table.schema), [], run)


def printed(row: RowView, width: int = 80, colours: str | None = None) -> str:
    console = Console(file=io.StringIO(), width=width, color_system=colours, force_terminal=bool(colours))
    print_row(row, console)
    return str(console.file.getvalue())  # type: ignore[attr-defined]


def looked_at(row: RowView, folder: pathlib.Path) -> list[str]:
    """The row in every form: what a terminal with and without colours gets, and the page; the picture is a picture."""
    picture, page = folder / "row.png", folder / "row.html"
    draw(row, picture)
    write_page(row, page)
    assert picture.read_bytes().startswith(PNG) and picture.stat().st_size > 5000
    return [printed(row), printed(row, colours="truecolor"), page.read_text(encoding="utf-8")]


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_an_image_in_half_blocks_and_shades(tmp_path: pathlib.Path, dtype: str) -> None:
    image = np.zeros((5, 6, 3))
    image[0, 0], image[4, 5] = 1.0, -2.0
    row = view(found({"image": image}, dtype=dtype))
    (one,) = row.maps
    assert (one.kind, one.values.shape, one.total) == ("image", (5, 6), -3.0)
    np.testing.assert_array_equal(one.values, image.sum(axis=2))
    plain, coloured, page = looked_at(row, tmp_path)
    assert "5×6, 3 channels summed" in plain and "Σ -3" in plain
    drawn = plain.partition("channels summed\n")[2].splitlines()
    assert drawn[0].strip() in set("░▒▓█") and drawn[2].strip() in set("·-=≡")
    assert sum(line.count("▀") for line in coloured.splitlines()) == 3 * 6
    assert page.count("<rect") == 2 and 'viewBox="0 0 6 5"' in page


def test_an_image_is_made_smaller_by_means_of_squares() -> None:
    image = np.random.default_rng(0).normal(size=(50, 70))
    small = shrunk(image, 20)
    assert small.shape == (13, 18)
    np.testing.assert_allclose(small[0, 0], image[:4, :4].mean())
    np.testing.assert_allclose(small[-1, -1], image[48:, 68:].mean())
    assert shrunk(image, 70) is image
    row = view(found({"image": np.random.default_rng(1).normal(size=(300, 500, 1))}))
    assert max(len(line) for line in printed(row, width=40, colours=None).splitlines()[10:]) <= 60


@pytest.mark.parametrize("varying", [True, False])
def test_tokens_beside_their_words(tmp_path: pathlib.Path, varying: bool) -> None:
    words, values = ["good", EVIL, "<i>bad</i>"], np.array([0.5, 0.25, -1.0])
    row = view(found({"embedding": values}, {"tokens": [words], "other": [["x"]]}, varying=varying))
    (one,) = row.maps
    assert (one.kind, one.labels[0], one.labels[2], one.total) == ("tokens", "good", "<i>bad</i>", -0.25)
    plain, coloured, page = looked_at(row, tmp_path)
    assert "good(+0.5)" in plain and "<i>bad</i>(-1)" in plain
    assert "48;2;178;24;43" not in coloured and "48;2;33;102;172" in coloured  # only against it, with its full colour
    assert "&lt;i&gt;bad&lt;/i&gt;" in page and "<i>" not in page


def test_a_table_with_groups_strongest_first(tmp_path: pathlib.Path) -> None:
    groups = {"x": {EVIL: [0, 1], "age": [2]}}
    row = view(found({"x": np.array([1.0, 1.0, -3.0, 0.5])}, groups=groups))
    (one,) = row.maps
    assert (one.kind, one.values.tolist()) == ("bars", [-3.0, 2.0, 0.5])
    assert (one.labels[0], one.labels[2]) == ("age", "3")
    plain, _, _ = looked_at(row, tmp_path)
    strongest = next(line for line in plain.splitlines() if "age" in line)
    weakest = next(line for line in plain.splitlines() if "+0.5" in line)
    assert "█│" in strongest and "│█" in weakest


def test_a_long_table_says_what_it_leaves_out_and_top_what_was() -> None:
    values = np.arange(1.0, 41.0)
    (whole,), (top,) = (view(found({"x": values}, **some)).maps for some in ({}, {"top": 3}))
    assert whole.labels[:2] == ("39", "38") and len(whole.values) == BARS
    assert whole.note == f"16 smaller ones add up to {values[:16].sum():+.4g}" and whole.total == values.sum()
    assert (top.labels, top.values.tolist()) == (("39", "38", "37"), [40.0, 39.0, 38.0])
    assert top.note == f"the values left out add up to {values[:37].sum():+.4g}" and top.total == values.sum()


def test_the_strongest_pixels_stand_where_they_were() -> None:
    image = np.zeros((4, 4))
    image[1, 2], image[3, 0] = 5, -4
    (one,) = view(found({"x": image}, top=2)).maps
    assert one.kind == "image"
    np.testing.assert_array_equal(one.values, image)


def test_a_sequence_step_by_step_or_summed() -> None:
    short, long = (np.random.default_rng(0).normal(size=(steps, 2)) for steps in (5, 50))
    for steps, run in ((short, 1), (long, 3)):
        (one,) = view(found({"x": steps}, varying=True)).maps
        assert one.kind == "sequence" and len(one.values) == -(-len(steps) // run)
        sums = [steps[at : at + run].sum() for at in range(0, len(steps), run)]
        np.testing.assert_allclose(one.values, sums, rtol=1e-6, atol=1e-6)  # the stored values are float32
        assert one.labels[-1] == ("4" if run == 1 else "48-49")


def test_no_name_is_obeyed(tmp_path: pathlib.Path) -> None:
    words = [EVIL, EVIL]
    carried = {"label": [EVIL], "words": [words], "note": [EVIL], "bytes": [b"\x1b[2J"]}
    row = view(found({EVIL: np.array([1.0, -1.0]), "t": np.zeros(3)}, carried, groups={"t": {EVIL: [0]}}))
    plain, coloured, page = looked_at(row, tmp_path)
    for text in (plain, page, re.sub(r"\x1b\[[0-9;]*m", "", coloured)):
        assert all(letter.isprintable() or letter == "\n" for letter in text)
        assert "\\x1b" in text and "\\u202e" in text
    assert "\x1b[31m" not in coloured.replace("\x1b[1;31m", "")
    assert "<b>" not in page and html.escape("<b>") in page


def test_values_that_are_no_numbers() -> None:
    row = view(found({"x": np.array([[np.nan, 1.0], [np.inf, -1.0]]), "y": np.array([np.nan, 2.0])}))
    assert "?" in printed(row) and "nan" in printed(row)
    assert printed(row, colours="truecolor")


def test_a_page_that_cannot_be_written(tmp_path: pathlib.Path) -> None:
    row = view(found({"x": np.ones(2)}))
    with pytest.raises(UsageError, match="E_SHOW_FILE"):
        write_page(row, tmp_path / "nowhere" / "row.html")
