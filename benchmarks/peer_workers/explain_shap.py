"""shap's expected gradients, on the case's model built again in Keras: `python explain_shap.py FOLDER`.

Options of a command: background (the last so many rows of the case), samples, runs (of so many samples each), seed.
"""

import os
import pathlib
import sys
from importlib import metadata
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np
import shap
from keras_model import build
from serve import load, serve


def main() -> None:
    """Serve the case in FOLDER."""
    case = load(pathlib.Path(sys.argv[1]))
    model = build(case)

    def explain(inputs: Any, labels: Any, internal: int | None, options: dict[str, Any]) -> Any:
        """The attributions of each run and what shap says of their variance, [rows, runs, 2, *shape]."""
        explainer = shap.GradientExplainer(model, case.inputs[-options["background"] :], local_smoothing=0)
        runs = []
        for run in range(options["runs"]):
            values, variances, _ = explainer.shap_values(
                inputs,
                nsamples=options["samples"],
                ranked_outputs=labels[:, np.newaxis],
                output_rank_order="custom",
                rseed=options["seed"] + run,
                return_variances=True,
            )
            runs.append(np.stack([np.reshape(values, inputs.shape), np.reshape(variances, inputs.shape)], axis=1))
        return np.stack(runs, axis=1)

    versions = {name: metadata.version(name) for name in ("shap", "tensorflow-cpu", "numpy")}
    serve(case.inputs, case.labels, explain, versions)


if __name__ == "__main__":
    main()
