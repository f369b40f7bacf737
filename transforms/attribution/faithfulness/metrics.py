"""The metrics by name: which way is better, and when a row has none."""

from __future__ import annotations

import dataclasses
from typing import Literal

Better = Literal["higher", "lower", "neither"]
FLAT_MAP = "the map is not finite, zero, or the same everywhere"


@dataclasses.dataclass(frozen=True)
class Metric:
    """What is known of a metric beforehand.

    Attributes:
        better: which way a map is better, all else equal; `neither` where it only describes.
        undefined: why a row may have none.
    """

    name: str
    better: Better
    undefined: str


METRICS = {
    metric.name: metric
    for metric in (
        Metric("insertion", "higher", FLAT_MAP),
        Metric("deletion", "lower", FLAT_MAP),
        Metric("infidelity", "lower", "the map is not finite"),
        Metric("infidelity_scaled", "lower", FLAT_MAP),
        Metric("sensitivity_max", "lower", FLAT_MAP),
        Metric("atv", "lower", FLAT_MAP),
        Metric("autvc", "lower", "the map is not finite, or a level of its pyramid is flat"),
        Metric("aupc", "lower", "the map is not finite or flat, or F is 0 at the row"),
        Metric("gini", "neither", FLAT_MAP),
        Metric("entropy", "neither", FLAT_MAP),
        Metric("randomisation", "lower", "one of the two maps is not finite or flat"),
    )
}
