"""What the report draws: pictures against their values, waterfalls that add up, marked words, plain figures."""

from __future__ import annotations

import base64
import io
import re
import xml.etree.ElementTree as ET

import numpy as np
import pytest
from PIL import Image

from pipeline.report import figures, pictures, wording
from pipeline.report.pictures import Picture
from pipeline.report.tokens import LEVELS, highlighted, tokens_of
from pipeline.report.waterfall import TOP, waterfall


def pixels(picture: Picture) -> np.ndarray:
    """[height, width, 4], 0 to 255."""
    data = base64.b64decode(picture.uri.removeprefix("data:image/png;base64,"))
    image = Image.open(io.BytesIO(data))
    assert image.size == (picture.width, picture.height)
    return np.array(image.convert("RGBA")).astype(int)


def test_a_signed_map_has_the_colour_of_the_sign_and_the_opacity_of_the_size() -> None:
    values = np.linspace(-1, 1, 400).reshape(20, 20)
    found = pixels(pictures.signed(values))
    size = np.abs(values) / np.percentile(np.abs(values), pictures.CLIP_UPPER)
    # Half a level of the palette, and half a step of a byte.
    assert np.abs(found[..., 3] / 255 - np.minimum(size, 1)).max() <= 0.5 / pictures.LEVELS + 0.5 / 255
    seen = found[..., 3] > 0
    red = (found[..., :3] == pictures.FOR).all(-1)
    assert (red == (values > 0))[seen].all()
    assert ((found[..., :3] == pictures.AGAINST).all(-1) == (values < 0))[seen].all()


def test_an_absolute_map_begins_at_the_62nd_percentile_and_is_full_at_the_99_9th() -> None:
    values = np.arange(10_001.0)[np.random.default_rng(0).permutation(10_001)] - 0.0
    found = pictures.highlighted(values.reshape(73, 137))
    expected = np.clip((values - 6200) / (9990 - 6200), 0, 1).reshape(73, 137)
    assert np.allclose(found, expected, rtol=0, atol=1e-12)
    assert np.array_equal(pictures.highlighted(-values), pictures.highlighted(values))


@pytest.mark.parametrize("flat", [np.zeros((8, 8)), np.full((8, 8), np.nan), np.full((8, 8), 3.0)])
def test_a_map_without_contrast_is_a_picture(flat: np.ndarray) -> None:
    for picture in (
        pictures.signed(flat),
        pictures.magnitude(flat),
        pictures.magnitude(flat, flat),
        pictures.original(flat),
    ):
        assert pixels(picture).shape == (8, 8, 4)


@pytest.mark.parametrize(
    ("values", "white"), [(np.linspace(0, 1, 64), 1), (np.arange(64) * 4, 255), (np.linspace(-3, 3, 64), None)]
)
def test_the_input_is_drawn_as_it_is(values: np.ndarray, white: float | None) -> None:
    found = pixels(pictures.original(values.reshape(8, 8)))[..., 0].ravel()
    scaled = values / white if white else (values + 3) / 6
    # Sixty-four greys, and the palette has as many; each is rounded to a byte.
    assert np.abs(found - 255 * scaled).max() <= 2.5


def test_large_maps_are_drawn_small_by_their_means() -> None:
    values = np.kron(np.random.default_rng(1).normal(size=(64, 128)), np.ones((4, 4)))
    small = pictures.signed(values)
    assert (small.width, small.height) == (128, 64)
    assert np.array_equal(pixels(small), pixels(pictures.signed(values[::4, ::4])))


def test_a_waterfall_goes_from_the_baseline_to_the_output() -> None:
    random = np.random.default_rng(2)
    values = random.normal(size=25)
    start, delta = 0.3, 0.01
    end = start + values.sum() - delta
    bars = waterfall([(f"f{number}", float(value)) for number, value in enumerate(values)], start, end, delta)
    assert [bars[0].label, bars[-1].label] == ["F(x′)", "F(x)"] and len(bars) == TOP + 4
    ends = np.cumsum([start, *sorted(values, key=lambda value: -abs(value))[:TOP]])
    extent = [0.0, start, end, *ends, end + delta]
    width = (max(extent) - min(extent)) / 100
    for bar, low, high in zip(bars[1:], ends, ends[1:], strict=False):
        # Percentages are written with two digits.
        assert bar.start * width + min(extent) == pytest.approx(min(low, high), abs=0.006 * width)
        assert bar.width * width == pytest.approx(abs(high - low), abs=0.006 * width)
        assert bar.tone == ("for" if high >= low else "against")
    assert all(bar.start >= 0 and bar.start + bar.width <= 100.02 for bar in bars)


