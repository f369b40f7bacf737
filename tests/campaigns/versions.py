"""The same rows under two TensorFlows: `PYTHONPATH=tests python -m campaigns.versions PYTHON_A PYTHON_B`.

Each interpreter explains the same rows of the same SavedModel, which the first one makes (so give the older one first),
method by method; the attributions must agree within what float32 rounding can do, by a bound that is derived below from
the weights and the rows. Example: ... campaigns.versions .venv-tfio/bin/python .venv/bin/python
"""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from typing import Any

import numpy as np

N, HIDDEN, ROWS = 12, 16, 50
U = 2.0**-24
# How far a float32 tanh may be from the exact one: Eigen's rational approximation and XLA's say a few units in the
# last place; eight are granted.
TANH = 8 * U
METHODS: dict[str, dict[str, Any]] = {
    "integrated_gradients": {"steps": 16},
    "nested rule": {"steps": 16, "rule": "nested"},
    "input_x_gradient": {"method": "input_x_gradient"},
    "hoisted off": {"steps": 16, "hoist": False},
}


def weights() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """W [N, HIDDEN], b [HIDDEN], v [HIDDEN], float32."""
    random = np.random.default_rng(11)
    drawn = (random.normal(size=shape).astype(np.float32) for shape in ((N, HIDDEN), (HIDDEN,), (HIDDEN,)))
    first, bias, second = drawn
    return first / np.float32(2), bias, second


def rows() -> np.ndarray:
    """[ROWS, N] float32, from almost nothing to saturated."""
    random = np.random.default_rng(12)
    return (random.normal(size=(ROWS, N)) * np.geomspace(0.01, 3, ROWS)[:, None]).astype(np.float32)


def gamma(count: int) -> float:
    """What `count` roundings may change, relative to the sum of the absolute terms (Higham 2002, lemma 3.1)."""
    return count * U / (1 - count * U)


def gradient_error(z: np.ndarray) -> np.ndarray:
    """A bound of the error of ∂(v · tanh(z W + b))/∂z in float32, [rows, N], whatever the order of the sums.

    δ(zW + b) ≤ γ (|z||W| + |b|), with the two roundings of z = αx among them; tanh carries that on at most as it is and
    adds its own error; 1 − t² doubles it and is rounded twice; and the product with v, and the sum over the hidden
    units, add γ relative to their absolute terms.
    """
    first, bias, second = (np.abs(one.astype(np.float64)) for one in weights())
    before = gamma(N + 3) * (np.abs(z) @ first + bias)
    slope = 2 * (before + TANH) + 2 * U
    return (second * (slope + gamma(HIDDEN + 1))) @ first.T


def attribution_error(x: np.ndarray) -> np.ndarray:
    """Of Σ wₖ ∂F(αₖ x) · x with Σ|wₖ| = 1, [rows, N]: the largest gradient error on the way, and three roundings more.

    The bound of the gradient grows with |z|, so that of x holds on the whole path from 0.
    """
    first, _, second = (np.abs(one.astype(np.float64)) for one in weights())
    largest = np.broadcast_to(second @ first.T, x.shape)
    return np.abs(x) * (gradient_error(x) + gamma(3) * largest)


def exact(x: np.ndarray) -> dict[str, np.ndarray]:
    """In float64, where it is easily said: by Gauss-Legendre, and at the row alone."""
    first, bias, second = (one.astype(np.float64) for one in weights())

    def gradient(z: np.ndarray) -> np.ndarray:
        return (second * (1 - np.tanh(z @ first + bias) ** 2)) @ first.T

    nodes, shares = np.polynomial.legendre.leggauss(16)
    on_path = sum(share / 2 * gradient((node + 1) / 2 * x) for node, share in zip(nodes, shares, strict=True))
    return {"integrated_gradients": x * on_path, "input_x_gradient": x * gradient(x)}


def make_model(path: str) -> None:
    """v · tanh(x W + b) as a SavedModel."""
    import tensorflow as tf

    first, bias, second = weights()
    module = tf.Module()
    spec = [tf.TensorSpec((None, N), tf.float32, name="x")]
    module.run = tf.function(lambda x: tf.linalg.matvec(tf.tanh(x @ first + bias), second), input_signature=spec)
    tf.saved_model.save(module, path, signatures=module.run)


def explain(folder: pathlib.Path, out: pathlib.Path) -> None:
    """In one of the interpreters: the attributions by every method."""
    import tensorflow as tf

    from transforms.attribution.config import AttributionConfig, ModelConfig
    from transforms.attribution.explainer import Explainer

    model = ModelConfig(path=str(folder / "model"))
    if not (folder / "model").exists():
        make_model(model.path)
    found: dict[str, Any] = {}
    for name, fields in METHODS.items():
        explanation = Explainer.load(model, AttributionConfig(batch_size=64, **fields)).explain(rows())
        found |= {name: explanation.attributions["x"], f"{name}/status": explanation.status}
    np.savez(out, version=tf.__version__, **found)


def compare(one: Any, other: Any) -> dict[str, float]:
    """By method, the largest difference as a share of what float32 can make of it; and that of each from exact."""
    x = rows().astype(np.float64)
    allowed = attribution_error(x)
    shares = dict[str, float]()
    for name in METHODS:
        if (one[f"{name}/status"] != other[f"{name}/status"]).any():
            raise SystemExit(f"{name}: the statuses differ")
        shares[name] = float((np.abs(one[name].astype(np.float64) - other[name]) / (2 * allowed)).max())
    for name, values in exact(x).items():
        for version in (one, other):
            shares[f"{name}, {version['version']} from exact"] = float((np.abs(version[name] - values) / allowed).max())
    return shares


def main(pythons: Sequence[str]) -> int:
    """Both interpreters, one after the other; 1 where a difference is larger than rounding explains."""
    with tempfile.TemporaryDirectory() as name:
        folder, found = pathlib.Path(name), []
        for number, python in enumerate(pythons):
            out = folder / f"{number}.npz"
            path = os.pathsep.join(str(pathlib.Path(__file__).parents[up]) for up in (1, 2))
            environment = os.environ | {"PYTHONPATH": path, "CUDA_VISIBLE_DEVICES": "-1"}
            subprocess.run([python, "-m", "campaigns.versions", "--explain", folder, out], env=environment, check=True)
            found.append(np.load(out))
        shares = compare(*found)
    print(f"TensorFlow {found[0]['version']} and {found[1]['version']}, share of the bound: {json.dumps(shares)}")
    return int(max(shares.values()) > 1)


if __name__ == "__main__":
    if sys.argv[1] == "--explain":
        explain(pathlib.Path(sys.argv[2]), pathlib.Path(sys.argv[3]))
        sys.exit(0)
    sys.exit(main(sys.argv[1:]))
