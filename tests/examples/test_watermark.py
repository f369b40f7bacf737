"""examples/watermark: a mark that comes with one class is the first finding; without it, no cue is found."""

from __future__ import annotations

import html
import json
import pathlib
import runpy
from collections.abc import Callable
from typing import Any

import pytest

from pipeline.audit import audit
from pipeline.config import load_config
from pipeline.launch import run

ROOT = pathlib.Path(__file__).parent.parent.parent
MARKED = "7"
# The regions that hold the whole mark, rows and columns 2 to 4; a border, an eighth of 28, cuts it.
AROUND = {"corner_top_left", "cell_0_0"}


def findings(folder: pathlib.Path) -> list[dict[str, Any]]:
    about = json.loads((folder / "out/_audit/audit.json").read_text(encoding="utf-8"))
    return list(about["findings"])


@pytest.fixture(scope="module")
def marked(example: Callable[..., pathlib.Path]) -> pathlib.Path:
    """As its user runs it, the audit with it."""
    return example("watermark", audited=True)


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """The same without the mark, in this process, which has TensorFlow already."""
    folder = tmp_path_factory.mktemp("clean")
    runpy.run_path(str(ROOT / "examples/watermark/make.py"))["make"](folder, clean=True)
    run(load_config(folder / "config.yaml"), folder)
    audit(str(folder / "out"))
    return folder


def test_the_mark_is_the_first_finding(marked: pathlib.Path) -> None:
    first, *others = findings(marked)
    assert (first["kind"], first["severity"]) == ("image_cue", "high")
    assert (first["slice"], first["value"]) == ("label", MARKED)
    assert set(first["features"]) <= AROUND
    assert not [other for other in others if other["kind"] == "image_cue"]
    page = (marked / "out/_audit/report.html").read_text(encoding="utf-8")
    assert first["title"] in html.unescape(page)


@pytest.mark.campaign
def test_without_it_no_cue_is_found(clean: pathlib.Path) -> None:
    assert "image_cue" not in {finding["kind"] for finding in findings(clean)}
