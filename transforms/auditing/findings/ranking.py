"""`findings`: everything that an audit's tables say, the most serious first."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np

from transforms.auditing.audit_tables import AuditTables
from transforms.auditing.findings.confident_baseline import confident_baselines
from transforms.auditing.findings.dominance import dominant_features
from transforms.auditing.findings.finding import SEVERITIES, Finding
from transforms.auditing.findings.image_cues import image_cues
from transforms.auditing.findings.label_leaks import label_leaks
from transforms.auditing.findings.opposite_use import opposite_uses
from transforms.auditing.findings.sources import sources
from transforms.auditing.findings.token_shortcuts import token_shortcuts
from transforms.auditing.findings.unfit_rows import unfit_rows
from transforms.auditing.findings.wrong_rows import wrong_rows

# Of all intervals together
CONFIDENCE = 0.95
# A thousand files that all differ are one thing to know, not a thousand
MOST_OF_A_KIND = 20

Search = Callable[[AuditTables, float], list[Finding]]
SEARCHES: tuple[Search, ...] = (
    image_cues,
    token_shortcuts,
    label_leaks,
    dominant_features,
    unfit_rows,
    wrong_rows,
    opposite_uses,
    sources,
    confident_baselines,
)


def findings(audit: AuditTables, confidence: float = CONFIDENCE) -> list[Finding]:
    """What the tables say, ranked; by docs/audit_findings.md.

    Args:
        confidence: the chance that all intervals hold together, whatever the number of things tested.

    Returns:
        at most 20 of each search, by severity, and within one by how far each is beyond its threshold.
    """
    found = list[Finding]()
    # a mean over no rows, or a variance of one, is no number; what is no number is never beyond a threshold
    with np.errstate(invalid="ignore", divide="ignore"):
        for search in SEARCHES:
            found += sorted(search(audit, (1 - confidence) / len(SEARCHES)), key=_order)[:MOST_OF_A_KIND]
    ranked = sorted(found, key=_order)
    return [dataclasses.replace(one, rank=rank, confidence=confidence) for rank, one in enumerate(ranked, 1)]


def _order(finding: Finding) -> tuple[int, float, str]:
    return SEVERITIES.index(finding.severity), -finding.strength, finding.id
