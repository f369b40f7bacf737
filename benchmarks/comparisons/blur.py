"""Blur integrated gradients, against PAIR's: what PAIR computes, where both meet, and what each leaves out.

PAIR takes the gradient where a step of σ begins, times a forward difference of blurs 0.01 pixels apart, and blurs with
zeros beyond the border and a Gaussian cut off at 4 σ. Ours takes Gauss-Legendre nodes and the derivative of the blur,
mirrored at the border and cut off at 6 σ. On a page whose black reaches farther than the blur, both are the same path.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np
from scipy import ndimage

from benchmarks.comparisons.checks import ROUNDING, Check, Doubles, Ground, attributions, differences
from benchmarks.models import Case
from benchmarks.peer_workers.launcher import Worker
from transforms.attribution.explainer import Explainer

GRAD_STEP, DEFAULT_SIGMA, DEFAULT_STEPS = 0.01, 50.0, 100
PAGE_SIGMA, MARGIN = 3.0, 18
PAIR_STEPS, OUR_STEPS = (25, 100, 400, 1600), 800
# A left sum's error falls with 1/n, to a quarter each time; what the two cut off of the Gaussian stays.
FALLS_TO = 0.5
# By how much PAIR's sum misses more: its first step, from σ = 0 to 0.5, counts nothing, for a blur of 0.01 is none.
TIMES = 5


def on_page(case: Case) -> Case:
    """The same model and rows within a black margin as wide as the blur reaches (6 σ), which the model crops."""
    margin = (MARGIN, MARGIN)
    entry = value = keras.Input([size + 2 * MARGIN for size in case.inputs.shape[1:3]] + [1], name="page")
    for layer in [keras.layers.Cropping2D(MARGIN), *case.model.layers[1:]]:
        value = layer(value)
    return Case(keras.Model(entry, value), np.pad(case.inputs, ((0, 0), margin, margin, (0, 0))), case.labels)


def of_formula(ground: Ground, peer: str, worker: Worker) -> Iterator[Check]:
    """PAIR's defaults: its formula, on attribeam's gradients, gives its output; and both sides' completeness."""
    theirs = _pair(ground, worker, DEFAULT_SIGMA, DEFAULT_STEPS)
    gradients = ground.explainer(ground.model(), method="saliency")
    again = np.stack([_formula(gradients, *row) for row in zip(ground.case.inputs, ground.case.labels, strict=True)])
    apart = differences(theirs, again)
    yield Check(
        f"blur integrated gradients, PAIR's formula with our gradients, n = {DEFAULT_STEPS}",
        peer,
        ground.name,
        len(apart),
        float(apart.max()),
        f"equal to {ROUNDING:g} of the row's largest value",
        bool(apart.max() <= ROUNDING),
        {"median": float(np.median(apart))},
    )
    yield _completeness(ground, peer, theirs)


def of_page(ground: Ground, peer: str, worker: Worker) -> Iterator[Check]:
    """On a page: the more steps PAIR takes, the nearer it comes to ours, if its differences shrink with them."""
    method = {"name": "blur_integrated_gradients", "max_sigma": PAGE_SIGMA}
    explainer = ground.explainer(ground.model(), method=method, steps=OUR_STEPS)
    ours = attributions(explainer.explain(ground.case.inputs, ground.case.labels))
    shrinking = [_distances(ours, _pair(ground, worker, PAGE_SIGMA, n, PAGE_SIGMA / n)) for n in PAIR_STEPS]
    fixed = _distances(ours, _pair(ground, worker, PAGE_SIGMA, PAIR_STEPS[-1]))
    medians = [float(np.median(found)) for found in shrinking]
    yield Check(
        f"blur integrated gradients, PAIR's n = {', '.join(map(str, PAIR_STEPS))}, grad_step {PAGE_SIGMA:g}/n",
        peer,
        ground.name,
        len(ours),
        float(shrinking[-1].max()),
        "median relative L1 difference at least halves each time; the largest is that of the last n",
        all(after < FALLS_TO * before for before, after in itertools.pairwise(medians)),
        {
            "medians": dict(zip(map(str, PAIR_STEPS), medians, strict=True)),
            f"median_with_grad_step_{GRAD_STEP}": float(np.median(fixed)),
        },
    )


def _distances(ours: Doubles, theirs: Doubles) -> Doubles:
    """Relative L1, [rows]."""
    return np.asarray(np.abs(theirs - ours).sum(axis=(1, 2, 3)) / np.abs(ours).sum(axis=(1, 2, 3)))


def _completeness(ground: Ground, peer: str, theirs: Doubles) -> Check:
    """What is missing of F(x) − F(blurred x), each with its own blur and as many gradients."""
    case = ground.case
    starts = np.stack([_blurred(row, DEFAULT_SIGMA) for row in case.inputs])
    rise = _outputs(case, case.inputs) - _outputs(case, starts)
    missing = np.abs(theirs.sum(axis=(1, 2, 3)) / rise - 1)
    method = {"name": "blur_integrated_gradients", "max_sigma": DEFAULT_SIGMA}
    ours = ground.explainer(ground.model(), method=method, steps=DEFAULT_STEPS).explain(case.inputs, case.labels)
    medians = float(np.median(ours.relative_delta)), float(np.median(missing))
    return Check(
        f"blur integrated gradients, completeness, n = {DEFAULT_STEPS}",
        peer,
        ground.name,
        len(missing),
        float(missing.max()),
        f"relative delta: median of ours below 1 %, PAIR's over {TIMES} times ours; the largest is PAIR's",
        medians[0] < 0.01 and medians[1] > TIMES * medians[0],
        {"median_ours": medians[0], "median_pair": medians[1], "largest_ours": float(ours.relative_delta.max())},
    )


def _pair(ground: Ground, worker: Worker, sigma: float, steps: int, grad_step: float = GRAD_STEP) -> Doubles:
    arguments = {"max_sigma": sigma, "steps": steps, "grad_step": grad_step, "batch_size": 100}
    return ground.ask(worker, len(ground.case.inputs), {"method": "BlurIG", "arguments": arguments})


def _formula(gradients: Explainer, row: Any, label: int) -> Doubles:
    """−Σ Δσ · ∂F(x_σ) ⊙ (x_{σ + 0.01} − x_σ) / 0.01, of one row, [*shape]."""
    sigmas = np.arange(DEFAULT_STEPS) * DEFAULT_SIGMA / DEFAULT_STEPS
    points, nearby = (np.stack([_blurred(row, sigma + more) for sigma in sigmas]) for more in (0.0, GRAD_STEP))
    labels = np.full(len(points), label)
    found = attributions(gradients.explain(points.astype(np.float32), labels))
    return np.asarray(-(DEFAULT_SIGMA / DEFAULT_STEPS) * (found * (nearby - points) / GRAD_STEP).sum(axis=0))


def _blurred(row: Any, sigma: float) -> Doubles:
    wide = np.asarray(row, np.float64)
    return wide if sigma == 0 else np.asarray(ndimage.gaussian_filter(wide, [sigma, sigma, 0], mode="constant"))


def _outputs(case: Case, inputs: Any) -> Doubles:
    found = case.model.predict(inputs.astype(np.float32), verbose=0)
    return np.asarray(found[np.arange(len(found)), case.labels], np.float64)
