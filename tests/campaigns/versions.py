"""The same rows under two TensorFlows: `PYTHONPATH=tests python -m campaigns.versions PYTHON_A PYTHON_B`.

Each interpreter explains the same rows of the same SavedModel, which the first one makes (so give the older one first),
method by method; the attributions must agree within what rounding can do, by a bound that is derived below from the
weights and the rows: that of float32, and, for the same model in float64, that of float64 and of the one rounding to
what is written, which any step of it in float32 would exceed. Example:
    ... campaigns.versions .venv-tfio/bin/python .venv/bin/python
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
U = {"float32": 2.0**-24, "float64": 2.0**-53}
# How far a tanh may be from the exact one, in roundings: Eigen's rational approximation and XLA's say a few units in
# the last place; eight are granted.
TANH = 8
METHODS: dict[str, dict[str, Any]] = {
    "integrated_gradients": {"steps": 16},
    "nested rule": {"steps": 16, "rule": "nested"},
    "input_x_gradient": {"method": "input_x_gradient"},
    "hoisted off": {"steps": 16, "hoist": False},
}
EXACT = {
    "integrated_gradients": "integrated_gradients",
    "hoisted off": "integrated_gradients",
    "input_x_gradient": "input_x_gradient",
}
"""Methods whose values are easily said, and where `exact` has them."""


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


def gamma(count: int, u: float) -> float:
    """What `count` roundings may change, relative to the sum of the absolute terms (Higham 2002, lemma 3.1)."""
    return count * u / (1 - count * u)


def gradient_error(z: np.ndarray, u: float) -> np.ndarray:
    """A bound of the error of ∂(v · tanh(z W + b))/∂z with roundings of u, [rows, N], whatever the order of the sums.

    δ(zW + b) ≤ γ (|z||W| + |b|), with the two roundings of z = αx among them; tanh carries that on at most as it is and
    adds its own error; 1 − t² doubles it and is rounded twice; and the product with v, and the sum over the hidden
    units, add γ relative to their absolute terms.
    """
    first, bias, second = (np.abs(one.astype(np.float64)) for one in weights())
    before = gamma(N + 3, u) * (np.abs(z) @ first + bias)
    slope = 2 * (before + TANH * u) + 2 * u
    return (second * (slope + gamma(HIDDEN + 1, u))) @ first.T


def attribution_error(x: np.ndarray, dtype: str) -> np.ndarray:
    """Of Σ wₖ ∂F(αₖ x) · x with Σ|wₖ| = 1, [rows, N]: the largest gradient error on the way, and three roundings more.

    The bound of the gradient grows with |z|, so that of x holds on the whole path from 0. A float64 model's is doubled,
    since what it is compared with is in float64 as well; and it is rounded to float32 once, which adds to it.
    """
    first, _, second = (np.abs(one.astype(np.float64)) for one in weights())
    largest, u = np.broadcast_to(second @ first.T, x.shape), U[dtype]
    computed = np.abs(x) * (gradient_error(x, u) + gamma(3, u) * largest)
    return computed if dtype == "float32" else 2 * computed


def exact(x: np.ndarray) -> dict[str, np.ndarray]:
    """In float64, where it is easily said: by Gauss-Legendre, and at the row alone."""
    first, bias, second = (one.astype(np.float64) for one in weights())

    def gradient(z: np.ndarray) -> np.ndarray:
        return (second * (1 - np.tanh(z @ first + bias) ** 2)) @ first.T

    nodes, shares = np.polynomial.legendre.leggauss(16)
    on_path = sum(share / 2 * gradient((node + 1) / 2 * x) for node, share in zip(nodes, shares, strict=True))
    return {"integrated_gradients": x * on_path, "input_x_gradient": x * gradient(x)}


def make_model(path: pathlib.Path, dtype: str) -> None:
    """v · tanh(x W + b) as a SavedModel."""
    import tensorflow as tf

    first, bias, second = (one.astype(dtype) for one in weights())
    module = tf.Module()
    spec = [tf.TensorSpec((None, N), dtype, name="x")]
    module.run = tf.function(lambda x: tf.linalg.matvec(tf.tanh(x @ first + bias), second), input_signature=spec)
    tf.saved_model.save(module, str(path), signatures=module.run)


def explain(folder: pathlib.Path, out: pathlib.Path) -> None:
    """In one of the interpreters: the attributions by every method, of both models."""
    import tensorflow as tf

    from transforms.attribution.config import AttributionConfig, ModelConfig
    from transforms.attribution.explainer import Explainer

    found: dict[str, Any] = {}
    for dtype in U:
        if not (folder / dtype).exists():
            make_model(folder / dtype, dtype)
        for name, fields in METHODS.items():
            config = AttributionConfig(batch_size=64, **fields)
            explanation = Explainer.load(ModelConfig(path=str(folder / dtype)), config).explain(rows().astype(dtype))
            found |= {f"{dtype}/{name}": explanation.attributions["x"], f"{dtype}/{name}/status": explanation.status}
    np.savez(out, version=tf.__version__, **found)


def compare(one: Any, other: Any) -> dict[str, float]:
    """By type and method, the largest difference as a share of what rounding can make of it; and each from exact."""
    x = rows().astype(np.float64)
    known, shares = exact(x), dict[str, float]()
    for dtype in U:
        allowed = attribution_error(x, dtype)
        for name in METHODS:
            key = f"{dtype}/{name}"
            if (one[f"{key}/status"] != other[f"{key}/status"]).any():
                raise SystemExit(f"{key}: the statuses differ")
            both = [(found[key].astype(np.float64), allowed + written(found[key], dtype)) for found in (one, other)]
            (values, bound), (others, its_bound) = both
            shares[key] = largest_share(values - others, bound + its_bound)
            for found, (values, bound) in zip((one, other), both, strict=True):
                if name in EXACT:
                    shares[f"{key}, {found['version']} from exact"] = largest_share(values - known[EXACT[name]], bound)
    return shares


def seen_in_float32(found: Any) -> float:
    """What computing in float32 does, as a share of float64's bound: more than 1, or that bound would show nothing."""
    x = rows().astype(np.float64)
    values = {name: found[f"float32/{name}"].astype(np.float64) for name in EXACT}
    bounds = {name: attribution_error(x, "float64") + written(values[name], "float64") for name in EXACT}
    return min(largest_share(values[name] - exact(x)[EXACT[name]], bounds[name]) for name in EXACT)


def written(values: np.ndarray, dtype: str) -> np.ndarray:
    """What rounding to the float32 that is written adds; float32 is counted as that already."""
    return U["float32"] * np.abs(values.astype(np.float64)) * (dtype == "float64")


def largest_share(difference: np.ndarray, bound: np.ndarray) -> float:
    """The largest difference, as a share of its bound."""
    return float((np.abs(difference) / bound).max())


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
        shares, seen = compare(*found), seen_in_float32(found[0])
    print(f"TensorFlow {found[0]['version']} and {found[1]['version']}, share of the bound: {json.dumps(shares)}")
    print(f"float32 by the bound of float64: {seen:.1f}")
    return int(max(shares.values()) > 1 or seen <= 1)


if __name__ == "__main__":
    if sys.argv[1] == "--explain":
        explain(pathlib.Path(sys.argv[2]), pathlib.Path(sys.argv[3]))
        sys.exit(0)
    sys.exit(main(sys.argv[1:]))
