"""From F(x′) to F(x), feature by feature: the bars of one row."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from pipeline.report import wording

TOP = 10
# The axis begins at 0, unless that leaves the steps less than a third of it; then it is cut, a tenth before them.
LEAST_STEPS, MARGIN = 1 / 3, 0.1


@dataclasses.dataclass(frozen=True)
class Bar:
    """One step, from `start` over `width`, both in percent of the axis.

    Attributes:
        tone: `for`, `against`, or `total`.
    """

    label: str
    value: str
    start: float
    width: float
    tone: str


def waterfall(steps: Sequence[tuple[str, float]], baseline_output: float, output: float, delta: float) -> list[Bar]:
    """The strongest steps in order, the others as one, what the sum misses, and the two outputs around them.

    Args:
        steps: name and attribution of each feature; together F(x) − F(x′) + delta.
    """
    finite = [(label, value if np.isfinite(value) else 0.0) for label, value in steps]
    ordered = sorted(finite, key=lambda step: -abs(step[1]))
    shown, others = ordered[:TOP], ordered[TOP:]
    if others:
        shown = [*shown, (f"{wording.count(len(others))} others", sum(value for _, value in others))]
    if delta:
        shown = [*shown, ("delta, which the sum misses", -delta)]
    ends = baseline_output + np.cumsum([0.0, *(value for _, value in shown)])
    low, high = _axis(min(float(ends.min()), output), max(float(ends.max()), output))
    extent, zero = (high - low) or 1.0, min(max(0.0, low), high)

    def bar(label: str, value: str, between: tuple[float, float], tone: str) -> Bar:
        left, right = min(between), max(between)
        return Bar(label, value, round(100 * (left - low) / extent, 2), round(100 * (right - left) / extent, 2), tone)

    return [
        bar("F(x′)", wording.number(baseline_output), (zero, baseline_output), "total"),
        *(
            bar(label, wording.signed(value), (float(start), float(start) + value), "for" if value >= 0 else "against")
            for (label, value), start in zip(shown, ends, strict=False)
        ),
        bar("F(x)", wording.number(output), (zero, output), "total"),
    ]


def _axis(low: float, high: float) -> tuple[float, float]:
    """The ends of the axis of steps between `low` and `high`."""
    whole = min(low, 0.0), max(high, 0.0)
    if high - low >= LEAST_STEPS * (whole[1] - whole[0]) or high == low:
        return whole
    margin = MARGIN * (high - low)
    return (low - margin, high) if low > 0 else (low, high + margin)
