"""alibi's integrated gradients, on the case's model built again in Keras 2: `python explain_alibi.py FOLDER STEPS`.

Keras 2 cannot open a Keras 3 file, and alibi's TensorFlow (below 2.15) has Keras 2: hence layers and weights.
"""

import os
import pathlib
import sys
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import alibi
import tensorflow as tf
from alibi.explainers import IntegratedGradients
from serve import Case, load, serve


def build(case: Case) -> Any:
    """The model, with the case's weights."""
    entry = value = tf.keras.Input(tuple(case.shape))
    for number, described in enumerate(case.layers):
        arguments = dict(described)
        layer = getattr(tf.keras.layers, arguments.pop("kind"))(**arguments)
        value = layer(value)
        if layer.weights:
            layer.set_weights([case.weights[f"{number}.kernel"], case.weights[f"{number}.bias"]])
    return tf.keras.Model(entry, value)


def main() -> None:
    """Serve the case in FOLDER."""
    case, steps = load(pathlib.Path(sys.argv[1])), int(sys.argv[2])
    model = build(case)

    def explain(inputs: Any, labels: Any, internal: int | None) -> Any:
        explainer = IntegratedGradients(
            model, method="gausslegendre", n_steps=steps, internal_batch_size=internal or len(inputs) * steps
        )
        return explainer.explain(inputs, baselines=0.0, target=labels).attributions[0]

    serve(case.inputs, case.labels, explain, {"alibi": alibi.__version__, "tensorflow": tf.__version__})


if __name__ == "__main__":
    main()
