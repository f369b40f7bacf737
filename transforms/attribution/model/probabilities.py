"""What a model's output says in probabilities, where it says any, and how unsure it is."""

from __future__ import annotations

import dataclasses
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from transforms.attribution.model.model import Model

Doubles = npt.NDArray[np.float64]
# Ops that may stand between the one that makes probabilities and the output, and change no value
_PASSING = {"Identity", "Reshape", "Squeeze", "ExpandDims", "Cast", "StopGradient", "PartitionedCall"}
# How far the sum of a float32 softmax over any number of classes may be from 1, with room
SUM_SLACK = 1e-3


@dataclasses.dataclass(frozen=True)
class Reading:
    """How probabilities come from F.

    Attributes:
        kind: `softmax`: the entries of a row are one distribution; `sigmoid`: each is that of yes or no.
        logits: whether the function of that name is still to be applied.
    """

    kind: Literal["softmax", "sigmoid"]
    logits: bool


def known_reading(model: Model) -> Reading | None:
    """What the model itself, or `model.activation`, says of F; None when neither does."""
    activation = model.outputs.activation
    if activation is not None:
        return Reading("softmax" if activation == "softmax" else "sigmoid", False)
    last = _last_op(model)
    if last == "Softmax" and model.classes > 1:
        return Reading("softmax", False)
    return Reading("sigmoid", False) if last == "Sigmoid" else None


def given_reading(model: Model, output: Literal["logits", "probabilities"]) -> Reading:
    """What a user says of F: of several entries one distribution, of one that of yes or no."""
    return Reading("softmax" if model.classes > 1 else "sigmoid", output == "logits")


def likely_reading(outputs: npt.NDArray[Any]) -> Reading | None:
    """By F at some inputs, [rows, classes]: several entries are a distribution if they look like one, else logits.

    None for one entry: a number says nothing of what it means.
    """
    if outputs.shape[1] == 1:
        return None
    sums = outputs.sum(axis=1, dtype=np.float64)
    return Reading("softmax", not (bool((outputs >= 0).all()) and bool((np.abs(sums - 1) <= SUM_SLACK).all())))


def entropy_share(outputs: npt.NDArray[Any], reading: Reading) -> Doubles:
    """Of each row of F, [rows, classes], the entropy as a share of the greatest; of several yes or no, the mean."""
    values = outputs.astype(np.float64)
    if reading.logits:
        if reading.kind == "softmax":
            values = np.exp(values - values.max(axis=1, keepdims=True))
        else:
            values = 1 / (1 + np.exp(-np.clip(values, -700, 700)))
    if reading.kind == "softmax":
        shares = values / values.sum(axis=1, keepdims=True)
        found: Doubles = _entropy(shares).sum(axis=1) / np.log(shares.shape[1])
    else:
        shares = np.clip(values, 0, 1)
        found = ((_entropy(shares) + _entropy(1 - shares)) / np.log(2)).mean(axis=1)
    return found


def _entropy(shares: Doubles) -> Doubles:
    return -shares * np.log(np.where(shares > 0, shares, 1))


def _last_op(model: Model) -> str | None:
    """The type of the op that makes the output's values; None for a model that is not one flat graph."""
    if not model.frozen:
        return None
    op = model.outputs.function.outputs[0].op
    while op.type in _PASSING and op.inputs:
        op = op.inputs[0].op
    return str(op.type)
