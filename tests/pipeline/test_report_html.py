"""The report's page: whole, nothing of a stranger's in its markup, nothing fetched, and bounded."""

from __future__ import annotations

import base64
import collections
import hashlib
import html.parser
import re

import audits
import pyarrow as pa
import pytest

from pipeline.report import chosen, grid
from pipeline.report.html import drawn_rows, render
from pipeline.report.originals import Originals
from pipeline.report.stored import Stored
from transforms.auditing.audit_tables import AuditTables

MAKERS = (audits.images, audits.table, audits.text, audits.hostile)
SECTIONS = {"overview", "findings", "importances", "rows", "trust", "quarantine", "provenance"}
MOST_BYTES = 25 * 2**20


class Page(html.parser.HTMLParser):
    """A page's elements, in order, and the words of each kind of element."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.words: dict[str, list[str]] = collections.defaultdict(list)
        self._within = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        assert len(dict(attributes)) == len(attributes)
        self.elements.append((tag, dict(attributes)))
        self._within = tag

    def handle_endtag(self, tag: str) -> None:
        self._within = ""

    def handle_data(self, data: str) -> None:
        self.words[self._within].append(data)

    def values(self, *names: str) -> list[str]:
        """Of all attributes of these names."""
        return [value or "" for _, own in self.elements for name, value in own.items() if name in names]

    @property
    def shape(self) -> collections.Counter[tuple[str, tuple[str, ...]]]:
        """How many elements there are of each name and attributes."""
        return collections.Counter((tag, tuple(sorted(own))) for tag, own in self.elements)


@pytest.fixture(scope="module")
def pages() -> dict[str, str]:
    return {make.__name__: render(*make()) for make in MAKERS}


@pytest.mark.parametrize("name", [make.__name__ for make in MAKERS])
def test_every_section_is_there_and_every_link_leads_somewhere(pages: dict[str, str], name: str) -> None:
    page = Page(pages[name])
    ids = page.values("id")
    assert len(ids) == len(set(ids))
    assert set(ids) >= SECTIONS | {"classes"}
    links = [value for tag, own in page.elements if tag in ("a", "use") for value in [own.get("href") or ""]]
    assert len(links) > 20
    assert {link for link in links if link.removeprefix("#") not in ids} == set()


@pytest.mark.parametrize("name", [make.__name__ for make in MAKERS])
def test_nothing_is_fetched_and_only_our_own_script_and_styles_may_run(pages: dict[str, str], name: str) -> None:
    page = Page(pages[name])
    assert all(value.startswith("data:image/png;base64,") for value in page.values("src"))
    assert all(value.startswith("#") for value in page.values("href", "action", "srcset", "data", "poster"))
    assert not re.search(r"@import|url\(", "".join(page.words["style"]))
    assert all(re.fullmatch(r"url\(#[\w-]+\)", value) for value in page.values("clip-path"))
    assert not [own for _, own in page.elements if "style" in own or any(key.startswith("on") for key in own)]
    (policy,) = [
        own["content"] or "" for tag, own in page.elements if own.get("http-equiv") == "Content-Security-Policy"
    ]
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert rules["default-src"] == "'none'" and rules["img-src"] == "data:"
    for kind, tag in (("script-src", "script"), ("style-src", "style")):
        found = {
            f"'sha256-{base64.b64encode(hashlib.sha256(own.encode()).digest()).decode()}'" for own in page.words[tag]
        }
        assert found == set(rules[kind].split())


def test_names_make_no_element_and_no_attribute(pages: dict[str, str]) -> None:
    """Names of any kind leave the page's elements and attributes as plain names leave them."""
    plain = [f"name {letter}" for letter in "abcdefghijklmno"]
    assert len(plain) == len(audits.HOSTILE)
    bad, good = Page(pages["hostile"]), Page(render(*audits.hostile(plain)))
    assert bad.shape == good.shape
    text = "".join(bad.words["bdi"])
    assert "<script>alert(1)</script>" in text and "{{ 7 * 7 }}{% raw %}" in text


def test_names_are_cut_and_show_the_marks_that_would_turn_or_hide_them(pages: dict[str, str]) -> None:
    page = pages["hostile"]
    assert "x" * 4000 not in page  # so long is a command at most
    assert "\\u202egnp.evil\\u2066" in page
    assert not [mark for mark in set(page) if not mark.isprintable() and mark != "\n"]


def test_a_report_stands_without_the_inputs_and_says_why(pages: dict[str, str]) -> None:
    audit, known = audits.images()
    bare = Page(render(audit, Originals({}, ["digits.parquet: it is no longer there"])))
    whole = Page(pages["images"])
    rows = len(drawn_rows(audit))
    pictures = {
        name: sum(tag == "img" for tag, _ in page.elements) for name, page in (("bare", bare), ("whole", whole))
    }
    assert pictures["whole"] - pictures["bare"] == rows > 0  # the input itself
    assert any("it is no longer there" in words for words in bare.words["bdi"])
    assert known.rows


def test_an_audit_of_nothing_is_a_page() -> None:
    page = Page(render(AuditTables.of({}, {}), Originals()))
    assert set(page.values("id")) >= SECTIONS


def test_long_tables_are_cut_and_tell_where_the_rest_is() -> None:
    names = [f"feature {number}" for number in range(grid.MAX_ROWS + 1)]
    page = render(*audits.table(12, names))
    assert "the first of 1,001; all of them" in page
    assert f"{grid.PAGE_ROWS} of 1,000 rows" in page


def test_the_rows_that_are_drawn_are_bounded_and_those_of_all_come_first() -> None:
    labels = [f"label {number}" for number in range(60)]
    audit, _ = audits.images(1200, labels, (8, 8))
    found = chosen.choose(Stored(audit))
    assert len(found.drawn) == chosen.MAX_PICTURED
    rows = audit["rows"].to_pylist()
    everything = {(row["source_file"], row["source_row"]) for row in rows}
    assert found.left_out == len(everything) - chosen.MAX_PICTURED > 0
    drawn = {(rows[place]["source_file"], rows[place]["source_row"]) for place in found.drawn}
    assert {(row["source_file"], row["source_row"]) for row in rows if row["slice"] in ("all", "correct")} <= drawn
    assert {mention.place for mention in found.mentions} >= found.drawn
    assert drawn_rows(audit)["source_row"].to_pylist() == [rows[place]["source_row"] for place in sorted(found.drawn)]


def test_a_thousand_classes_stay_small() -> None:
    """Bytes grow no faster than with the number of classes: two sizes tell that of a thousand."""
    few, more = (len(render(*audits.thousand(labels)).encode()) for labels in (110, 130))
    assert more + (1000 - 130) * (more - few) / 20 < MOST_BYTES


def test_labels_that_are_words_meet_predictions_that_are_indices() -> None:
    audit, known = audits.images(60, ("cat", "dog", "owl"), (8, 8))
    indices = pa.array([str(("cat", "dog", "owl").index(name)) for name in audit["confusion"]["predicted"].to_pylist()])
    confusion = audit["confusion"].set_column(1, "predicted", indices)
    numbered = AuditTables({**audit.tables, "confusion": confusion}, {**audit.about, "classes": ["cat", "dog", "owl"]})

    def right(page: str) -> str:
        return re.findall(r'class="value ">([^<]*)</p><p class="title">predicted right', page)[0]

    assert right(render(numbered, known)) == right(render(audit, known))
    unknown = AuditTables({**audit.tables, "confusion": confusion}, audit.about)
    assert '<p class="title">predicted right' not in render(unknown, known)
