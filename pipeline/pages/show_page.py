"""One row as a page."""

from __future__ import annotations

import math
import pathlib
from typing import Any

from pipeline.pages.page import render, replace
from pipeline.show.colours import rgb
from pipeline.show.row_view import MapView, RowView
from pipeline.show.terminal import shrunk

# Of an image, each a rectangle of SVG.
MAX_CELLS_ACROSS = 128


def write_page(row: RowView, path: pathlib.Path) -> None:
    """Write the page, which is replaced when it is there.

    Raises:
        UsageError: E_SHOW_FILE where the file cannot be written.
    """
    maps = [_shown(one) for one in row.maps]
    replace(path, render("show.html.j2", {"title": row.title, "facts": row.facts, "maps": maps}).encode())


def _shown(one: MapView) -> dict[str, Any]:
    whole: dict[str, Any] = {"input": one.input, "kind": one.kind, "note": one.note, "total": f"{one.total:+.6g}"}
    if one.kind == "image":
        return whole | _image(one)
    return whole | {
        "values": [_value(label, value, one.limit) for label, value in zip(one.labels, one.values, strict=True)]
    }


def _image(one: MapView) -> dict[str, Any]:
    small = shrunk(one.values, MAX_CELLS_ACROSS)
    limit = MapView(one.input, "image", small, (), "", 0.0).limit
    cells = [
        {"x": x, "y": y, "colour": _hex(value / limit)}
        for y, line in enumerate(small)
        for x, value in enumerate(line)
        if value != 0
    ]
    return {"width": small.shape[1], "height": small.shape[0], "cells": cells}


def _value(label: str, value: float, limit: float) -> dict[str, Any]:
    share = value / limit if math.isfinite(value) else math.nan
    colour = rgb(share)
    size = round(50 * min(abs(share), 1.0), 2) if math.isfinite(share) else 0
    return {
        "label": label,
        "value": f"{value:+.4g}",
        "colour": _hex(share),
        "ink": "#000" if sum(colour) > 382 else "#fff",
        "bar": _hex(math.copysign(1.0, value)),
        "left": 50 - size if value < 0 else 50,
        "size": size,
    }


def _hex(share: float) -> str:
    return "#{:02x}{:02x}{:02x}".format(*rgb(share))
