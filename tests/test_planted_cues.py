"""The short form of campaigns/planted_cues.py: a linear model by least squares, explained without TensorFlow."""

from __future__ import annotations

import audited
import numpy as np
import pytest
from campaigns.planted_cues import CASES, CUES, Data, is_cue, slices_of

from transforms.auditing.findings.ranking import findings

RIDGE = 1.0


def explained(data: Data, seed: int) -> audited.Maps:
    """Integrated gradients of F_c(x) = w_c · x from 0 at the label: w_c ⊙ x, exactly."""
    words = data.inputs.dtype.kind == "i"
    rows = np.apply_along_axis(np.bincount, 1, data.inputs, minlength=61) if words else data.inputs
    flat, classes = rows.reshape(len(rows), -1).astype(np.float64), np.eye(data.labels.max() + 1)
    # what all classes have in common tells none of them
    wanted = (classes - classes.mean(axis=0))[data.labels]
    training = flat[~data.held_out]
    inverse = np.linalg.inv(training.T @ training + RIDGE * np.eye(flat.shape[1]))
    weights = inverse @ training.T @ wanted[~data.held_out]
    shown, labels = flat[data.held_out], data.labels[data.held_out]
    values = shown * weights.T[labels]
    slices = slices_of(labels, (shown @ weights).argmax(axis=1), np.random.default_rng(seed))
    about = {"run": {"target": "label"}, "classes": None}
    if words:
        texts = [
            ([f"w{word}" for word in row.nonzero()[0]], value[row > 0])
            for row, value in zip(shown, values, strict=True)
        ]
        return audited.Maps(slices, texts={"x": texts}, about=about)
    return audited.Maps(slices, {"x": values.reshape(data.inputs[data.held_out].shape)}, about=about)


@pytest.mark.parametrize("case", CASES)
def test_a_planted_cue_is_the_first_finding_and_without_it_none_is_found(case: str) -> None:
    seed = 2000
    planted, clean = CASES[case](seed, True), CASES[case](seed, False)
    first, *_ = findings(audited.audit(explained(planted, seed)))
    assert is_cue(first, planted) and first.severity == "high"
    assert not CUES & {finding.kind for finding in findings(audited.audit(explained(clean, seed)))}
