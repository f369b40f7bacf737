"""Rows that the model gets wrong, and looks at otherwise than at the right rows of the same classes."""

from __future__ import annotations

import numpy as np

from transforms.auditing.audit_tables import AuditTables
from transforms.auditing.findings.finding import Finding
from transforms.auditing.findings.parts import Part, SliceParts, map_shares, region_words, slice_words
from transforms.auditing.findings.statistics import Doubles, Interval, Moments, around

SLICE, RIGHT, WRONG = "label,correct", ",right", ",wrong"
# Five points of the map
LEAST_DIFFERENCE = 0.05


def wrong_rows(audit: AuditTables, alpha: float) -> list[Finding]:
    """Of each class, and of all together; the part of the map that differs most."""
    found = []
    for shares in map_shares(audit, SLICE):
        labels = [value.removesuffix(WRONG) for value in shares.values if value.endswith(WRONG)]
        labels = [label for label in labels if label + RIGHT in shares.values]
        groups = [[label] for label in labels] + ([labels] if len(labels) > 1 else [])
        level = alpha / max(2 * len(groups) * len(shares.parts), 1)
        found += [finding for labels in groups if (finding := _compared(shares, labels, level))]
    return found


def _compared(shares: SliceParts, labels: list[str], alpha: float) -> Finding | None:
    wrong = shares.moments[shares.named(*(label + WRONG for label in labels))]
    right = shares.moments[shares.named(*(label + RIGHT for label in labels))]
    together, expected = wrong.together(), _expected(wrong, right)
    error = together.as_shares().error() + expected.error()
    interval = around(together.mean - expected.mean, error, np.minimum(together.rows, right.rows.sum(axis=0)), alpha)
    nearer = np.nan_to_num(np.fmax(interval.low, -interval.high), nan=-1.0)
    column = int(nearer.argmax())
    if nearer[column] < LEAST_DIFFERENCE:
        return None
    value = labels[0] if len(labels) == 1 else ""
    ends = Interval(interval.low[column], interval.high[column])
    pair = float(together.mean[column]), float(expected.mean[column])
    which = slice_words("label", value, shares.classes) if value else "rows of every class"
    return _finding(shares.parts[column], (value, which), pair, ends, int(together.rows[column]))


def _expected(wrong: Moments, right: Moments) -> Moments:
    """Of right rows with as much of each class as the wrong rows have of it (direct standardisation).

    Its `rows` are 1, so that `error()` is that of the mean.
    """
    weights: Doubles = wrong.rows / wrong.rows.sum(axis=0)
    shares = right.as_shares()
    return Moments(
        np.ones(wrong.mean.shape[1]), (weights * right.mean).sum(axis=0), (weights**2 * shares.error()).sum(axis=0)
    )


def _finding(part: Part, group: tuple[str, str], pair: tuple[float, float], ends: Interval, rows: int) -> Finding:
    (label, which), (wrong, right) = group, pair
    low, high = float(ends.low), float(ends.high)
    place = region_words(part.key) if isinstance(part.key, str) else str(part)
    return Finding(
        kind="wrong_rows_differ",
        severity="medium",
        title=f"Where the model is wrong, {place} has {wrong:.0%} of the map; where it is right, {right:.0%}",
        text=f"Wrong and right {which} are compared, with as much of each class among the right as among the wrong. "
        "What the model looks at when it errs can tell why: something that hides the object, or another that it is "
        "taken for. Look at the worst and the most atypical of the wrong rows.",
        slice=SLICE if label else "correct",
        value=label + WRONG if label else WRONG[1:],
        input=part.input,
        features=(part.key,),
        evidence={"difference": wrong - right, "share_when_wrong": wrong, "share_when_right": right},
        interval=(low, high),
        rows=rows,
        strength=max(low, -high) / LEAST_DIFFERENCE,
    )
