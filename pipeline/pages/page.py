"""A page that needs nothing else: no script, no network; its style is ours, every word of it is escaped."""

from __future__ import annotations

import functools
import os
import pathlib
from importlib import resources
from typing import Any

import jinja2
from markupsafe import Markup

from transforms.errors import UsageError

PACKAGE = "pipeline.pages"


def render(template: str, values: dict[str, Any]) -> str:
    """A whole page out of one of our templates."""
    style = Markup((resources.files(PACKAGE) / "templates" / "page.css").read_text(encoding="utf-8"))
    return _environment().get_template(template).render(style=style, **values)


def replace(path: pathlib.Path, data: bytes) -> None:
    """Write a file, whole or not at all; what is there is replaced.

    Raises:
        UsageError: E_SHOW_FILE where it cannot be written.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.new")
    try:
        temporary.write_bytes(data)
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise UsageError("E_SHOW_FILE", f"{path} cannot be written: {error.strerror}; give another file") from error


@functools.cache
def _environment() -> jinja2.Environment:
    return jinja2.Environment(
        loader=jinja2.PackageLoader(PACKAGE, "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
