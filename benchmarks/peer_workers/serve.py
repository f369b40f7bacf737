"""What every worker shares: what the parent exported of a case, and commands over stdin and stdout, a JSON line each.

Runs under a peer's Python: only NumPy and the standard library are imported here.

    {"do": "measure", "seconds": S, "rows": R, "internal": B, "options": O}    -> {"rows", "seconds", "peak_bytes"}
    {"do": "explain", "indices": [...], "path": P, ..., "options": O}          -> {"peak_bytes"}; P holds the result
    {"do": "quit"}                                                             -> no reply

R rows are given to the peer in one call, which computes B points at a time (null: the peer's own way with all of them).
O is an object; each worker says what it takes in it.
"""

import json
import pathlib
import sys
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

Explain = Callable[[Any, Any, int | None, dict[str, Any]], Any]


class Case(NamedTuple):
    """A model as layers and weights, and rows for it.

    Attributes:
        shape: of one row, channels last.
        layers: what launcher.layers wrote, from input to logits.
        weights: by "<number>.kernel" and "<number>.bias", in Keras' layout.
        inputs: float32 [rows, *shape].
        labels: int64 [rows].
    """

    shape: list[int]
    layers: list[dict[str, Any]]
    weights: dict[str, Any]
    inputs: Any
    labels: Any


def load(folder: pathlib.Path) -> Case:
    """What launcher.export wrote."""
    described = json.loads((folder / "layers.json").read_text(encoding="utf-8"))
    with np.load(folder / "weights.npz") as file:
        weights = dict(file)
    rows = np.load(folder / "inputs.npy"), np.load(folder / "labels.npy")
    return Case(described["shape"], described["layers"], weights, *rows)


def serve(inputs: Any, labels: Any, explain: Explain, versions: dict[str, str]) -> None:
    """Answer commands until told to quit; the first line written says the versions.

    Args:
        inputs: [rows, ...] as the peer takes them.
        explain: from rows, their labels, the points at a time and options to float attributions [rows, ...], channels
            last.
    """
    replies, sys.stdout = sys.stdout, sys.stderr  # a library's prints must not end among the replies
    print(json.dumps(versions), file=replies, flush=True)
    for line in sys.stdin:
        command = json.loads(line)
        if command["do"] == "quit":
            return
        size, internal, options = min(command["rows"], len(inputs)), command["internal"], command["options"]
        peer = _Peer(inputs, labels, explain, size, internal, options)
        if command["do"] == "measure":
            reply = peer.measure(command["seconds"])
        else:
            np.save(command["path"], peer.explain_all(command["indices"]))
            reply = {}
        reply["peak_bytes"] = _peak_bytes()
        print(json.dumps(reply), file=replies, flush=True)


class _Peer(NamedTuple):
    """The case's rows and the peer's method, called with `size` rows at once."""

    inputs: Any
    labels: Any
    explain: Explain
    size: int
    internal: int | None
    options: dict[str, Any]

    def measure(self, seconds: float) -> dict[str, Any]:
        """Whole calls, over and over the rows, until the seconds are up."""
        starts = range(0, len(self.inputs) - self.size + 1, self.size)
        calls, started = 0, time.perf_counter()
        while calls == 0 or time.perf_counter() - started < seconds:
            chosen = slice(starts[calls % len(starts)], starts[calls % len(starts)] + self.size)
            self.explain(self.inputs[chosen], self.labels[chosen], self.internal, self.options)
            calls += 1
        return {"rows": calls * self.size, "seconds": time.perf_counter() - started}

    def explain_all(self, indices: list[int]) -> Any:
        """The attributions of these rows."""
        calls = [indices[start : start + self.size] for start in range(0, len(indices), self.size)]
        chosen = [(self.inputs[call], self.labels[call]) for call in calls]
        return np.concatenate([self.explain(*rows, self.internal, self.options) for rows in chosen])


def _peak_bytes() -> int:
    """The most memory this process has held, by Linux. (getrusage's ru_maxrss starts at that of the parent.)"""
    status = pathlib.Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) for line in status if line.startswith("VmHWM")) * 1024
