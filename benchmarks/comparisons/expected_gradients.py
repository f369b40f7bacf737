"""Expected gradients, against shap's: two means of draws, equal within their standard errors.

Both draw baselines from the same rows. Ours takes each of them once a run, with stratified places on the path; shap
draws both at random. The standard errors of both are those of the mean of many runs, measured by the runs' spread.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from benchmarks.comparisons.checks import Check, Doubles, Ground, attributions
from benchmarks.peer_workers.launcher import Worker
from transforms.attribution.baselines.references import References

BACKGROUND, RUNS, SAMPLES = 100, 30, 300
# Of normal means with measured standard errors, 0.5 % lie beyond three of them (Student's t, 29 degrees of freedom).
WITHIN, ROOT_MEAN_SQUARE = 0.99, 1.25
# shap's "variances" over those of its runs: √samples, if they are too large by as much; 30 runs know it to some 5 %
# for the median over hundreds of features.
VARIANCE_ERROR = 0.25


def of_inputs(ground: Ground, peer: str, worker: Worker) -> Iterator[Check]:
    """Baselines from the last rows of the case, which are not explained."""
    rows = len(ground.case.inputs) - BACKGROUND
    ours = _runs(ground, rows)
    options = {"background": BACKGROUND, "samples": SAMPLES, "runs": RUNS, "seed": 0}
    found = ground.ask(worker, rows, options).reshape(rows, RUNS, 2, -1)
    theirs, said = found[:, :, 0], found[:, :, 1]
    errors = np.sqrt(sum(runs.var(axis=1, ddof=1) / RUNS for runs in (ours, theirs)))
    apart = np.abs(ours.mean(axis=1) - theirs.mean(axis=1))
    drawn = errors > 0
    score = apart[drawn] / errors[drawn]
    within, square = float(np.mean(score <= 3)), float(np.sqrt(np.mean(score**2)))
    ratio = float(np.median(said.mean(axis=1)[drawn] / theirs.var(axis=1, ddof=1)[drawn]))
    measured = {"values": int(drawn.sum()), "share_within_3": within, "root_mean_square": square}
    yield Check(
        "expected gradients",
        peer,
        ground.name,
        rows,
        float(score.max()),
        f"{WITHIN:.0%} of the values within 3 standard errors, in which the largest is given; root mean square near 1",
        bool(within >= WITHIN and square <= ROOT_MEAN_SQUARE and not apart[~drawn].any()),
        measured | {"runs": RUNS, "our_samples": BACKGROUND, "shap_samples": SAMPLES},
    )
    yield Check(
        "expected gradients, shap's own variance of the mean over that of its runs",
        peer,
        ground.name,
        rows,
        ratio,
        f"√samples = {np.sqrt(SAMPLES):.1f} in the median, where 1 would be right",
        bool(abs(ratio / np.sqrt(SAMPLES) - 1) <= VARIANCE_ERROR),
    )


def _runs(ground: Ground, rows: int) -> Doubles:
    """Attributions of every run, [rows, runs, features]: what is drawn for a row depends on its id."""
    model = ground.model()
    (spec,) = model.explained
    pool = References({spec.name: {"samples": ground.case.inputs[rows:]}})
    explainer = ground.explainer(model, method="expected_gradients", baseline={"samples": BACKGROUND})
    explainer = explainer.with_references(pool)
    inputs, labels = (np.repeat(value[:rows], RUNS, axis=0) for value in (ground.case.inputs, ground.case.labels))
    ids = [f"{row}, run {run}" for row in range(rows) for run in range(RUNS)]
    return attributions(explainer.explain(inputs, labels, row_ids=ids)).reshape(rows, RUNS, -1)
