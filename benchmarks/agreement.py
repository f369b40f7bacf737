"""The same numbers as alibi, captum, PAIR's saliency and shap: same weights, rows, targets and baselines.

    python -m benchmarks.agreement [--out benchmarks/results/agreement.json]     (from the repository's root)

Each peer runs in a Python environment of its own, as in peers.py, on the model built again there. Where
a peer is right, its numbers must be ours; where it is known not to be, the difference must be what its defect explains.
Exit code 1 when one comparison does not hold. Values, not times: the machine does not matter beyond rounding.
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import os
import pathlib
import sys
import tempfile
from collections.abc import Callable, Iterator
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

from benchmarks import report
from benchmarks.comparisons import blur, expected_gradients, guided, integrated_gradients
from benchmarks.comparisons.checks import Check, Ground
from benchmarks.models import CASES, Case
from benchmarks.peer_workers import launcher
from transforms.attribution.engine.device import claim_device

Compare = Callable[[Ground, str, launcher.Worker], Iterator[Check]]


@dataclasses.dataclass(frozen=True)
class Study:
    """Comparisons of one case with some peers.

    Attributes:
        rows: how many of the case are exported.
        of: what is made of the case first.
    """

    name: str
    case: str
    peers: tuple[str, ...]
    rows: int
    compare: tuple[Compare, ...]
    of: Callable[[Case], Case] | None = None


BOTH = ("alibi", "captum")
STUDIES = (
    Study("tabular_mlp", "tabular_mlp", BOTH, 100, (integrated_gradients.of_inputs,)),
    Study("digits", "digits", BOTH, 100, (integrated_gradients.of_inputs,)),
    Study("tokens", "tokens", BOTH, 100, (integrated_gradients.of_layer,)),
    Study("tabular_mlp", "tabular_mlp", ("saliency",), 100, (guided.of_inputs,)),
    Study("digits", "digits", ("saliency",), 50, (guided.of_inputs, blur.of_formula)),
    Study("digits on a page", "digits", ("saliency",), 20, (blur.of_page,), blur.on_page),
    Study("tabular_mlp", "tabular_mlp", ("shap",), 120, (expected_gradients.of_inputs,)),
    Study("digits", "digits", ("shap",), 110, (expected_gradients.of_inputs,)),
)


def checks(study: Study, case: Case, environments: pathlib.Path, versions: dict[str, Any]) -> Iterator[Check]:
    """A study's comparisons, peer by peer; the peers' versions go to `versions`."""
    for peer in study.peers:
        with tempfile.TemporaryDirectory() as folder:
            ground = Ground.of(study.name, case, pathlib.Path(folder), study.rows)
            python = launcher.environment(peer, environments)
            with launcher.Worker(peer, python, ground.folder) as worker:
                versions[peer] = worker.versions
                for compare in study.compare:
                    yield from compare(ground, peer, worker)


def show(check: Check) -> None:
    """One comparison."""
    print(
        f"{'holds' if check.holds else 'FAILS'}  {check.case}, {check.peer}: {check.what}; {check.rows} rows,"
        f" largest {check.largest:.2g}\n       expected: {check.expected}\n       measured: {check.measured}",
        flush=True,
    )


def main() -> None:
    """Compare, print a line each, and write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--environments", type=pathlib.Path, default=pathlib.Path(".peers"), help="the peers' Pythons")
    parser.add_argument("--only", choices=sorted({peer for study in STUDIES for peer in study.peers}))
    parser.add_argument("--out", type=pathlib.Path)
    arguments = parser.parse_args()
    claim_device()  # before a model is trained: as a worker does before it computes anything
    case_of = functools.cache(lambda name: CASES[name]())
    found, versions = list[Check](), dict[str, Any]()
    for study in STUDIES:
        chosen = tuple(peer for peer in study.peers if arguments.only in (None, peer))
        if chosen:
            case = study.of(case_of(study.case)) if study.of else case_of(study.case)
            for check in checks(dataclasses.replace(study, peers=chosen), case, arguments.environments, versions):
                show(check)
                found.append(check)
    report.store({"peers": versions, "checks": [dataclasses.asdict(check) for check in found]}, arguments.out)
    sys.exit(0 if all(check.holds for check in found) else 1)


if __name__ == "__main__":
    main()
