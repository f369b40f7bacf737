"""End to end against alibi and captum: rows a second, same weights, rows, targets, baseline, rule and steps.

    python -m benchmarks.peers [--rounds 5] [--out benchmarks/results/peers.json]     (from the repository's root)

attribeam: `launch.run` in this process, Parquet in, Parquet out, into a fresh directory, all included but TensorFlow's
import. A peer: a long-lived process of its own Python environment, warm, with model and rows in memory; what it finds
goes nowhere. Each at its default and at the best of a scan. A round measures all of them in turn; its ratios divide the
mean of the attribeam runs before and after by the peer. Nothing is timed unless the attributions agree.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import os
import pathlib
import tempfile
import time
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np
import pyarrow.parquet as pq

from benchmarks import report
from benchmarks.models import CASES, Case
from benchmarks.peer_workers import launcher
from pipeline import launch
from pipeline.config import parse_config
from transforms.attribution.engine.device import claim_device

STEPS, SCAN_SECONDS, COMPARED_ROWS = 50, 1.0, 200
OPTIONS = {"steps": STEPS, "rule": "gausslegendre"}
# What agreement allows. Rounding, of float32 sums of up to a thousand terms in another order; and, in a few rows, a
# ReLU whose input at a node is zero to rounding, so that it is open for one batch size and shut for another: seen to
# move a row by half of a node's weight.
ROUNDING, SWITCHED, NODE = 1e-5, 0.1, float(np.polynomial.legendre.leggauss(STEPS)[1].max() / 2)


@dataclasses.dataclass(frozen=True)
class Setting:
    """How a peer is called: with how many rows at once, and internal_batch_size (None: all their points at once)."""

    rows: int
    internal: int | None


# The first of each is the peer's default, for calls with 100 rows: both hold the points of all rows of a call.
SETTINGS = {
    "alibi": [Setting(100, size) for size in (100, 500, 1000, 2500, None)] + [Setting(400, 2000), Setting(20, None)],
    "captum": [Setting(100, size) for size in (None, 100, 250, 500, 1000, 2500)]
    + [Setting(400, 2000), Setting(20, None), Setting(5, None)],
}


@dataclasses.dataclass(frozen=True)
class Job:
    """attribeam's side: a configuration without output, and the folder all is in."""

    values: dict[str, Any]
    folder: pathlib.Path
    rows: int

    def run(self) -> tuple[pathlib.Path, float]:
        """One whole run into a fresh directory; where, and its rows a second."""
        out = tempfile.mkdtemp(dir=self.folder)
        config = parse_config(self.values | {"output": {"path": out}})
        started = time.perf_counter()
        launch.run(config, self.folder)
        return pathlib.Path(out), self.rows / (time.perf_counter() - started)


def job(case: Case, folder: pathlib.Path, rows: int) -> Job:
    """The job over the first rows."""
    folder.mkdir()
    values = case.save(folder, rows)
    values["attribution"] |= {"baseline": "zeros", "rule": "gauss_legendre", "steps": STEPS}
    return Job(values, folder, rows)


def written(out: pathlib.Path) -> Any:
    """A run's attributions, float32 [rows, features], in the input's order."""
    found = {}
    for part in out.glob("part-*.parquet"):
        table = pq.read_table(part)
        name = next(name for name in table.column_names if name.startswith("attribution_"))
        values = table[name].combine_chunks().to_numpy_ndarray().reshape(len(table), -1)
        found |= dict(zip(table["source_row"].to_pylist(), values, strict=True))
    return np.stack([found[row] for row in range(len(found))])


def agreement(worker: launcher.Worker, ours: Any, folder: pathlib.Path) -> dict[str, float]:
    """By row, the largest difference relative to the row's largest attribution.

    Raises:
        SystemExit: it is more than rounding and rare switches of a ReLU explain.
    """
    path = folder / "agreement.npy"
    worker.ask(do="explain", indices=list(range(len(ours))), rows=100, internal=500, path=str(path), options=OPTIONS)
    theirs = np.load(path).reshape(len(ours), -1)
    differences = np.abs(theirs - ours).max(axis=1) / np.abs(ours).max(axis=1)
    found = {
        "rows": len(ours),
        "median": float(np.median(differences)),
        "max": float(differences.max()),
        "rows_beyond_rounding": int((differences > ROUNDING).sum()),
    }
    if not (found["rows_beyond_rounding"] <= SWITCHED * len(ours) and found["max"] <= 3 * NODE):
        raise SystemExit(f"{worker.versions} computes something else: relative differences {found}")
    return found


def rate(worker: launcher.Worker, setting: Setting, seconds: float) -> dict[str, float]:
    """The peer's rows a second, over whole calls that take at least so long."""
    found = worker.ask(do="measure", seconds=seconds, options=OPTIONS, **dataclasses.asdict(setting))
    return found | {"rows_s": found["rows"] / found["seconds"]}


