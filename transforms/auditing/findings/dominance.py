"""A feature that dominates: one column of a table has most of what the model makes of a row."""

from __future__ import annotations

import numpy as np

from transforms.auditing.audit_tables import AuditTables
from transforms.auditing.findings.finding import Finding, sentence
from transforms.auditing.findings.parts import OTHER, SliceParts, class_slice, feature_measures
from transforms.auditing.findings.statistics import Interval, mean_interval

# More than a third of everything, and as much as the next two together: among many features none should stand so alone.
# Of few features each has much: then twice what each would have if all had the same.
LEAST_SHARE, TIMES_EVEN, TIMES_NEXT = 1 / 3, 2.0, 2.0
HIGH_SHARE = 0.5


def dominant_features(audit: AuditTables, alpha: float) -> list[Finding]:
    """In all rows, or in those of one class."""
    classes = class_slice(audit)
    slices = [feature_measures(audit, name, "share_mean", "share_variance") for name in ("all", classes) if name]
    tests = sum(shares.tests for shares in slices)
    found = dict[tuple[str | None, str | int], Finding]()
    for shares in slices:
        hits = sorted(_hits(shares, alpha / max(tests, 1)), key=lambda finding: -finding.strength)
        for finding in hits:
            # what holds of all rows is not said again of a class
            found.setdefault((finding.input, finding.features[0]), finding)
    return list(found.values())


def _hits(shares: SliceParts, alpha: float) -> list[Finding]:
    count = len(shares.parts)
    if count < 3:
        return []
    threshold = max(LEAST_SHARE, TIMES_EVEN / count)
    moments = shares.moments
    ends = mean_interval(moments.as_shares(), alpha)
    ordered = np.argsort(moments.mean, axis=1)
    found = []
    for value, (first, second) in enumerate(zip(ordered[:, -1], ordered[:, -2], strict=True)):
        here = value, first
        alone = moments.mean[here] >= TIMES_NEXT * moments.mean[value, second]
        if ends.low[here] >= threshold and alone and shares.values[value] != OTHER:
            found.append(_finding(shares, (value, first, second), threshold, ends))
    return found


def _finding(shares: SliceParts, where: tuple[int, int, int], threshold: float, ends: Interval) -> Finding:
    value, first, second = where
    part, low, high = shares.parts[first], float(ends.low[value, first]), float(ends.high[value, first])
    share, following = shares.moments.mean[value, first], shares.moments.mean[value, second]
    rows = shares.rows_of(shares.values[value])
    return Finding(
        kind="dominant_feature",
        severity="high" if low >= HIGH_SHARE else "medium",
        title=sentence(f"{part} dominates: it has {share:.0%} of the attribution in {rows}"),
        text=f"Of {len(shares.parts)} features, the next has {following:.0%}. A single feature that decides is often "
        "one that will not be there, or not be right, when the model is used: one filled in after the fact, or made "
        "from the label. Check where it comes from, and how good the model is without it.",
        slice=shares.slice,
        value=shares.values[value],
        input=part.input,
        features=(part.key,),
        evidence={"share": share, "next_share": following, "features": len(shares.parts), "least_share": threshold},
        interval=(low, high),
        rows=int(shares.moments.rows[value, first]),
        strength=low / threshold,
    )
