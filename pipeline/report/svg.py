"""A matplotlib figure as a part of the page: its colours are classes, so that the style sheet decides light and dark.

The page's Content-Security-Policy allows no style attributes: what matplotlib writes there becomes attributes of SVG.
"""

from __future__ import annotations

import io
import re
import xml.etree.ElementTree as ET
from typing import TYPE_CHECKING

from markupsafe import Markup

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# What a figure is drawn in -> the class that the style sheet colours.
PALETTE = {
    "#010101": "ink",
    "#020202": "quiet",
    "#030303": "rule",
    "#040404": "accent",
    "#050505": "for",
    "#060606": "against",
    "#070707": "good",
    "#080808": "warn",
    "#090909": "bad",
}
# Words stay words, and the same figure is the same text.
WRITING = {"svg.fonttype": "none", "svg.hashsalt": "attribeam"}
INK, QUIET, RULE, ACCENT, FOR, AGAINST, GOOD, WARN, BAD = PALETTE
_LINK = "{http://www.w3.org/1999/xlink}href"
_DROPPED = ("metadata", "style")
_FONT_SIZE = re.compile(r"([0-9.]+)px")


def to_svg(figure: Figure, name: str, title: str) -> Markup:
    """The figure as an `svg` element without styles, scripts, links or names of its own.

    Args:
        name: prefix of the ids that it needs; each figure of a page has another.
        title: what it shows, for who cannot see it.
    """
    import matplotlib as mpl

    drawn = io.StringIO()
    with mpl.rc_context(WRITING):
        figure.savefig(drawn, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    # matplotlib's own, just written: no stranger's XML
    root = ET.fromstring(drawn.getvalue())
    _drop(root)
    _rewrite(root, name)
    _size(root)
    root.set("role", "img")
    root.set("aria-label", title)
    root.set("class", "figure")
    return Markup(ET.tostring(root, encoding="unicode"))


def _drop(element: ET.Element) -> None:
    for child in list(element):
        if _local(child.tag) in _DROPPED:
            element.remove(child)
        else:
            _drop(child)


def _local(tag: str) -> str:
    return tag.rpartition("}")[2]


def _rewrite(root: ET.Element, name: str) -> None:
    """Ids of one's own, where something refers to them; no namespaces, which a page does not need."""
    whole = ET.tostring(root, encoding="unicode")
    used = set(re.findall(r'href="#([^"]+)"', whole)) | set(re.findall(r"url\(#([^)]+)\)", whole))
    for element in root.iter():
        element.tag = _local(element.tag)
        old = element.attrib.pop("id", None)
        if old in used:
            element.set("id", f"{name}-{old}")
        if _LINK in element.attrib:
            element.set("href", f"#{name}-{element.attrib.pop(_LINK)[1:]}")
        if "clip-path" in element.attrib:
            element.set("clip-path", element.attrib["clip-path"].replace("url(#", f"url(#{name}-"))
        _plain(element)


def _plain(element: ET.Element) -> None:
    """The style attribute, and colours, as attributes and classes."""
    pairs = [entry.partition(":") for entry in element.attrib.pop("style", "").split(";") if ":" in entry]
    for key, _, value in pairs:
        _set(element, key.strip(), value.strip())
    classes = []
    for kind in ("fill", "stroke"):
        colour = PALETTE.get(element.attrib.get(kind, ""))
        if colour:
            del element.attrib[kind]
            classes.append(f"{kind}-{colour}")
    if element.tag == "text" and "fill-" not in " ".join(classes):
        classes.append("fill-ink")
    if classes:
        element.set("class", " ".join(classes))


def _set(element: ET.Element, key: str, value: str) -> None:
    if key == "font":
        found = _FONT_SIZE.search(value)
        if found:
            element.set("font-size", found[1])
        if value.startswith("bold") or value.startswith("700"):
            element.set("font-weight", "bold")
    elif not key.startswith("-"):
        element.set(key, value)


def _size(root: ET.Element) -> None:
    """As wide as there is room, in the proportions of its view box."""
    for key in ("width", "height", "version"):
        root.attrib.pop(key, None)
