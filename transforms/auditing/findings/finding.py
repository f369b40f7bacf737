"""`Finding`: one thing that the tables say, with what it rests on."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np

from transforms.storage.manifest import to_json

Severity = Literal["high", "medium", "low"]
SEVERITIES: tuple[Severity, ...] = ("high", "medium", "low")


@dataclasses.dataclass(frozen=True)
class Finding:
    """One thing that the tables say.

    Attributes:
        kind: what sort of thing, a slug.
        severity: `high`: the results, or the model, cannot be relied on as they are; `medium`: look before you do;
            `low`: know of it.
        title: one plain sentence.
        text: what was seen, why it matters, what to check.
        slice, value: the rows that it is about, as in the tables.
        input: what is explained; None where it is about rows, not about their maps.
        features: positions, regions or tokens.
        evidence: numbers, by name.
        interval: of the main number, the first of the evidence; all intervals of an audit hold together with the
            chance `confidence`.
        rows: in the slice.
        strength: the interval's end that is nearer to nothing, over the threshold; at least 1.
        rank: 1 for the first.
    """

    kind: str
    severity: Severity
    title: str
    text: str
    slice: str
    value: str
    input: str | None
    features: tuple[str | int, ...]
    evidence: Mapping[str, float]
    interval: tuple[float, float]
    rows: int
    strength: float
    confidence: float = 0.0
    rank: int = 0

    @property
    def id(self) -> str:
        """The same for the same thing in every audit; safe in a link, whatever strangers name their columns."""
        about = to_json([self.kind, self.slice, self.value, self.input, list(self.features)])
        return f"{self.kind.replace('_', '-')}-{hashlib.sha256(about).hexdigest()[:10]}"

    def to_dict(self) -> dict[str, Any]:
        """As it stands in audit.json: plain values, every number finite."""
        plain = dataclasses.asdict(self) | {"id": self.id, "features": list(self.features)}
        plain["evidence"] = {name: _plain(number) for name, number in self.evidence.items()}
        plain["interval"] = [_plain(end) for end in self.interval]
        return plain | {"strength": _plain(self.strength), "rows": int(self.rows)}


def sentence(words: str) -> str:
    """The words with a capital at their beginning."""
    return words[:1].upper() + words[1:]


def _plain(number: float) -> float | None:
    return float(number) if np.isfinite(number) else None
