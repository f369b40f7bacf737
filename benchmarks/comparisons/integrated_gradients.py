"""Integrated gradients of inputs and of an embedding, against alibi and captum."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from benchmarks.comparisons.checks import ROUNDING, Check, Doubles, Ground, attributions, differences
from benchmarks.peer_workers.launcher import Worker
from transforms.attribution.methods.rules import quadrature

STEPS = 50
RULES = {
    "gauss_legendre": "gausslegendre",
    "riemann_left": "riemann_left",
    "riemann_right": "riemann_right",
    "riemann_middle": "riemann_middle",
    "riemann_trapezoid": "riemann_trapezoid",
}
# A ReLU whose input at a node is zero to rounding may be open on one side and shut on the other: rare, but then a row
# differs by part of that node's weight.
SWITCHED = 0.01


def of_inputs(ground: Ground, peer: str, worker: Worker) -> Iterator[Check]:
    """Every rule, from zeros."""
    model = ground.model()
    for rule, theirs in RULES.items():
        explainer = ground.explainer(model, rule=rule, steps=STEPS)
        ours = attributions(explainer.explain(ground.case.inputs, ground.case.labels))
        found = ground.ask(worker, len(ours), {"steps": STEPS, "rule": theirs})
        yield _check(f"integrated gradients, {rule}", ground, peer, (ours, found), rule)


def of_layer(ground: Ground, peer: str, worker: Worker) -> Iterator[Check]:
    """Every rule, of the model's first layer, from its values at token 0."""
    layer = ground.case.model.layers[1].name
    model = ground.model(layer)
    for rule, theirs in RULES.items():
        explainer = ground.explainer(model, rule=rule, steps=STEPS, baseline={"input": 0})
        ours = attributions(explainer.explain(ground.case.inputs, ground.case.labels))
        found = ground.ask(worker, len(ours), {"steps": STEPS, "rule": theirs, "layer": 0})
        yield _check(f"layer integrated gradients, {rule}", ground, peer, (ours, found), rule)


def _check(what: str, ground: Ground, peer: str, both: tuple[Doubles, Doubles], rule: Any) -> Check:
    ours, theirs = both
    measured: dict[str, Any] = {}
    expected = f"equal to {ROUNDING:g} of the row's largest value"
    if rule == "riemann_trapezoid":
        # their n nodes are ours, with weights 1/n instead of 1/(n − 1)
        measured["largest_without_factor"] = float(differences(theirs, ours).max())
        ours = ours * (STEPS - 1) / STEPS
        expected = f"{expected}, ours × (n − 1)/n"
    apart = differences(theirs, ours)
    beyond = int((apart > ROUNDING).sum())
    allowed, node = 0.0, float(quadrature(rule, STEPS).weights.max())
    if _switches(ground):
        allowed = SWITCHED
        expected += f"; {SWITCHED:.0%} of the rows, where a ReLU switches, to 3 nodes' weight"
    measured |= {"median": float(np.median(apart)), "rows_beyond": beyond}
    holds = beyond <= allowed * len(apart) and bool(apart.max() <= (3 * node if allowed else ROUNDING))
    return Check(what, peer, ground.name, len(apart), float(apart.max()), expected, holds, measured)


def _switches(ground: Ground) -> bool:
    return any(layer.get_config().get("activation") == "relu" for layer in ground.case.model.layers)
