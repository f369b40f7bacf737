"""The kernel's program on what JAX finds, a GPU or this CPU: right values, gradients a second, share of its rate.

    python -m benchmarks.gpu.run out/gpu/resnet50 [--out gpu.json]      (from the repository's root; numpy and jax only)

For each precision: the outputs against those that the CPU gave at the export; gradients a second, inputs and outputs on
the device; floating-point operations a second, as XLA counts those of the program; and which share that is of a large
matrix product in the same precision on the same device.
"""

from __future__ import annotations

import argparse
import json
import pathlib
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.gpu.program import PRECISIONS, Executable, Exported, read

MATRIX_SIZE = {"gpu": 16384, "cpu": 2048}
# Of the median error, by the largest value. The unit roundoff of an operand, 2^-24, 2^-11 and 2^-8, adds up over a few
# hundred products and sums; 1e-4 leaves float32 room for other algorithms, such as Winograd's, on a GPU.
TOLERANCE = {"float32": 1e-4, "tf32": 5e-3, "bfloat16": 4e-2}


def spread(values: Sequence[float]) -> dict[str, float]:
    """Median, smallest and largest."""
    return {"median": statistics.median(values), "min": min(values), "max": max(values)}


def calls_per_s(call: Callable[[], Any], repetitions: int, seconds: float) -> list[float]:
    """Calls a second, once a repetition: as many as fill `seconds`, sent off one after another."""
    jax.block_until_ready(call())
    started = time.perf_counter()
    jax.block_until_ready(call())
    count = max(1, round(seconds / (time.perf_counter() - started)))
    rates = []
    for _ in range(repetitions):
        started = time.perf_counter()
        # a device runs what it is sent in order: the last result comes last
        for _ in range(count):
            result = call()
        jax.block_until_ready(result)
        rates.append(count / (time.perf_counter() - started))
    return rates


def matrix_flops_per_s(precision: str, size: int, repetitions: int, seconds: float) -> dict[str, float]:
    """The chip's own rate: the product of two square matrices of normal numbers."""
    dtype = jnp.bfloat16 if precision == "bfloat16" else jnp.float32
    asked = {"float32": "highest", "tf32": "tensorfloat32", "bfloat16": "default"}[precision]
    left, right = (jax.random.normal(jax.random.key(seed), (size, size), dtype) for seed in (0, 1))
    with jax.default_matmul_precision(asked):
        product = jax.jit(jnp.matmul).lower(left, right).compile()
    rates = calls_per_s(lambda: product(left, right), repetitions, seconds)
    return spread([2.0 * size**3 * rate for rate in rates])


def errors(found: Sequence[Any], expected: Sequence[Any]) -> dict[str, Any]:
    """How far the outputs are from others; by the largest value: the largest error, and the median one.

    Where a ReLU or a maximum is all but undecided, rounding decides, and some gradients jump: in a deep net the largest
    error is theirs, in any precision. The median is not.
    """
    pairs = [
        (np.asarray(value, np.float64), other.astype(np.float64)) for value, other in zip(found, expected, strict=True)
    ]
    apart = np.concatenate([np.abs(value - other).ravel() for value, other in pairs])
    size = np.concatenate([np.abs(other).ravel() for _, other in pairs])
    return {
        "bit_equal": bool(not apart.any()),
        "max": float(apart.max() / size.max()),
        "median": float(np.median(apart) / size.max()),
        "l2": float(np.linalg.norm(apart) / np.linalg.norm(size)),
    }


def measure(exported: Exported, precision: str, options: argparse.Namespace) -> dict[str, Any]:
    """Errors and rates in one precision."""
    device = jax.devices()[0]
    started = time.perf_counter()
    program = Executable(exported, precision, device)
    compile_s, found = time.perf_counter() - started, [np.asarray(value) for value in program()]
    against = {kind: errors(found, values) for kind, values in exported.values.items()}
    calls = calls_per_s(program, options.repetitions, options.seconds)
    size = options.matrix or MATRIX_SIZE[device.platform]
    matrix = matrix_flops_per_s(precision, size, options.repetitions, options.seconds)
    achieved = program.flops * statistics.median(calls)
    return {
        "ok": bool(against["xla"]["median"] <= TOLERANCE[precision]),
        "products": program.products,
        "flops_each": program.flops / exported.points,
        "compile_s": compile_s,
        "errors_against": against,
        "gradients_per_s": spread([exported.points * rate for rate in calls]),
        "flops_per_s": achieved,
        "matrix_flops_per_s": matrix,
        "share_of_matrix_rate": achieved / matrix["median"],
    }


def main(options: argparse.Namespace) -> int:
    """Print a table and write what was asked for; 1 if values are wrong."""
    exported, device = read(options.folder), jax.devices()[0]
    facts = {"device": device.device_kind, "platform": device.platform, "jax": jax.__version__}
    facts["cpu_apart"] = errors(exported.values["xla"], exported.values["tensorflow"])
    print(f"{exported.facts['case']}, {exported.points} gradients a call, on", end=" ")
    print(f"{device.device_kind}, JAX {jax.__version__}; the CPU's two programs: {_said(facts['cpu_apart'])}")
    results = {}
    for precision in options.precisions:
        found = results[precision] = measure(exported, precision, options)
        rate = found["gradients_per_s"]
        print(f"{precision:9} {'ok' if found['ok'] else 'WRONG':5} {_said(found['errors_against']['xla'])}")
        print(f"          {rate['median']:.4g} gradients/s ({rate['min']:.4g} to {rate['max']:.4g})", end=", ")
        print(
            f"{found['flops_per_s'] / 1e12:.4g} TFLOP/s of {found['matrix_flops_per_s']['median'] / 1e12:.4g}", end=" "
        )
        print(f"in a matrix product: {found['share_of_matrix_rate']:.1%}", end="; ")
        print(f"{found['flops_each'] / 1e9:.4g} GFLOP a gradient; compiled in {found['compile_s']:.1f} s")
    if options.out:
        report = {"export": exported.facts} | facts | {"precisions": results}
        options.out.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    return 0 if all(found["ok"] for found in results.values()) else 1


def _said(error: dict[str, Any]) -> str:
    if error["bit_equal"]:
        return "bit-equal"
    return f"error by the largest value: median {error['median']:.2g}, max {error['max']:.2g}; in L2 {error['l2']:.2g}"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--precisions", nargs="+", choices=PRECISIONS, default=PRECISIONS)
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1.0, help="of one repetition")
    parser.add_argument("--matrix", type=int, help="rows of the matrices; by default 16384 on a GPU, 2048 on a CPU")
    parser.add_argument("--out", type=pathlib.Path)
    sys.exit(main(parser.parse_args()))
