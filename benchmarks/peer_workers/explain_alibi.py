"""alibi's integrated gradients, on the case's model built again in Keras 2: `python explain_alibi.py FOLDER`.

Options of a command: steps, rule, layer (the position of one whose values are explained, from those at an input of 0).
"""

import os
import pathlib
import sys
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import alibi
import tensorflow as tf
from alibi.explainers import IntegratedGradients
from keras_model import build
from serve import load, serve


def main() -> None:
    """Serve the case in FOLDER."""
    case = load(pathlib.Path(sys.argv[1]))
    model = build(case)

    def explain(inputs: Any, labels: Any, internal: int | None, options: dict[str, Any]) -> Any:
        size = internal or len(inputs) * options["steps"]
        layer = model.layers[options["layer"] + 1] if "layer" in options else None
        explainer = IntegratedGradients(
            model, layer=layer, method=options["rule"], n_steps=options["steps"], internal_batch_size=size
        )
        start = 0.0 if layer is None else 0
        return explainer.explain(inputs, baselines=start, target=labels).attributions[0]

    serve(case.inputs, case.labels, explain, {"alibi": alibi.__version__, "tensorflow": tf.__version__})


if __name__ == "__main__":
    main()
