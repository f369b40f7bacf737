"""What the steps of a pipeline of one's own count: Beam's counters, on any runner."""

from __future__ import annotations

from apache_beam.metrics import Metrics

NAMESPACE = "attribeam"


def count(gradients: int = 0, refused: int = 0) -> None:
    """Add to `gradients`, the evaluations spent, and to `refused`, the examples that could not be explained."""
    for name, amount in (("gradients", gradients), ("refused", refused)):
        Metrics.counter(NAMESPACE, name).inc(amount)
