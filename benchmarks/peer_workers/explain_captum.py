"""captum's integrated gradients, on the case's model converted to PyTorch: `python explain_captum.py FOLDER`.

Options of a command: steps, rule, layer (the position of one whose values are explained, from those at an input of 0).
Rows are channels first, as PyTorch computes them, converted once before anything is timed; parameters are frozen, which
spares their gradients.
"""

import pathlib
import sys
from typing import Any

import captum
import numpy as np
import torch
from captum.attr import IntegratedGradients, LayerIntegratedGradients
from serve import Case, load, serve
from torch import nn

ACTIVATIONS = {"relu": nn.ReLU, "tanh": nn.Tanh}


def build(case: Case) -> nn.Module:
    """The model, with the case's weights."""
    shape, parts, flattened = _channels_first(case.shape), [], None
    for number, described in enumerate(case.layers):
        kernel, bias = case.weights.get(f"{number}.kernel"), case.weights.get(f"{number}.bias")
        if described["kind"] == "Flatten":
            parts, flattened = [*parts, nn.Flatten()], shape
        elif described["kind"] == "Conv2D":
            added, shape = _convolution(described, (kernel, bias), shape)
            parts += added
        elif described["kind"] == "Embedding":
            parts.append(nn.Embedding.from_pretrained(torch.tensor(kernel)))
            shape = [*shape, kernel.shape[1]]
        else:
            parts.append(_dense(kernel, bias, flattened))
            flattened = None
        if described.get("activation") in ACTIVATIONS:
            parts.append(ACTIVATIONS[described["activation"]]())
    return nn.Sequential(*parts).eval().requires_grad_(False)


def _channels_first(shape: list[int]) -> list[int]:
    return [shape[-1], *shape[:-1]] if len(shape) == 3 else shape


def _convolution(described: Any, weights: Any, shape: list[int]) -> Any:
    """The layer after its padding, and the shape that leaves it. Keras pads "same" by what the stride needs, the odd
    pixel behind; PyTorch's own "same" knows no strides."""
    kernel, bias = weights
    sizes, strides = kernel.shape[:2], described["strides"]
    if described["padding"] == "same":
        outputs = [-(-length // stride) for length, stride in zip(shape[1:], strides, strict=True)]
        totals = [max((o - 1) * s + k - n, 0) for o, s, k, n in zip(outputs, strides, sizes, shape[1:], strict=True)]
    else:
        outputs = [(length - k) // stride + 1 for length, k, stride in zip(shape[1:], sizes, strides, strict=True)]
        totals = [0, 0]
    (up, left), (down, right) = [t // 2 for t in totals], [t - t // 2 for t in totals]
    layer = nn.Conv2d(kernel.shape[2], kernel.shape[3], tuple(sizes), tuple(strides))
    _set(layer, np.transpose(kernel, (3, 2, 0, 1)), bias)
    return [nn.ZeroPad2d((left, right, up, down)), layer], [kernel.shape[3], *outputs]


def _dense(kernel: Any, bias: Any, flattened: list[int] | None) -> nn.Module:
    """The layer; after a Flatten, its rows in the order in which PyTorch flattens."""
    if flattened is not None and len(flattened) == 3:
        channels, height, width = flattened
        kernel = kernel.reshape(height, width, channels, -1).transpose(2, 0, 1, 3).reshape(len(kernel), -1)
    layer = nn.Linear(*kernel.shape)
    _set(layer, kernel.T, bias)
    return layer


def _set(layer: Any, kernel: Any, bias: Any) -> None:
    layer.weight = nn.Parameter(torch.tensor(np.ascontiguousarray(kernel)))
    layer.bias = nn.Parameter(torch.tensor(bias))


def main() -> None:
    """Serve the case in FOLDER."""
    case = load(pathlib.Path(sys.argv[1]))
    model = build(case)
    rows = case.inputs.transpose(0, 3, 1, 2) if len(case.shape) == 3 else case.inputs
    inputs, labels = torch.tensor(np.ascontiguousarray(rows)), torch.tensor(case.labels)

    def explain(chosen: Any, targets: Any, internal: int | None, options: dict[str, Any]) -> Any:
        layered = "layer" in options
        explainer = LayerIntegratedGradients(model, model[options["layer"]]) if layered else IntegratedGradients(model)
        start = 0 if layered else 0.0
        found = explainer.attribute(
            chosen, start, targets, n_steps=options["steps"], method=options["rule"], internal_batch_size=internal
        )
        found = found.detach().numpy()
        return found.transpose(0, 2, 3, 1) if found.ndim == 4 else found

    serve(inputs, labels, explain, {"captum": captum.__version__, "torch": torch.__version__})


if __name__ == "__main__":
    main()