def scan(worker: launcher.Worker, settings: list[Setting]) -> list[dict[str, Any]]:
    """Each setting with its rate, the better of two passes after a call to warm up; the fastest first."""
    for setting in settings:
        rate(worker, setting, 0.0)
    passes = [[rate(worker, setting, SCAN_SECONDS)["rows_s"] for setting in settings] for _ in range(2)]
    rated = [
        {**dataclasses.asdict(setting), "rows_s": max(rates)} for setting, *rates in zip(settings, *passes, strict=True)
    ]
    return sorted(rated, key=lambda entry: -entry["rows_s"])


def in_turn(ours: Job, peers: dict[str, tuple[launcher.Worker, Setting]], arguments: Any) -> list[dict[str, Any]]:
    """The rounds: attribeam, each peer, and attribeam again, which is the next round's first."""
    before, rounds = ours.run()[1], []
    for _ in range(arguments.rounds):
        measured = {name: rate(*peer, arguments.seconds) for name, peer in peers.items()}
        after = ours.run()[1]
        rows_s = {"attribeam": (before + after) / 2} | {name: found["rows_s"] for name, found in measured.items()}
        ratios = {name: rows_s["attribeam"] / rows_s[name] for name in peers}
        peaks = {name: found["peak_bytes"] for name, found in measured.items()}
        counts = {name: found["rows"] for name, found in measured.items()}
        rounds.append({"rows_s": rows_s, "ratio": ratios, "peer_rows": counts, "peer_process_peak_bytes": peaks})
        before = after
    return rounds


def compare(case: Case, folder: pathlib.Path, arguments: Any) -> dict[str, Any]:
    """Check that all compute the same, scan the peers, then measure in turn."""
    rows = min(arguments.rows or len(case.inputs), len(case.inputs))
    case = Case(case.model, case.inputs[:rows], case.labels[:rows])
    (exported := folder / "exported").mkdir()
    launcher.export(case, exported)
    out, _ = job(case, folder / "warm", min(rows, COMPARED_ROWS)).run()
    ours = written(out)
    found: dict[str, Any] = {"rows": rows, "agreement": {}, "scan": {}, "versions": {}, "settings": {}}
    with contextlib.ExitStack() as stack:
        peers = {}
        for peer, settings in SETTINGS.items():
            python = launcher.environment(peer, arguments.environments)
            worker = stack.enter_context(launcher.Worker(peer, python, exported))
            found["versions"] |= {f"{peer}'s {name}": version for name, version in worker.versions.items()}
            found["agreement"][peer] = agreement(worker, ours, folder)
            settings = [Setting(min(setting.rows, rows), setting.internal) for setting in settings]
            best, *_ = found["scan"][peer] = scan(worker, settings)
            peers[f"{peer} best"] = worker, Setting(best["rows"], best["internal"])
            peers[f"{peer} default"] = worker, settings[0]
        found["settings"] = {name: dataclasses.asdict(setting) for name, (_, setting) in peers.items()}
        found["rounds"] = in_turn(job(case, folder / "timed", rows), peers, arguments)
    for key in ("rows_s", "ratio"):
        names = found["rounds"][0][key]
        found[key] = {name: report.spread([entry[key][name] for entry in found["rounds"]]) for name in names}
    return found


def show(name: str, found: dict[str, Any]) -> None:
    """A case's rows of the table."""
    for tool, rows_s in found["rows_s"].items():
        ratio = found["ratio"].get(tool)
        faster = f"{ratio['median']:6.2f} ({ratio['min']:.2f}-{ratio['max']:.2f})" if ratio else " " * 6
        how = found["settings"].get(tool, {"rows": found["rows"]})
        internal = f", internal_batch_size {how['internal']}" if "internal" in how else " in all"
        print(
            f"{name:9} {tool:15} {rows_s['median']:9,.1f} ({rows_s['min']:,.0f}-{rows_s['max']:,.0f})"
            f"  {faster:20}  {how['rows']} rows{internal}"
        )
    for peer, differences in found["agreement"].items():
        rows, beyond = differences["rows"], differences["rows_beyond_rounding"]
        print(
            f"{name:9} {peer:15} attributions of {rows} rows: median difference {differences['median']:.0e},"
            f" {beyond} rows beyond rounding, largest {differences['max']:.0e}"
        )


def main() -> None:
    """Measure, print a table, and write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--rows", type=int, help="only the first so many of each case")
    parser.add_argument("--seconds", type=float, default=5.0, help="at least, of each measurement of a peer")
    parser.add_argument("--only", choices=["digits", "wide_mlp"])
    parser.add_argument("--environments", type=pathlib.Path, default=pathlib.Path(".peers"), help="the peers' Pythons")
    parser.add_argument("--out", type=pathlib.Path)
    arguments = parser.parse_args()
    claim_device()  # before a model is trained: as a worker does before it computes anything
    for peer in SETTINGS:
        launcher.environment(peer, arguments.environments)
    results: dict[str, Any] = {"steps": STEPS, "peer_seconds": arguments.seconds}
    print(f"{'case':9} {'tool':15} {'rows/s':>9} (range)  attribeam ÷ it (range)  given at once")
    for name in ("digits", "wide_mlp") if arguments.only is None else (arguments.only,):
        with tempfile.TemporaryDirectory() as folder:
            results[name] = compare(CASES[name](), pathlib.Path(folder), arguments)
        show(name, results[name])
    report.store(results, arguments.out)


if __name__ == "__main__":
    main()
