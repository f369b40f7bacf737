"""`OUT/_audit/report.html`: the report of an audit, with the inputs of the rows that it draws."""

from __future__ import annotations

from pipeline.audit_originals import read_originals
from pipeline.report.html import drawn_rows, render
from transforms.auditing.audit_tables import FOLDER, AuditTables, replace_file
from transforms.storage.place import Place

REPORT = f"{FOLDER}/report.html"


def publish_report(place: Place, audit: AuditTables) -> str:
    """Write the report of a run's audit over the one that is there, and return its name below the run's directory.

    Inputs that cannot be read any more are said in it.
    """
    shapes = {name: entry["shape"] for name, entry in (audit.about.get("inputs") or {}).items()}
    page = render(audit, read_originals(place, drawn_rows(audit), shapes))
    replace_file(place, page.encode("utf-8"), REPORT)
    return REPORT
