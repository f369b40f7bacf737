"""Tables of an audit, made to hold a finding or to stop just short of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from audited import tables

from transforms.auditing.audit_tables import AuditTables
from transforms.auditing.findings.finding import Finding
from transforms.auditing.findings.ranking import findings

ROWS = 200
REGION = {"input": "image", "rows": ROWS, "share_variance": 0.01}
TOKEN = {"input": "text", "rows": ROWS, "share_variance": 0.01}
FEATURE = {"input": "x", "rows": ROWS, "variance": 0.01, "share_variance": 0.001, "mean_abs": 0.1, "mean": 0.0}


def kinds(audit: AuditTables) -> list[str]:
    return [finding.kind for finding in findings(audit)]


def one(audit: AuditTables) -> Finding:
    """The only finding."""
    (found,) = findings(audit)
    assert found.rank == 1 and found.confidence == 0.95 and found.strength >= 1
    assert found.interval[0] < next(iter(found.evidence.values())) < found.interval[1]
    return found


def in_slices(slice_name: str, values: Sequence[str], rows: int = ROWS, **more: Any) -> list[dict[str, Any]]:
    """Rows of slices.parquet, and that of all."""
    counts = {"rows": rows, "ok": rows, "unconverged": 0, "flat": 0, "nonfinite": 0}
    whole = counts | {"slice": "all", "value": "", "rows": rows * len(values), "ok": rows * len(values)}
    return [whole] + [counts | {"slice": slice_name, "value": value} | more for value in values]


def by_value(
    slice_name: str, cell: Mapping[str, Any], shares: Mapping[str, Mapping[Any, float]], key: str
) -> list[Any]:
    """Rows of a table: by value, by part, the mean share."""
    where = {"slice": slice_name}
    return [
        where | cell | {"value": value, key: part, "share_mean": mean, "area_share": 1 / 16}
        for value, parts in shares.items()
        for part, mean in parts.items()
    ]


def regions(shares: Mapping[str, Mapping[Any, float]], slice_name: str = "label", **cell: Any) -> AuditTables:
    rows = by_value(slice_name, REGION | cell, shares, "region")
    return tables({}, slices=in_slices(slice_name, list(shares)), regions=rows)


def tokens(shares: Mapping[str, Mapping[Any, float]]) -> AuditTables:
    rows = [
        {name: one for name, one in row.items() if name != "area_share"}
        for row in by_value("label", TOKEN, shares, "token")
    ]
    return tables({}, slices=in_slices("label", list(shares)), tokens=rows)


def features(shares: Mapping[str, Mapping[Any, float]], slice_name: str = "all", **cell: Any) -> AuditTables:
    rows = by_value(slice_name, FEATURE | cell, shares, "position")
    rows = [{name: one for name, one in row.items() if name != "area_share"} for row in rows]
    return tables({}, slices=in_slices(slice_name, list(shares)), features=rows)


def signed(means: Mapping[str, float], slice_name: str = "keep:site", rows: int = ROWS) -> AuditTables:
    """Two features, of which the first has these means; Σ mean |A| is 1."""
    cells = [
        FEATURE
        | {"slice": slice_name, "value": value, "position": position, "mean": mean, "mean_abs": 0.5, "rows": rows}
        for value, first in means.items()
        for position, mean in ((0, first), (1, 0.0))
    ]
    return tables({}, slices=in_slices(slice_name, list(means)), features=cells)
