"""A file whose rows are explained otherwise than those of the other files."""

from __future__ import annotations

import numpy as np

from transforms.auditing.audit_tables import AuditTables
from transforms.auditing.findings.excess import Excess, excess
from transforms.auditing.findings.finding import Finding
from transforms.auditing.findings.parts import map_shares, region_words
from transforms.errors import quoted

SLICE = "source_file"
# Ten points of the map
LEAST_DIFFERENCE = 0.10


def sources(audit: AuditTables, alpha: float) -> list[Finding]:
    """One a file, at the part of the map that differs most."""
    measured = map_shares(audit, SLICE)
    found = dict[str, Finding]()
    for shares in measured:
        compared = excess(shares, alpha / len(measured))
        for value, column in compared.differences(LEAST_DIFFERENCE):
            finding = _finding(compared, (value, column))
            if finding.value not in found or found[finding.value].strength < finding.strength:
                found[finding.value] = finding
    return list(found.values())


def _finding(compared: Excess, where: tuple[np.int64, np.int64]) -> Finding:
    shares = compared.shares
    file, part = shares.values[where[0]], shares.parts[where[1]]
    share, others = float(shares.moments.mean[where]), float(compared.others.mean[where])
    place = region_words(part.key) if isinstance(part.key, str) else str(part)
    return Finding(
        kind="source_differs",
        severity="medium",
        title=f"The file {quoted(file)} differs: {place} has {share:.0%} of its maps, {others:.0%} in the other files",
        text="Rows of one file that are explained otherwise were often made otherwise: by another device, site, or version "
        "of a pipeline. Check whether the file holds other classes than the rest, which explains it; else compare its raw "
        "values.",
        slice=SLICE,
        value=file,
        input=part.input,
        features=(part.key,),
        evidence={"difference": share - others, "share": share, "share_of_others": others},
        interval=(float(compared.interval.low[where]), float(compared.interval.high[where])),
        rows=int(shares.moments.rows[where]),
        strength=float(compared.nearer()[where]) / LEAST_DIFFERENCE,
    )
