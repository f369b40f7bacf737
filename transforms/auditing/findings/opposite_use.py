"""A feature that speaks for the output in one group of rows and against it in another."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow.compute as pc

from transforms.auditing.audit_tables import AuditTables
from transforms.auditing.findings.finding import Finding, sentence
from transforms.auditing.findings.parts import OTHER, SliceParts, feature_measures, kept_slices
from transforms.auditing.findings.statistics import Doubles, Interval, mean_interval

# In both groups, five points of the mean row's Σ|A|
LEAST_SHARE = 0.05


def opposite_uses(audit: AuditTables, alpha: float) -> list[Finding]:
    """Between the values of a kept column; of each feature, the values at which it is most for and most against.

    Between labels a feature does that of itself: what speaks for one class speaks against another.
    """
    slices = [feature_measures(audit, name, "mean", "variance") for name in kept_slices(audit)]
    tests = max(sum(measures.tests for measures in slices), 1)
    return [finding for measures in slices for finding in _hits(audit, measures, alpha / tests)]


def _hits(audit: AuditTables, measures: SliceParts, alpha: float) -> Iterator[Finding]:
    if len(measures.values) < 2 or not measures.parts:
        return
    unit = _units(audit, measures)
    ends = mean_interval(measures.moments, alpha)
    told = np.array([[value != OTHER] for value in measures.values])
    with np.errstate(invalid="ignore", divide="ignore"):
        shares = Interval(np.where(told, ends.low / unit, np.nan), np.where(told, ends.high / unit, np.nan))
    above, below = np.nan_to_num(shares.low, nan=-np.inf), np.nan_to_num(shares.high, nan=np.inf)
    for column in np.flatnonzero((above.max(axis=0) >= LEAST_SHARE) & (below.min(axis=0) <= -LEAST_SHARE)):
        pair = int(above[:, column].argmax()), int(below[:, column].argmin())
        yield _finding(measures, int(column), pair, shares, unit)


def _finding(measures: SliceParts, column: int, pair: tuple[int, int], shares: Interval, unit: Doubles) -> Finding:
    positive, negative = pair
    part, means = measures.parts[column], measures.moments.mean[:, column] / unit[:, 0]
    up, down = (measures.rows_of(measures.values[value]) for value in pair)
    low = float(shares.low[positive, column] - shares.high[negative, column])
    high = float(shares.high[positive, column] - shares.low[negative, column])
    nearer = min(shares.low[positive, column], -shares.high[negative, column])
    return Finding(
        kind="opposite_use",
        severity="medium",
        title=sentence(f"{part} speaks for the output in {up}, and against it in {down}"),
        text=f"Its mean attribution is {means[positive]:+.1%} of Σ|A| in the one and {means[negative]:+.1%} in the "
        "other. Either its values lie on different sides of the baseline there, or the model uses it the other way "
        "round, as a code that means different things, or for a group that it treats differently. Compare both.",
        slice=measures.slice,
        value=measures.values[positive],
        input=part.input,
        features=(part.key,),
        evidence={
            "difference": means[positive] - means[negative],
            "mean_share": means[positive],
            "opposite_mean_share": means[negative],
            "opposite_rows": measures.moments.rows[negative, column],
        },
        interval=(low, high),
        rows=int(measures.moments.rows[positive, column]),
        strength=float(nearer / LEAST_SHARE),
    )


def _units(audit: AuditTables, measures: SliceParts) -> Doubles:
    """Σ over all features of mean |A| in each value, [values, 1]."""
    table = audit["features"].filter(pc.equal(audit["features"]["slice"], measures.slice))
    sums = table.group_by("value").aggregate([("mean_abs", "sum")])
    by_value = dict(zip(sums["value"].to_pylist(), sums["mean_abs_sum"].to_pylist(), strict=True))
    return np.array([[by_value[value]] for value in measures.values])
