"""A baseline at which the model already decides for a class: what the maps are measured from is not nothing."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pyarrow.compute as pc

from transforms.auditing.audit_tables import AuditTables
from transforms.auditing.findings.finding import Finding
from transforms.auditing.findings.parts import OTHER, class_words, classes_of
from transforms.auditing.findings.statistics import Doubles, Interval, Moments, around

# A class that has more than all others together; of two classes, three times the other
LEAST_PROBABILITY, TIMES_EVEN, HIGH_PROBABILITY = 0.5, 1.5, 0.9


class _Baseline(NamedTuple):
    """Values of a slice that stand for the classes, F(x') at each, and whether it is a probability."""

    slice: str
    values: list[str]
    classes: tuple[str, ...]
    outputs: Moments
    probable: bool


def confident_baselines(audit: AuditTables, alpha: float) -> list[Finding]:
    """Where the entries of the output are explained each in some rows, so that the tables hold all of them.

    Outputs within [0, 1] are taken as probabilities, others as logits, whose softmax is taken.
    """
    known = _entries(audit)
    if known is None:
        return []
    count = len(known.values)
    probabilities, ends = _probabilities(known, alpha / count)
    top = int(probabilities.argmax())
    least = max(LEAST_PROBABILITY, TIMES_EVEN / count)
    if not ends.low[top] >= least:
        return []
    return [_finding(known, top, float(probabilities[top]), (float(ends.low[top]), float(ends.high[top])), least)]


def _entries(audit: AuditTables) -> _Baseline | None:
    """None where not every entry of the output is known: then none can be said to be the largest."""
    target = audit.about.get("run", {}).get("target")
    if target not in ("label", "predicted"):
        return None
    table = audit["slices"].filter(pc.equal(audit["slices"]["slice"], target))
    values, classes = table["value"].to_pylist(), audit.about.get("classes")
    whole = len(values) >= 2 and OTHER not in values and (not classes or len(classes) == len(values))
    if not whole:
        return None
    names = "rows", "baseline_output_mean", "baseline_output_variance", "output_mean"
    rows, mean, variance, reached = (table[name].to_numpy().astype(np.float64) for name in names)
    both = np.concatenate([mean, reached])
    return _Baseline(
        target, values, classes_of(audit), Moments(rows, mean, variance), bool(both.min() >= 0 and both.max() <= 1)
    )


def _probabilities(known: _Baseline, alpha: float) -> tuple[Doubles, Interval]:
    """Of each class at the baseline [classes], with the ends that its output's and the others' intervals leave."""
    outputs = known.outputs
    ends = around(outputs.mean, outputs.error(), outputs.rows, alpha)
    if known.probable:
        return outputs.mean, ends
    own = np.eye(len(outputs.mean), dtype=bool)
    low, high = _softmax(np.where(own, ends.low, ends.high)), _softmax(np.where(own, ends.high, ends.low))
    return _softmax(outputs.mean), Interval(np.diag(low), np.diag(high))


def _softmax(logits: Doubles) -> Doubles:
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    found: Doubles = powers / powers.sum(axis=-1, keepdims=True)
    return found


def _finding(known: _Baseline, top: int, found: float, ends: tuple[float, float], least: float) -> Finding:
    value = known.values[top]
    called = class_words(value, known.classes)
    return Finding(
        kind="confident_baseline",
        severity="medium" if ends[0] >= HIGH_PROBABILITY else "low",
        title=f"The baseline itself is taken for class {called}, with a probability of {found:.0%}",
        text="Maps tell what takes the output from the baseline to the row: of this class they show little, and of the "
        "others also what speaks against it. Compare with a baseline at which the model is undecided, such as "
        "max_entropy, or the mean of several.",
        slice=known.slice,
        value=value,
        input=None,
        features=(),
        evidence={"probability": found, "baseline_output": float(known.outputs.mean[top]), "least_probability": least},
        interval=ends,
        rows=int(known.outputs.rows[top]),
        strength=ends[0] / least,
    )
