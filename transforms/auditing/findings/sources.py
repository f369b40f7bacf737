"""A file whose rows are explained otherwise than those of the other files."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

from transforms.auditing.audit_tables import AuditTables
from transforms.auditing.findings.excess import Excess, excess
from transforms.auditing.findings.finding import Finding
from transforms.auditing.findings.parts import map_shares, region_words
from transforms.errors import quoted

SLICE = "source_file"
# Ten points of the map
LEAST_DIFFERENCE = 0.10
MOST_FILES = 20


def sources(audit: AuditTables, alpha: float) -> list[Finding]:
    """One a file, at the part of the map that differs most."""
    measured = map_shares(audit, SLICE)
    found = dict[str, Finding]()
    for shares in measured:
        compared = excess(shares, alpha / len(measured))
        for where in _odd_ones(compared, alpha / len(measured)):
            finding = _finding(compared, where)
            if finding.value not in found or found[finding.value].strength < finding.strength:
                found[finding.value] = finding
    return list(found.values())


def _odd_ones(compared: Excess, alpha: float) -> Iterator[tuple[int, int]]:
    """The file that differs most, then that which does without it, and so on: else the files that do not differ from
    one another would, from a mean in which the odd one has its part."""
    shares, left = compared.shares, list(range(len(compared.shares.values)))
    sure = {tuple(map(int, where)) for where in compared.differences(LEAST_DIFFERENCE)}
    for _ in range(MOST_FILES):
        rest = dataclasses.replace(
            shares, values=tuple(shares.values[row] for row in left), moments=shares.moments[left]
        )
        again = excess(rest, alpha)
        hits = [(row, column) for row, column in again.differences(LEAST_DIFFERENCE) if (left[row], column) in sure]
        if not hits:
            return
        nearer = again.nearer()
        row, column = max(hits, key=nearer.__getitem__)
        yield left.pop(row), int(column)


def _finding(compared: Excess, where: tuple[int, int]) -> Finding:
    shares = compared.shares
    file, part = shares.values[where[0]], shares.parts[where[1]]
    share, others = float(shares.moments.mean[where]), float(compared.others.mean[where])
    place = region_words(part.key) if isinstance(part.key, str) else str(part)
    return Finding(
        kind="source_differs",
        severity="medium",
        title=f"The file {quoted(file)} differs: {place} has {share:.0%} of its maps, {others:.0%} in the other files",
        text="Rows of one file that are explained otherwise were often made otherwise: by another device, site, or "
        "version of a pipeline. Check whether the file holds other classes than the rest, which explains it; else "
        "compare its raw values.",
        slice=SLICE,
        value=file,
        input=part.input,
        features=(part.key,),
        evidence={"difference": share - others, "share": share, "share_of_others": others},
        interval=(float(compared.interval.low[where]), float(compared.interval.high[where])),
        rows=int(shares.moments.rows[where]),
        strength=float(compared.nearer()[where]) / LEAST_DIFFERENCE,
    )
