"""A token that acts as a shortcut: a class is told by one word."""

from __future__ import annotations

import numpy as np

from transforms.auditing.audit_tables import AuditTables
from transforms.auditing.findings.excess import Excess, excess
from transforms.auditing.findings.finding import Finding
from transforms.auditing.findings.parts import class_slice, token_shares
from transforms.errors import quoted

# Ten points of the map more than in the other classes, and three times as much
LEAST_EXCESS, TIMES_OTHERS = 0.10, 3.0
# Many words share the work of a class that is told by what is said
TIMES_NEXT = 2.0


def token_shortcuts(audit: AuditTables, alpha: float) -> list[Finding]:
    """Tokens that have much of one class's maps, little of the others', and that no other token comes near to."""
    name = class_slice(audit)
    if name is None:
        return []
    measured = excess(token_shares(audit, name, LEAST_EXCESS / 2), alpha)
    found = []
    for value, column in measured.hits(LEAST_EXCESS, TIMES_OTHERS):
        shares = np.sort(measured.shares.moments.mean[value])[::-1]
        following = float(shares[1]) if len(shares) > 1 else 0.0
        if measured.shares.moments.mean[value, column] >= TIMES_NEXT * following:
            found.append(_finding(measured, (value, column), following))
    return found


def _finding(measured: Excess, where: tuple[np.int64, np.int64], following: float) -> Finding:
    shares = measured.shares
    value, part = shares.values[where[0]], shares.parts[where[1]]
    share, others = float(shares.moments.mean[where]), float(measured.others.mean[where])
    low, high = float(measured.interval.low[where]), float(measured.interval.high[where])
    return Finding(
        kind="token_shortcut",
        severity="high",
        title=f"The token {part} has {share:.0%} of the attribution in {shares.rows_of(value)}",
        text=f"In the other classes it has {others:.1%} of the map; the next token here has {following:.0%} or less. A "
        "name, a tag or a phrase that comes with one class lets a model tell it without reading the rest. Look at rows "
        f"that hold {quoted(part.key)}, and at what the model says without it.",
        slice=shares.slice,
        value=value,
        input=part.input,
        features=(part.key,),
        evidence={"excess": share - others, "share": share, "share_of_others": others, "next_share": following},
        interval=(low, high),
        rows=int(shares.moments.rows[where]),
        strength=low / LEAST_EXCESS,
    )
