"""A class that is explained by one corner, border or cell of the image: a cue beside the object, perhaps."""

from __future__ import annotations

from transforms.auditing.audit_tables import AuditTables
from transforms.auditing.findings.excess import LEAST_OTHERS, Excess, excess
from transforms.auditing.findings.finding import Finding, Severity, sentence
from transforms.auditing.findings.parts import Part, class_slice, region_areas, region_shares, region_words

# Five points of the map more than in the other classes, and three times as much
LEAST_EXCESS, TIMES_OTHERS = 0.05, 3.0
# Where there are too few classes to tell how much they differ there by themselves
TIMES_FEW_OTHERS = 10.0
# Objects stand in the middle
_INNER = {f"cell_{row}_{column}" for row in (1, 2) for column in (1, 2)}


def image_cues(audit: AuditTables, alpha: float) -> list[Finding]:
    """One a class and input: of the regions that say so, the one that holds most for its area."""
    name = class_slice(audit)
    if name is None:
        return []
    measured, areas = excess(region_shares(audit, name), alpha / 2), region_areas(audit)
    found = dict[tuple[str, str], tuple[tuple[float, bool], Finding]]()
    for value, column in _hits(measured, alpha / 2):
        part = measured.shares.parts[column]
        if part.key == "centre":
            continue
        # of a corner and a cell that are the same pixels, the corner
        density = float(measured.interval.low[value, column]) / areas[part], str(part.key).startswith("corner")
        finding = _finding(measured, (value, column), areas[part])
        best = found.get((finding.value, part.input))
        if best is None or density > best[0]:
            found[finding.value, part.input] = density, finding
    return [finding for _, finding in found.values()]


def _hits(measured: Excess, alpha: float) -> list[tuple[int, int]]:
    times = TIMES_FEW_OTHERS if len(measured.shares.values) <= LEAST_OTHERS else TIMES_OTHERS
    unlike = measured.unlike_others(alpha) | (times == TIMES_FEW_OTHERS)
    return [(value, column) for value, column in measured.hits(LEAST_EXCESS, times) if unlike[value, column]]


def _finding(measured: Excess, where: tuple[int, int], area: float) -> Finding:
    shares = measured.shares
    value, part = shares.values[where[0]], shares.parts[where[1]]
    share, others = float(shares.moments.mean[where]), float(measured.others.mean[where])
    low, high = float(measured.interval.low[where]), float(measured.interval.high[where])
    place = region_words(str(part.key))
    return Finding(
        kind="image_cue",
        severity=_severity(part),
        title=sentence(f"{place} has {share:.0%} of the attribution in {shares.rows_of(value)}"),
        text=f"It is {area:.1%} of the image and has {others:.1%} of the map in the other classes. A mark, a border or "
        "a background that comes with one class lets a model tell it without looking at the object. Look at the "
        "typical rows of the class there, and at what the model says when that place is covered.",
        slice=shares.slice,
        value=value,
        input=part.input,
        features=(part.key,),
        evidence={"excess": share - others, "share": share, "share_of_others": others, "area_share": area},
        interval=(low, high),
        rows=int(shares.moments.rows[where]),
        strength=low / LEAST_EXCESS,
    )


def _severity(part: Part) -> Severity:
    return "medium" if part.key in _INNER else "high"
