"""Rows that kill whoever explains or decodes them, for real: by a path function that a configuration names."""

from __future__ import annotations

import pathlib
import sys
from typing import Any

import datasets
import numpy as np

from pipeline.config import JobConfig

MODULE = "their_poison"
# the first value of a row → what it does
KINDS = {
    "segfault": 1e6,
    "abort": 2e6,
    "exit": 3e6,
    "hang": 4e6,
    "hang in C": 5e6,
    "grow": 6e6,
    "segfault in decoding": 7e6,
}
SOURCE = """
import ctypes, os, pathlib, sys, time
import numpy as np
import tensorflow as tf


def grow():
    kept = []
    while True:
        kept.append(np.ones(2**21))


def hang(sleep):
    pathlib.Path(__file__).with_name("hanging").touch()
    sleep(3600)


ACTS = {
    1e6: lambda: ctypes.string_at(0),
    2e6: os.abort,
    3e6: lambda: os._exit(3),
    4e6: lambda: hang(time.sleep),
    5e6: lambda: hang(ctypes.PyDLL(None).sleep),
    6e6: grow,
}


def bitten(x):
    for value, act in ACTS.items():
        if (x[:, 0] == value).any():
            act()
    return x


def straight(x, start, alpha):
    x = tf.ensure_shape(tf.numpy_function(bitten, [x], tf.float32), x.shape)
    return start + alpha * (x - start), tf.broadcast_to(x - start, tf.shape(x))


if "transforms.isolation.child" in sys.modules:
    from transforms.records import examples

    decode = examples.decode

    def decoded(column, feature):
        if any(row and isinstance(row, list) and row[0] == 7e6 for row in column.to_pylist()):
            ctypes.string_at(0)
        return decode(column, feature)

    examples.decode = decoded
"""


def write_module(folder: pathlib.Path) -> None:
    """The module that the jobs name, to be found in this folder, and no longer in that of another test."""
    sys.modules.pop(MODULE, None)
    (folder / f"{MODULE}.py").write_text(SOURCE, encoding="utf-8")


def rows(poison: dict[int, str]) -> dict[str, Any]:
    """The usual rows; those poisoned differ from them in their first value."""
    columns = datasets.rows()
    pixels: np.ndarray = columns["pixels"].copy()
    for row, kind in poison.items():
        pixels[row, 0] = KINDS[kind]
    return columns | {"pixels": pixels}


def job(job_of: Any, folder: pathlib.Path, poison: dict[int, str], out: str, **parts: Any) -> JobConfig:
    """A job over them along the path of the module, in calls of one size."""
    path = datasets.write_parquet(folder / f"{out}.parquet", rows(poison))
    method = {"name": "path_integrated_gradients", "path": f"{MODULE}:straight"}
    parts["attribution"] = {"method": method, "batch_size": 16} | parts.get("attribution", {})
    parts["input"] = {"label": None, "id": "name"} | parts.get("input", {})
    config: JobConfig = job_of(datasets.quadratic, path, out, **parts)
    return config
