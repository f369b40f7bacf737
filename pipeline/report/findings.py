"""What the audit found, ranked, each with its evidence and a picture of where it is."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from pipeline.report import pictures, wording
from pipeline.report.confusion import class_anchor
from pipeline.report.pictures import Picture
from pipeline.report.stored import CORRECT, LABEL, LABEL_CORRECT, WHOLE, Stored

SENTENCE_CHARACTERS = 600
MAX_FEATURES, MAX_EVIDENCE, MAX_FINDINGS = 12, 24, 200
TONES = {"high": "bad", "medium": "warn", "low": "quiet"}


@dataclasses.dataclass(frozen=True)
class Finding:
    """One finding as it is read.

    Attributes:
        evidence: name and number, the main one's interval among them.
        href: the section of its class, or nothing.
        features: the strongest of what it is about.
    """

    anchor: str
    severity: str
    tone: str
    title: str
    text: str
    where: str
    href: str
    features: Sequence[str]
    evidence: Sequence[tuple[str, str]]
    pictures: Sequence[Picture]


@dataclasses.dataclass(frozen=True)
class Findings:
    """The section: how many there are of each severity, and the first of them."""

    counts: Sequence[tuple[str, str, int]]
    shown: Sequence[Finding]
    total: int


def findings(stored: Stored) -> Findings:
    """The findings of `audit.json`, in their order."""
    found = sorted(stored.about.get("findings") or [], key=lambda finding: finding.get("rank") or 0)
    kinds = [str(finding.get("severity")) for finding in found]
    counts = [(severity, tone, kinds.count(severity)) for severity, tone in TONES.items() if severity in kinds]
    return Findings(counts, [_finding(stored, entry) for entry in found[:MAX_FINDINGS]], len(found))


def _finding(stored: Stored, entry: Mapping[str, Any]) -> Finding:
    severity = str(entry.get("severity"))
    key = str(entry.get("slice") or WHOLE[0]), str(entry.get("value") or "")
    return Finding(
        wording.slug("finding", entry.get("id")),
        wording.name(severity),
        TONES.get(severity, "quiet"),
        wording.name(entry.get("title"), SENTENCE_CHARACTERS),
        wording.name(entry.get("text"), SENTENCE_CHARACTERS),
        stored.slice_name(key),
        _href(stored, key),
        [_feature(stored, entry, feature) for feature in list(entry.get("features") or [])[:MAX_FEATURES]],
        _evidence(entry),
        _pictures(stored, entry, key),
    )


def _href(stored: Stored, key: tuple[str, str]) -> str:
    column, value = key
    if column in (LABEL, LABEL_CORRECT):
        return class_anchor(stored, value.rpartition(",")[0] if column == LABEL_CORRECT else value)
    return "rows" if column == CORRECT else ""


def _feature(stored: Stored, entry: Mapping[str, Any], feature: object) -> str:
    """A token or a region is its own name; a position has one where its features do."""
    if not isinstance(feature, int):
        return wording.name(feature)
    names = stored.feature_names(str(entry.get("input")))
    return wording.name(names.get(feature, f"position {feature}"))


def _evidence(entry: Mapping[str, Any]) -> list[tuple[str, str]]:
    pairs = [(_words(name), _value(value)) for name, value in list((entry.get("evidence") or {}).items())]
    interval = entry.get("interval")
    if isinstance(interval, Sequence) and len(interval) == 2 and not isinstance(interval, str):
        confidence = entry.get("confidence")
        level = "interval" if confidence is None else f"{float(confidence) * 100:.4g} % interval"
        pairs.append((level, f"{_value(interval[0])} to {_value(interval[1])}"))
    if entry.get("rows") is not None:
        pairs.append(("rows", _value(entry["rows"])))
    return pairs[:MAX_EVIDENCE]


def _words(name: object) -> str:
    return wording.name(str(name).replace("_", " "))


def _value(value: object) -> str:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return wording.name(value)
    return wording.count(value) if isinstance(value, int) else wording.number(value)


def _pictures(stored: Stored, entry: Mapping[str, Any], key: tuple[str, str]) -> list[Picture]:
    """The slice's mean maps, of the input that it is about."""
    found = []
    for explained in stored.inputs:
        if explained.name == entry.get("input"):
            for column, draw, caption in (
                ("mean", pictures.signed, "mean of A"),
                ("mean_abs", pictures.magnitude, "mean of abs(A)"),
            ):
                values = stored.map_of(key, explained, column)
                if values is not None:
                    found.append(draw(values, side=64).called(caption))
    return found
