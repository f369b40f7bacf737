"""The randomisation check: a map that stays as it is when the model's weights are shuffled does not explain the model.

Source: Adebayo et al., "Sanity Checks for Saliency Maps", NeurIPS 2018.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from transforms.attribution.baselines.row_baselines import generator
from transforms.attribution.model.model import Model
from transforms.attribution.model.subgraph import imported

Values = npt.NDArray[Any]


def shuffled(model: Model, seed: int) -> Model:
    """A copy of a frozen model, each of its weights permuted within itself; the model stays as it is.

    A weight is any floating-point constant of the graph with more than one value. All are shuffled at once.
    """
    function = model.outputs.function
    described = tf.compat.v1.GraphDef()
    described.CopyFrom(function.graph.as_graph_def())
    for node in described.node:
        if node.op == "Const":
            _shuffle(node.attr["value"].tensor, seed, node.name)
    copy = imported(described, function.inputs, [tensor.name for tensor in function.outputs])
    table = dataclasses.replace(model.outputs, function=copy)
    return dataclasses.replace(model, outputs=table, stem=None, head=table)


def _shuffle(tensor: Any, seed: int, name: str) -> None:
    values = tf.make_ndarray(tensor)
    if values.size > 1 and np.issubdtype(values.dtype, np.floating):
        mixed = generator(seed, "weights", name).permutation(values.ravel()).reshape(values.shape)
        tensor.CopyFrom(tf.make_tensor_proto(mixed, dtype=tensor.dtype))


def similarity(own: Values, other: Values) -> float:
    """`rank_correlation` over the features that are not 0 in both maps.

    A feature that equals its baseline is 0 whatever the model does: a map of many of them would resemble any other.

    Args:
        own, other: the maps before and after, of the same shape.
    """
    known = (own != 0) | (other != 0)
    return rank_correlation(own[known], other[known])


def rank_correlation(one: Values, other: Values) -> float:
    """Spearman's correlation of |A| between two maps of the same shape, equal values sharing their mean rank.

    NaN where a map is flat.
    """
    if not one.size:
        return float("nan")
    first, second = (_ranks(np.abs(values.ravel())) for values in (one, other))
    sizes = np.linalg.norm(first) * np.linalg.norm(second)
    return float(first @ second / sizes) if sizes > 0 else float("nan")


def _ranks(values: Values) -> npt.NDArray[np.float64]:
    """Mean ranks, less their mean, [n]."""
    _, places, counts = np.unique(values, return_inverse=True, return_counts=True)
    ranks = np.cumsum(counts) - (counts + 1) / 2
    return np.asarray(ranks[places] - (len(values) - 1) / 2, np.float64)
