"""Which entry of the model's output is explained, row by row."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from transforms.attribution.config import AttributionConfig
from transforms.attribution.target_config import Contrast, Entry, NamedClass, Reduced, Target, TopK
from transforms.class_names import index_of
from transforms.errors import Fault, UsageError

Indices = npt.NDArray[np.int64]


def by_index(target: Target | None, names: Sequence[str]) -> Target | None:
    """The same target with an index in place of every name.

    Raises:
        UsageError: E_TARGET_NAME.
    """
    if isinstance(target, NamedClass):
        return index_of(target.name, names)
    if isinstance(target, Contrast):
        first, second = (index_of(one, names) if isinstance(one, str) else one for one in target.contrast)
        return Contrast(contrast=(first, second))
    if isinstance(target, Reduced):
        return target.model_copy(update={"of": by_index(target.of, names)})
    return target


def check_target(target: Entry | None, classes: int) -> None:
    """Refuse, before anything is computed, a target that cannot fit a model with `classes` outputs.

    Raises:
        UsageError: E_TARGET_MISSING, E_TARGET_NEEDLESS, E_TARGET_RANGE.
    """
    if classes == 1 and target is not None:
        raise UsageError(
            "E_TARGET_NEEDLESS",
            f"attribution.target is {target!r}, but the model's output has one value a row; leave the target out",
        )
    if classes > 1 and target is None:
        raise UsageError(
            "E_TARGET_MISSING",
            f"the model's output has {classes} values a row; set attribution.target (of a reduction, `of`) to label,"
            " predicted, an index, or {top_k: 3}",
        )
    if isinstance(target, TopK) and target.top_k > classes:
        raise UsageError(
            "E_TARGET_RANGE",
            f"attribution.target is the top {target.top_k}, but the model's output has {classes} values",
        )
    if isinstance(target, int) and target >= classes:
        raise UsageError("E_TARGET_RANGE", _out_of_range(target, classes))


def label_faults(labels: Indices, classes: int) -> dict[int, Fault]:
    """By row, the labels (int64 [rows]) that are no index of an output with `classes` values."""
    outside = np.flatnonzero((labels < 0) | (labels >= classes))
    return {int(row): Fault("E_TARGET_RANGE", _out_of_range(int(labels[row]), classes)) for row in outside}


def given_labels(value: Any, rows: int, names: Sequence[str] = ()) -> Indices:
    """A caller's labels, integers or `names`, one for all rows or one a row, as int64 [rows].

    Raises:
        UsageError: E_TARGET_NAME, and E_TARGET_LABELS for anything else: 1.7 is not taken for 1.
    """
    labels = np.asarray(value)
    if names and all(isinstance(label, str) for label in labels.ravel()):
        indices = {label: index_of(label, names) for label in set(labels.ravel().tolist())}
        labels = np.vectorize(indices.__getitem__, otypes=[np.int64])(labels)
    if labels.shape not in ((), (rows,)) or not np.can_cast(labels.dtype, np.int64, "same_kind"):
        found = f"the labels are {labels.dtype} of the shape {labels.shape}"
        raise UsageError("E_TARGET_LABELS", f"{found}; give integers, one for all rows or one for each of the {rows}")
    return np.broadcast_to(labels.astype(np.int64), (rows,))


def known(config: AttributionConfig, rows: int, labels: Indices | None, classes: int) -> Indices | None:
    """The explained entries of each row, int64 [rows, targets], where they do not depend on the outputs; else None.

    Args:
        labels: int64 [rows], for `target: label`.

    Raises:
        UsageError: E_TARGET_LABELS when `target: label` has no labels, E_TARGET_RANGE when one is out of range.
    """
    if config.entry == "predicted" or config.ranked:
        return None
    if config.entry != "label":
        return np.full((rows, 1), config.entry or 0, np.int64)
    if labels is None:
        raise UsageError("E_TARGET_LABELS", "attribution.target is label, but there are no labels; give them")
    faults = label_faults(labels, classes)
    if faults:
        row, fault = next(iter(faults.items()))
        raise UsageError(fault.code, f"row {row}: {fault.message}")
    return labels[:, np.newaxis]


def choose(config: AttributionConfig, outputs: npt.NDArray[np.floating]) -> Indices:
    """The entries that outputs [rows, classes] decide: the largest, or the largest k; int64 [rows, targets]."""
    count = config.targets
    if count == 1:
        return predicted(outputs)[:, np.newaxis]
    # stable: of equal outputs, the first
    return np.argsort(-outputs, axis=1, kind="stable")[:, :count].astype(np.int64)


def predicted(outputs: npt.NDArray[np.floating]) -> Indices:
    """The largest entry of outputs [rows, classes], int64 [rows]; of equal ones the first."""
    return np.asarray(np.argmax(outputs, axis=1), np.int64)


def _out_of_range(target: int, classes: int) -> str:
    return f"target {target} is out of range: the model's output has the entries 0 to {classes - 1}"
