"""`report.html`: the audit of a run as one page that needs nothing else, no network least of all.

The page runs and applies only what this module puts into it, by a Content-Security-Policy of hashes; every word that
comes from a run, its models, data and files, is escaped by the templates.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import pathlib
from importlib import resources
from typing import Any

import jinja2
import pyarrow as pa
from markupsafe import Markup

from pipeline.report import chosen as choosing
from pipeline.report import wording
from pipeline.report.classes import classes
from pipeline.report.confusion import Confusion
from pipeline.report.deck import Deck
from pipeline.report.findings import findings
from pipeline.report.importances import importances
from pipeline.report.originals import Originals
from pipeline.report.overview import overview
from pipeline.report.provenance import provenance
from pipeline.report.refusals import refusals
from pipeline.report.stored import Stored
from pipeline.report.trust import trust
from transforms.auditing.audit_tables import AuditTables

PACKAGE, TEMPLATE = "pipeline.report", "report.html.j2"
TITLE_CHARACTERS, REASON_CHARACTERS, MAX_REASONS = 120, 300, 5


def write_report(audit: AuditTables, originals: Originals, target: pathlib.Path) -> pathlib.Path:
    """Write the report of an audit, and return `target`, which is replaced when it is there.

    Args:
        originals: of the rows that `drawn_rows` names, those that are known; the report stands without any.
    """
    temporary = target.with_name(f".{target.name}.new")
    temporary.write_bytes(render(audit, originals).encode("utf-8"))
    return temporary.replace(target)


def drawn_rows(audit: AuditTables) -> pa.Table:
    """The rows of the table `rows` that the report draws, so many as there is room for."""
    return choosing.drawn_rows(Stored(audit))


def render(audit: AuditTables, originals: Originals) -> str:
    """The whole page."""
    stored = Stored(audit)
    chosen, confusion = choosing.choose(stored), Confusion(stored)
    deck = Deck(stored, confusion, chosen, originals)
    style, script, plain = _asset("report.css"), _asset("report.js"), _asset("noscript.css")
    return (
        _environment()
        .get_template(TEMPLATE)
        .render(
            title=wording.name(stored.run.get("output") or "a run", TITLE_CHARACTERS),
            run=_about(stored),
            style=style,
            script=script,
            noscript=plain,
            policy=_policy(script, style, plain),
            overview=overview(stored, confusion),
            findings=findings(stored),
            importances=importances(stored),
            groups=deck.whole(),
            rows_left_out=wording.count(chosen.left_out) if chosen.left_out else "",
            reasons=[wording.name(reason, REASON_CHARACTERS) for reason in originals.reasons[:MAX_REASONS]],
            classes=classes(stored, confusion, deck),
            trust=trust(stored),
            refusals=refusals(stored),
            provenance=provenance(stored),
        )
    )


def _about(stored: Stored) -> list[tuple[str, str]]:
    """The line below the title."""
    found = ((key, stored.run.get(key)) for key in ("model", "layer", "method", "baseline"))
    return [(key, wording.value(value, wording.NAME_CHARACTERS)) for key, value in found if value is not None]


def _policy(script: Markup, *styles: Markup) -> str:
    """Nothing but our script and styles, and pictures that stand in the page itself."""
    allowed = " ".join(_hash(style) for style in styles)
    ours = f"img-src data:; style-src {allowed}; script-src {_hash(script)}"
    return f"default-src 'none'; {ours}; base-uri 'none'; form-action 'none'"


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


@functools.cache
def _asset(name: str) -> Markup:
    """A file of ours that goes into the page as it is."""
    return Markup((resources.files(PACKAGE) / "templates" / name).read_text(encoding="utf-8"))


@functools.cache
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader(PACKAGE, "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    filters: dict[str, Any] = {"grouped": wording.count}
    environment.filters.update(filters)
    return environment
