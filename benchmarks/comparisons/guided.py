"""Guided integrated gradients, against PAIR's."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from benchmarks.comparisons.checks import Check, Ground, attributions, differences
from benchmarks.peer_workers.launcher import Worker

STEPS, FRACTION, MAX_DIST = 50, 0.25, 0.02
# Two features whose gradients are equal to rounding move in either order, and from there on the paths are two.
SAME, LEAST_SAME = 1e-4, 0.95


def of_inputs(ground: Ground, peer: str, worker: Worker) -> Iterator[Check]:
    """From zeros, with PAIR's default fraction and distance."""
    method = {"name": "guided_integrated_gradients", "fraction": FRACTION, "max_dist": MAX_DIST}
    explainer = ground.explainer(ground.model(), method=method, steps=STEPS, rule="nested")
    found = explainer.explain(ground.case.inputs, ground.case.labels)
    arguments = {"x_steps": STEPS, "fraction": FRACTION, "max_dist": MAX_DIST}
    theirs = ground.ask(worker, len(found), {"method": "GuidedIG", "arguments": arguments})
    apart = differences(theirs, attributions(found))
    share = float(np.mean(apart <= SAME))
    expected = f"{LEAST_SAME:.0%} of the rows equal to {SAME:g} of the row's largest value"
    measured = {"median": float(np.median(apart)), "share_same": share}
    yield Check(
        "guided integrated gradients",
        peer,
        ground.name,
        len(apart),
        float(apart.max()),
        expected,
        share >= LEAST_SAME,
        measured,
    )
