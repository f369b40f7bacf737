"""The report as people see it: in headless Chromium, on a desktop and on a phone."""

from __future__ import annotations

import os
import pathlib
import shutil
from collections.abc import Callable, Iterator
from typing import Any

import audits
import pytest

from pipeline.report.html import write_report

REQUIRED = "ATTRIBEAM_REQUIRE_CHROMIUM"
FLAGS = [
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
]
SIZES = {"desktop": (1280, 900), "phone": (390, 844)}
MAKERS = {make.__name__: make for make in (audits.images, audits.table, audits.text, audits.hostile)}
# What stands beyond the screen's right edge, other than in what scrolls by itself and what is there for screen readers.
OVERFLOWING = """() => {
  const outside = (element) => element.getBoundingClientRect().right > document.documentElement.clientWidth + 1;
  return [...document.body.querySelectorAll('*')]
    .filter((element) => outside(element) && !element.closest('.scroll, nav, svg, .skip'))
    .map((element) => element.outerHTML.slice(0, 200));
}"""
SORTS = """(root) => {
  const visible = () => [...root.querySelectorAll('tbody tr:not([hidden])')];
  const said = [];
  root.querySelectorAll('th button').forEach((button, column) => {
    for (const direction of ['first', 'second']) {
      button.click();
      const rising = button.parentElement.getAttribute('aria-sort') === 'ascending';
      const cells = visible().map((row) => row.cells[column]);
      const numbers = cells.map((cell) => Number(cell.dataset.sort)).filter((value) => !Number.isNaN(value));
      const good = numbers.every((value, at) => !at || (rising ? numbers[at - 1] <= value : numbers[at - 1] >= value));
      const numeric = cells.every((cell) => cell.dataset.sort !== undefined);
      if (!button.parentElement.hasAttribute('aria-sort') || (numeric && !good))
        said.push([button.textContent, direction, numbers]);
    }
  });
  return said;
}"""
FILTERS = """(root) => {
  const input = root.querySelector('input'), body = root.querySelector('tbody');
  const shown = () => [...body.rows].filter((row) => !row.hidden);
  const set = (text) => { input.value = text; input.dispatchEvent(new Event('input')); };
  const wanted = body.rows[body.rows.length - 1].textContent.toLowerCase();
  const before = shown().length;
  set(wanted);
  const found = shown().filter((row) => row.textContent.toLowerCase().includes(wanted)).length, kept = shown().length;
  set('no row has these words');
  const none = shown().length;
  set('');
  return found > 0 && found === kept && none === 0 && shown().length === before;
}"""


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    path = shutil.which("chromium")
    if path is None:
        reason = "there is no chromium; launch_scripts/chromium.sh installs Debian's"
        assert not os.environ.get(REQUIRED), reason
        pytest.skip(reason)
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, pathlib.Path]:
    folder = tmp_path_factory.mktemp("reports")
    return {name: write_report(*make(), folder / f"{name}.html") for name, make in MAKERS.items()}


@pytest.fixture
def opened(chromium: Any, files: dict[str, pathlib.Path]) -> Iterator[Callable[..., Any]]:
    """A function (name of the report, size, fragment) → the page, which said nothing and asked for nothing."""
    said: list[str] = []
    pages: list[Any] = []

    def opened(name: str, size: str, fragment: str = "", **more: Any) -> Any:
        width, height = SIZES[size]
        page = chromium.new_page(viewport={"width": width, "height": height}, **more)
        pages.append(page)
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("dialog", lambda dialog: said.append(dialog.message))
        page.on(
            "request",
            lambda request: said.append(request.url) if not request.url.startswith(("file:", "data:")) else None,
        )
        page.goto(f"{files[name].as_uri()}{fragment}")
        return page

    yield opened
    for page in pages:
        page.close()
    assert said == []


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", MAKERS)
def test_a_page_fits_and_every_picture_is_there(opened: Callable[..., Any], name: str, size: str) -> None:
    page = opened(name, size)
    page.evaluate("document.querySelectorAll('details').forEach((each) => { each.open = true; })")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert page.evaluate(OVERFLOWING) == []
    broken = "(pictures) => pictures.filter((each) => !(each.complete && each.naturalWidth > 0)).length"
    assert page.eval_on_selector_all("img", broken) == 0
    assert (page.locator("img").count() > 0) == (name == "images")
    sizes = page.eval_on_selector_all(
        "svg.figure", "(all) => all.map((each) => [each.getBBox().width, each.getBBox().height])"
    )
    assert all(width > 100 and height > 20 for width, height in sizes)
    assert page.locator("svg.figure").count() >= 4


@pytest.mark.parametrize("name", MAKERS)
def test_every_table_sorts_and_filters(opened: Callable[..., Any], name: str) -> None:
    page = opened(name, "desktop")
    tables = page.locator(".grid").all()
    assert len(tables) >= 3
    for table in tables:
        handle = table.element_handle()
        assert handle.evaluate(SORTS) == []
        if table.locator("input").count():
            assert handle.evaluate(FILTERS)


def test_pages_turn(opened: Callable[..., Any]) -> None:
    table = opened("table", "phone").locator("#features-0")
    first = table.locator("tbody tr:not([hidden]) td:first-child").all_inner_texts()
    table.locator("[data-turn='1']").click()
    second = table.locator("tbody tr:not([hidden]) td:first-child").all_inner_texts()
    assert len(first) == len(second) == 15 and not set(first) & set(second)
    assert table.locator(".shown").inner_text() == "16 to 30 of 30 rows"
    assert table.locator("[data-turn='1']").is_disabled()


def test_a_link_to_a_row_of_a_closed_class_opens_it(opened: Callable[..., Any]) -> None:
    page = opened("images", "desktop")
    row = page.locator("details .card").last.get_attribute("id")
    aimed = opened("images", "desktop", f"#{row}")
    card = aimed.locator(f"#{row}")
    assert card.is_visible() and "aimed" in card.get_attribute("class")
    assert aimed.evaluate(
        "(id) => Math.abs(document.getElementById(id).getBoundingClientRect().top) < innerHeight", row
    )


def test_light_dark_and_paper_look_different(opened: Callable[..., Any]) -> None:
    colour = "getComputedStyle(document.body).backgroundColor"
    page = opened("text", "desktop", color_scheme="light")
    light = page.evaluate(colour)
    assert opened("text", "desktop", color_scheme="dark").evaluate(colour) != light
    page.emulate_media(media="print")
    assert page.evaluate(colour) == "rgb(255, 255, 255)"
    assert not page.locator("nav").is_visible() and page.locator("#findings").is_visible()


@pytest.mark.parametrize("name", ["images", "table"])
def test_tables_fit_on_paper(opened: Callable[..., Any], name: str) -> None:
    page = opened(name, "desktop")
    page.emulate_media(media="print")
    page.set_viewport_size({"width": 720, "height": 1000})  # of A4, less its margins
    wide = "(all) => all.filter((each) => each.scrollWidth > each.closest('.grid').clientWidth + 1).length"
    assert page.eval_on_selector_all(".grid table", wide) == 0


def test_without_scripts_every_row_is_shown(chromium: Any, files: dict[str, pathlib.Path]) -> None:
    context = chromium.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(files["table"].as_uri())
    assert page.locator("#features-0 tbody tr").last.is_visible()
    context.close()