@pytest.mark.parametrize("sign", [1, -1])
def test_small_steps_between_large_outputs_are_seen(sign: int) -> None:
    """An axis from 0 to 100 would leave them one percent of it: it is cut, and the outputs begin at its edge."""
    bars = waterfall([("a", 0.75 * sign), ("b", 0.25 * sign)], 100.0 * sign, 101.0 * sign, 0.0)
    assert [round(bar.width) for bar in bars] == [9, 68, 23, 100]  # of 1.1: 0.1, 0.75, 0.25 and all
    assert bars[0].start == (0 if sign > 0 else pytest.approx(100 - bars[0].width, abs=0.02))


def test_words_are_marked_by_sign_and_size() -> None:
    shown = highlighted(["good", "bad", "the"], np.array([0.5, 0.5, -0.5, 0.0, 0.001, 0.0]))
    assert [token.mark for token in shown.tokens] == [f"p{LEVELS}", f"n{LEVELS // 2}", ""]
    assert shown.tokens[0].value == "+1" and shown.left_out == 0
    assert highlighted(["a"] * 500, np.zeros(500)).left_out == 100


def test_the_tokens_of_a_row_are_those_the_audit_names_or_the_first_that_fit() -> None:
    row = {"row_id": "1", "attribution_x": [0.1, 0.2], "tags": ["p"] * 3, "words": ["a", "b"], "other": ["c", "d"]}
    assert tokens_of(row, np.zeros(2), None) == ["a", "b"]
    assert tokens_of(row, np.zeros(2), "other") == ["c", "d"]
    assert tokens_of({**row, "words": None, "other": None}, np.zeros(2), None) is None


def test_a_figure_has_neither_styles_nor_a_stranger_s_mathematics() -> None:
    names = ["$\\frac{1}{0}$", "<b>&", "plain"]
    quantiles = np.sort(np.random.default_rng(3).normal(size=(3, 5)), axis=1)
    for drawn in (figures.bars("a", "t", names, [1, 2, 3]), figures.ranges("b", "t", names, quantiles)):
        root = ET.fromstring(str(drawn))
        texts = ["".join(element.itertext()) for element in root.iter("text")]
        assert set(names) <= set(texts)
        assert not [element.tag for element in root.iter() if "style" in element.attrib or element.tag == "style"]
        assert not re.search(r"#0[1-9]0[1-9]0[1-9]", str(drawn))  # every colour has become a class


def test_bins_that_are_open_or_begin_at_zero_are_drawn() -> None:
    low, high = np.array([0, 1e-9, 1e-3, 1.0]), np.array([1e-9, 1e-8, 1e-2, np.inf])
    edges = figures.Bins(low, high, np.ones(4), True).edges
    assert all(np.isfinite(edge).all() and (edge > 0).all() for edge in edges)
    assert "<svg" in figures.histogram("h", "t", figures.Bins(low[:3], high[:3], np.ones(3), True), (5e-3, "tolerance"))


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (wording.number(1234.5678), "1235"),
        (wording.number(-0.25), "−0.25"),
        (wording.number(1.5e-7), "1.50e−07"),
        (wording.number(123456.7), "123,457"),
        (wording.number(float("nan")), "not a number"),
        (wording.number(None), "–"),
        (wording.signed(0.5), "+0.5"),
        (wording.percent(0.5), "50.0 %"),
        (wording.percent(0.00001), "below 0.01 %"),
        (wording.percent(0), "0 %"),
        (wording.percent(1), "100 %"),
        (wording.count(1234567), "1,234,567"),
        (wording.duration(90), "90 s"),
        (wording.duration(600), "10 min"),
        (wording.duration(36_000), "10.0 h"),
        (wording.name(""), "(empty)"),
        (wording.value({"name": "idgi", "noise": None}), "idgi"),
        (wording.value({"name": "blur", "sigma": 0.5}), "blur (sigma 0.5)"),
        (wording.value({"python": "3.11", "rows": 1000}), "python 3.11, rows 1,000"),
        (wording.value(["a", {"b": 1}]), 'a, {"b": 1}'),
        (wording.value(True), "true"),
        (wording.name("a\u202eb"), "a\\u202eb"),
        (wording.slug("finding", "corner-3"), "finding-corner-3"),
    ],
)
def test_numbers_and_names_as_they_are_written(found: str, expected: str) -> None:
    assert found == expected


def test_an_anchor_is_made_of_no_stranger_s_letters() -> None:
    assert re.fullmatch(r"finding-[0-9a-f]{12}", wording.slug("finding", '"><b>'))
    assert wording.anchor("row", "a", 1) != wording.anchor("row", "a", 2)
