"""Gradients per row at equal accuracy: `steps: auto` against the best fixed number that hindsight could have chosen.

    python -m benchmarks.accuracy [--rows 200] [--out benchmarks/results/accuracy.json]     (from the repository's root)

The truth is Gauss-Legendre with 2,048 steps. For each model and tolerance, the rival is the smallest number of
Gauss-Legendre steps with which 99 % of the rows come within the tolerance (relative L1 error): nobody knows it without
the truth. `steps: auto` knows nothing beforehand. Covered: the share of the rows it calls `ok` that are within the
tolerance. Counts, not times: the machine does not matter beyond rounding.
"""

from __future__ import annotations

import argparse
import math
import pathlib
import tempfile
from typing import Any

import numpy as np

from benchmarks import report
from benchmarks.models import CASES, Case
from transforms.attribution.config import AttributionConfig, ModelConfig
from transforms.attribution.explainer import Explainer
from transforms.attribution.explanation import Explanation
from transforms.attribution.model.model import Model, load_model

TOLERANCES, TRUE_STEPS, COVERAGE, BATCH = (0.05, 0.02, 0.01), 2048, 0.99, 1024
FIXED = (*range(1, 41), *range(42, 81, 2), *range(84, 161, 4))
STUDIES = (("digits", None), ("digits", "softmax"), ("tabular_mlp", None), ("gelu_residual", "softmax"))


def explained(model: Model, case: Case, rows: int, **settings: Any) -> Explanation:
    """The first rows of a case."""
    config = AttributionConfig(target="label", batch_size=BATCH, **settings)
    return Explainer(model, config).explain(case.inputs[:rows], case.labels[:rows])


def flat(explanation: Explanation) -> np.ndarray:
    """Attributions, float64 [rows, values]."""
    (values,) = explanation.attributions.values()
    return values.reshape(len(values), -1).astype(np.float64)


def errors(found: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Relative L1 error of each row."""
    return np.abs(found - truth).sum(axis=1) / np.abs(truth).sum(axis=1)


def hindsight(model: Model, case: Case, truth: np.ndarray) -> dict[float, int]:
    """By tolerance, the smallest fixed number of steps that does."""
    found: dict[float, int] = {}
    for steps in FIXED:
        error = errors(flat(explained(model, case, len(truth), steps=steps)), truth)
        for tolerance in TOLERANCES:
            if tolerance not in found and np.mean(error <= tolerance) >= COVERAGE:
                found[tolerance] = steps
        if len(found) == len(TOLERANCES):
            return found
    raise SystemExit(f"{FIXED[-1]} steps are not enough for {sorted(set(TOLERANCES) - set(found))}")


def study(case: Case, activation: str | None, rows: int) -> list[dict[str, Any]]:
    """One model at every tolerance."""
    with tempfile.TemporaryDirectory() as folder:
        case.model.save(pathlib.Path(folder) / "model.keras")
        model = load_model(ModelConfig(path=f"{folder}/model.keras", activation=activation))
    truth = flat(explained(model, case, rows, steps=TRUE_STEPS))
    best, found = hindsight(model, case, truth), []
    for tolerance in TOLERANCES:
        ours = explained(model, case, rows, tolerance=tolerance)
        error, ok = errors(flat(ours), truth), ours.status == "ok"
        found.append(
            {
                "tolerance": tolerance,
                "fixed": best[tolerance],
                "auto": float(ours.steps.mean()),
                "ratio": float(ours.steps.mean()) / best[tolerance],
                "auto_most": int(ours.steps.max()),
                "ok": int(ok.sum()),
                "covered": float(np.mean(error[ok] <= tolerance)),
                "error_median": float(np.median(error[ok])),
                "estimate_over_error": float(np.median(ours.error_estimate[ok] / error[ok])),
            }
        )
    return found


def main() -> None:
    """Count, print a table, and write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=200)
    parser.add_argument("--out", type=pathlib.Path)
    arguments = parser.parse_args()
    results: dict[str, Any] = {"rows": arguments.rows}
    print(f"{'model':22} {'tolerance':>9} {'fixed':>5} {'auto':>6} {'ratio':>5} {'most':>5} {'ok':>5}  covered")
    cases: dict[str, Case] = {}
    for name, activation in STUDIES:
        cases.setdefault(name, CASES[name]())
        label = f"{name}, {activation or 'logit'}"
        results[label] = study(cases[name], activation, arguments.rows)
        for row in results[label]:
            print(
                f"{label:22} {row['tolerance']:9} {row['fixed']:5} {row['auto']:6.1f} {row['ratio']:5.2f}"
                f" {row['auto_most']:5} {row['ok']:5}  {row['covered']:.3f}"
            )
    ratios = [row["ratio"] for name, rows in results.items() if name != "rows" for row in rows]
    results["geometric_mean"] = math.exp(sum(map(math.log, ratios)) / len(ratios))
    print(f"geometric mean of the ratios {results['geometric_mean']:.2f}, largest {max(ratios):.2f}")
    report.store(results, arguments.out)


if __name__ == "__main__":
    main()
