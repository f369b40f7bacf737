"""The parent's side of a peer: its virtual environment, the case as files it can read, and its long-lived process."""

from __future__ import annotations

import hashlib
import json
import os
import pathlib
import subprocess
import sys
import venv
from types import TracebackType
from typing import Any

import keras
import numpy as np

from benchmarks.models import Case

HERE = pathlib.Path(__file__).parent
PYTHON = (3, 11)
KEPT = {
    "Cropping2D": ("cropping",),
    "Dense": ("units", "activation"),
    "Embedding": ("input_dim", "output_dim"),
    "Conv2D": ("filters", "kernel_size", "strides", "padding", "activation"),
    "Flatten": (),
}


def environment(peer: str, folder: pathlib.Path) -> pathlib.Path:
    """The peer's Python, with exactly what its requirements pin; made where missing or of other pins."""
    if sys.version_info[:2] != PYTHON:
        raise SystemExit(f"the peers' versions are pinned for Python 3.11; this is {sys.version.split()[0]}")
    requirements, home = HERE / f"requirements-{peer}.txt", folder.absolute() / peer
    digest, stamp = hashlib.sha256(requirements.read_bytes()).hexdigest(), home / "requirements.sha256"
    python = home / "bin" / "python"
    if not stamp.exists() or stamp.read_text(encoding="utf-8") != digest:
        print(f"installing {requirements.name} into {home} (minutes, gigabytes)", file=sys.stderr, flush=True)
        venv.create(home, clear=True, with_pip=True)
        command = [python, "-m", "pip", "install", "--quiet", "--no-deps", "--requirement", requirements]
        subprocess.run(command, check=True)
        stamp.write_text(digest, encoding="utf-8")
    return python


def layers(model: keras.Model) -> list[dict[str, Any]]:
    """The model's layers from input to output, each its kind and what builds it again.

    Raises:
        ValueError: a layer, or an option of one, that the workers do not build.
    """
    described = []
    for layer in model.layers[1:]:
        kind, config = type(layer).__name__, layer.get_config()
        known = kind in KEPT and config.get("activation", "linear") in ("linear", "relu", "tanh")
        if not known or not config.get("use_bias", True) or config.get("data_format") == "channels_first":
            raise ValueError(f"layer {layer.name!r} is a {kind} as the peers' workers do not build it")
        described.append({"kind": kind} | {name: config[name] for name in KEPT[kind]})
    return described


def export(case: Case, folder: pathlib.Path) -> None:
    """The case as files that a worker reads without Keras 3."""
    described = {"shape": list(case.model.inputs[0].shape[1:]), "layers": layers(case.model)}
    (folder / "layers.json").write_text(json.dumps(described), encoding="utf-8")
    weights = {
        f"{number}.{name}": value
        for number, layer in enumerate(case.model.layers[1:])
        for name, value in zip(("kernel", "bias"), layer.get_weights(), strict=False)
    }
    np.savez(folder / "weights.npz", **weights)
    np.save(folder / "inputs.npy", case.inputs)
    np.save(folder / "labels.npy", case.labels)


class Worker:
    """A peer's process, with a case loaded; a context manager."""

    def __init__(self, peer: str, python: pathlib.Path, folder: pathlib.Path) -> None:
        clean = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        self._peer = peer
        self._process = subprocess.Popen(
            [python, HERE / f"explain_{peer}.py", folder],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=clean,
        )
        self.versions: dict[str, str] = self._reply()

    def ask(self, **command: Any) -> dict[str, Any]:
        """One command of serve.py, and its reply."""
        self._send(command)
        return self._reply()

    def _send(self, command: dict[str, Any]) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(command) + "\n")
        self._process.stdin.flush()

    def _reply(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self._peer}'s worker ended with {self._process.wait()}; its errors are above")
        reply: dict[str, Any] = json.loads(line)
        return reply

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if kind is None:
            self._send({"do": "quit"})
        else:
            self._process.kill()
        self._process.wait()
