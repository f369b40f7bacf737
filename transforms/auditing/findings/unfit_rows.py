"""Rows whose attribution says little or nothing: not converged, flat, not a number."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pyarrow.compute as pc

from transforms.auditing.audit_tables import AuditTables
from transforms.auditing.findings.finding import Finding, Severity
from transforms.auditing.findings.statistics import proportion_interval


class _Status(NamedTuple):
    """Shares of all rows at which a status is a finding, of low, medium and high severity."""

    low: float
    medium: float
    high: float
    title: str
    text: str


# Quantiles of the audit go from 1 % to 99 %: a share beyond moves them. One in twenty is more than chance is allowed
# anywhere here, one in five no longer an exception. Values that are no numbers are a defect at any share
_STATUSES = {
    "unconverged": _Status(
        0.01,
        0.05,
        0.20,
        "{share:.1%} of the rows have not converged",
        "Their completeness delta or error estimate is over the tolerance, so single values of their maps can be "
        "wrong. Where there are many, means of this audit are too. Give more attribution.max_steps, or see at which "
        "rows the output jumps.",
    ),
    "flat": _Status(
        0.05,
        0.20,
        0.50,
        "{share:.1%} of the rows are flat: the output is the same at the row and at the baseline",
        "Nothing is there to be explained in them, and what their maps show cancels. Check whether the baseline is "
        "like these rows, or the output saturated; explain the logits instead of probabilities, or move the baseline.",
    ),
    "nonfinite": _Status(
        0.0,
        0.0001,
        0.01,
        "{share:.1%} of the rows have values that are no numbers",
        "They are left out of every table of maps, so nothing here speaks for them. A value in the rows, or an "
        "operation of the model, overflows or divides by zero. Look at one of the rows.",
    ),
}


def unfit_rows(audit: AuditTables, alpha: float) -> list[Finding]:
    """One a status, over all rows."""
    rows = audit["slices"].filter(pc.equal(audit["slices"]["slice"], "all")).to_pylist()
    found = [_finding(rows[0], name, alpha / len(_STATUSES)) for name in _STATUSES] if rows else []
    return [finding for finding in found if finding]


def _finding(row: dict[str, int], name: str, alpha: float) -> Finding | None:
    status, count, rows = _STATUSES[name], row[name], row["rows"]
    if not count:
        return None
    share = count / rows
    ends = proportion_interval(np.array(float(count)), np.array(float(rows)), alpha)
    low = float(ends.low)
    if low <= status.low:
        return None
    return Finding(
        kind=f"{name}_rows",
        severity=_severity(status, low),
        title=status.title.format(share=share),
        text=status.text,
        slice="all",
        value="",
        input=None,
        features=(),
        evidence={"share": share, "rows": count, "least_share": status.low},
        interval=(low, float(ends.high)),
        rows=rows,
        strength=max(low / (status.low or status.medium), 1.0),
    )


def _severity(status: _Status, low: float) -> Severity:
    if low > status.high:
        return "high"
    return "medium" if low > status.medium else "low"
