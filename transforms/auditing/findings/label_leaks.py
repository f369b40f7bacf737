"""A feature that tells the label alone: it matters, and speaks for the label in practically every row."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow.compute as pc

from transforms.auditing.audit_tables import AuditTables
from transforms.auditing.findings.finding import Finding, sentence
from transforms.auditing.findings.parts import Part, SliceParts, feature_measures
from transforms.auditing.findings.statistics import Interval, mean_interval, proportion_interval

# A measurement that is worth something errs in some rows; what was made from the label does not
LEAST_RIGHT = 0.90


def label_leaks(audit: AuditTables, alpha: float) -> list[Finding]:
    """Of the features that surely have more of the map than they would if all had the same."""
    shares = feature_measures(audit, "all", "share_mean", "share_variance")
    count = len(shares.parts)
    if count < 3:
        return []
    tested = alpha / (2 * count)
    strong = mean_interval(shares.moments.as_shares(), tested).low[0] >= 1 / count
    found = []
    for column in map(int, np.flatnonzero(strong)):
        hits, rows = _hits(audit, shares.parts[column])
        ends = proportion_interval(np.array(hits), np.array(rows), tested)
        if ends.low >= LEAST_RIGHT:
            found.append(_finding(shares, column, hits / rows, ends))
    return found


def _hits(audit: AuditTables, part: Part) -> tuple[float, float]:
    """Rows in which the feature speaks for the label, as far as quantiles tell, and all (0, 0: not in each class)."""
    table = audit["features"]
    mine = pc.and_(pc.equal(table["slice"], "label"), pc.equal(table["input"], part.input))
    labels = table.filter(pc.and_(mine, pc.equal(table["position"], part.key))).to_pylist()
    signs = [_sign(label) for label in labels]
    if audit.about.get("run", {}).get("target") in ("label", "predicted"):
        sided = all(sign > 0 for sign in signs)
    else:
        # of one output, what speaks for one class speaks against another
        sided = min(signs, default=0) < 0 < max(signs, default=0) and all(signs)
    if len(labels) < 2 or not sided:
        return 0.0, 0.0
    hits = sum(abs(sign) * label["rows"] for sign, label in zip(signs, labels, strict=True))
    return hits, float(sum(label["rows"] for label in labels))


def _sign(label: Mapping[str, Any]) -> float:
    """The share of rows that surely have the sign which most have, with it; 0 when it is less than 0.95."""
    quantiles = {"p01": 0.99, "p05": 0.95, "p99": -0.99, "p95": -0.95}
    return next((share for name, share in quantiles.items() if (label[name] or 0) * share > 0), 0.0)


def _finding(shares: SliceParts, first: int, right: float, ends: Interval) -> Finding:
    part, share = shares.parts[first], float(shares.moments.mean[0, first])
    return Finding(
        kind="label_leak",
        severity="high",
        title=sentence(f"{part} tells the label alone: it speaks for it in {right:.0%} of the rows, or more"),
        text=f"It is one of {len(shares.parts)} features, and has {share:.0%} of the attribution. What is never "
        "wrong was often made from the label, or filled in once it was known, and will not be there when the "
        "model is used. Check how and when the column is filled, and how good the model is without it.",
        slice="all",
        value="",
        input=part.input,
        features=(part.key,),
        evidence={"right": right, "share": share, "features": len(shares.parts), "least_right": LEAST_RIGHT},
        interval=(float(ends.low), float(ends.high)),
        rows=int(shares.moments.rows[0, first]),
        strength=float(ends.low) / LEAST_RIGHT,
    )
