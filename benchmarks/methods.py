"""What a gradient costs in each method, beside one of integrated gradients: the engine's rate.

    python -m benchmarks.methods [--rounds 7] [--rows 2000] [--out benchmarks/results/methods.json]

Both explain rows in memory, warm, in turn, batch after batch as in a job, with about as many gradients, in calls of one
size; a method's cost is its seconds for each gradient evaluation over those of 50 Gauss-Legendre steps, before and
after: by the clock, and of the processor, which is steadier where others use the machine too.
"""

from __future__ import annotations

import argparse
import os
import pathlib
import tempfile
import time
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np

from benchmarks import report
from benchmarks.models import CASES
from transforms.attribution.baselines.references import References
from transforms.attribution.batch import Batch
from transforms.attribution.config import AttributionConfig, ModelConfig
from transforms.attribution.engine.device import claim_device
from transforms.attribution.explainer import Explainer

REFERENCE: dict[str, Any] = {"steps": 50}
SEARCHED = {"name": "smooth_taylor", "adaptive_noise": "autvc"}
METHODS: dict[str, dict[str, Any]] = {
    "expected_gradients": {"method": "expected_gradients", "baseline": {"samples": 100}},
    "smooth_taylor": {"method": "smooth_taylor", "baseline": {"gaussian": 0.1, "draws": 150}},
    "blur_integrated_gradients": {"method": {"name": "blur_integrated_gradients", "max_sigma": 20.0}, "steps": 50},
    "idgi": {"method": "idgi", "steps": 50},
    "saliency": {"method": "saliency"},
    "input_x_gradient": {"method": "input_x_gradient"},
    "smoothgrad": {"method": "saliency", "noise": {"kind": "smoothgrad", "draws": 50, "sigma": 0.1}},
    "noisy integrated_gradients": {"steps": 50, "noise": {"kind": "vargrad", "draws": 5, "sigma": 0.1}},
    # which point comes next depends on the last: rarely is there enough for a full call, and padding would be measured
    "guided_integrated_gradients": {"method": "guided_integrated_gradients", "steps": 50, "batch_size": "auto"},
    "smooth_taylor, autvc": {"method": SEARCHED, "baseline": {"gaussian": 0.1, "draws": 10}, "batch_size": "auto"},
}
BATCH_ROWS = 500
# What is compared are methods: not the sizes that each happened to find, nor what hoisting spares those that sum up
# gradients on one straight path a row
SHARED: dict[str, Any] = {"target": "label", "batch_size": 1024, "hoist": False}
WARM_S = 3.0


class Timed:
    """One method, warm, over as many rows as take about as many gradients."""

    def __init__(self, explainer: Explainer, inputs: Any, labels: Any, rows: int) -> None:
        self._explainer, self._inputs, self._labels = explainer, inputs, labels
        self.rows, self._batches = 8, self._first(8)
        self.rows = int(max(8, rows * 50 * self.rows / self._gradients()))
        self._batches = self._first(self.rows)
        started = time.monotonic()
        while time.monotonic() - started < WARM_S:
            self._gradients()

    def _first(self, rows: int) -> list[Batch]:
        """So many rows, beginning anew where there are no more."""
        places = np.array_split(np.arange(rows) % len(self._inputs), -(-rows // BATCH_ROWS))
        (spec,) = self._explainer.model.inputs
        return [Batch({spec.name: self._inputs[some]}, self._labels[some].astype(np.int64)) for some in places]

    def _gradients(self) -> int:
        return sum(int(found.steps.sum()) for found in self._explainer.stream(self._batches))

    def seconds(self) -> Any:
        """For one gradient evaluation: by the clock, and of the processor."""
        before = np.array([time.perf_counter(), time.process_time()])
        gradients = self._gradients()
        return (np.array([time.perf_counter(), time.process_time()]) - before) / gradients


def measure(name: str, rounds: int, rows: int) -> dict[str, Any]:
    """The cost of every method on one model."""
    case = CASES[name]()
    with tempfile.TemporaryDirectory() as folder:
        model = ModelConfig(path=case.save(pathlib.Path(folder), rows=1)["model"]["path"])
        pool = case.inputs[-256:]
        references = References({case.model.inputs[0].name: {"samples": pool}})
        made = {
            label: Explainer.load(model, AttributionConfig(**(SHARED | fields)), references=references)
            for label, fields in ({"reference": REFERENCE} | METHODS).items()
        }
    reference = Timed(made.pop("reference"), case.inputs, case.labels, rows)
    found: dict[str, Any] = {}
    for label, explainer in made.items():
        timed, before, costs = Timed(explainer, case.inputs, case.labels, rows), reference.seconds(), []
        for _ in range(rounds):
            seconds, after = timed.seconds(), reference.seconds()
            costs.append(seconds / ((before + after) / 2))
            before = after
        clock, processor = (report.spread(list(each)) for each in np.transpose(costs))
        found[label] = {"rows": timed.rows, "cost": clock, "processor_cost": processor}
        shown = (f"{one['median']:6.2f} ({one['min']:.2f}-{one['max']:.2f})" for one in (clock, processor))
        print(f"{name:14} {label:28} {timed.rows:6,}", *shown, flush=True)
    return found


def main() -> None:
    """Measure, print a table, and write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--rows", type=int, default=2000, help="for 50 gradients each")
    parser.add_argument("--only", choices=["digits", "gelu_residual"])
    parser.add_argument("--out", type=pathlib.Path)
    arguments = parser.parse_args()
    claim_device()  # before anything computes, as in a worker
    print(f"{'model':14} {'method':28} {'rows':>6}   cost of a gradient by the clock (range), of the processor (range)")
    names = ("digits", "gelu_residual") if arguments.only is None else (arguments.only,)
    results = {name: measure(name, arguments.rounds, arguments.rows) for name in names}
    report.store({"rounds": arguments.rounds} | results, arguments.out)


if __name__ == "__main__":
    main()
