"""PAIR's blur and guided integrated gradients, on the model built again in Keras: `python explain_saliency.py FOLDER`.

A mask a row, as PAIR computes them. Options of a command: method, "BlurIG" or "GuidedIG", and `arguments` of GetMask.
"""

import os
import pathlib
import sys
from importlib import metadata
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np
import tensorflow as tf
from keras_model import build, gradient
from saliency import core
from serve import load, serve

METHODS = {"BlurIG": core.BlurIG, "GuidedIG": core.GuidedIG}


def main() -> None:
    """Serve the case in FOLDER."""
    case = load(pathlib.Path(sys.argv[1]))
    found = gradient(build(case))

    def call_model(points: Any, call_model_args: Any = None, expected_keys: Any = None) -> dict[str, Any]:
        labels = np.full(len(points), call_model_args, np.int64)
        _, gradients = found(tf.constant(points, tf.float32), tf.constant(labels))
        return {core.INPUT_OUTPUT_GRADIENTS: gradients.numpy()}

    def explain(inputs: Any, labels: Any, internal: int | None, options: dict[str, Any]) -> Any:
        mask, arguments = METHODS[options["method"]]().GetMask, options["arguments"]
        rows = zip(inputs.astype(np.float64), labels, strict=True)
        return np.stack([mask(row, call_model, int(label), **arguments) for row, label in rows])

    versions = {name: metadata.version(name) for name in ("saliency", "tensorflow-cpu", "numpy", "scipy")}
    serve(case.inputs, case.labels, explain, versions)


if __name__ == "__main__":
    main()
