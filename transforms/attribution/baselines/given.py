"""Where the path starts: the baseline of every explained input."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from transforms.attribution.baseline_config import (
    ColumnBaseline,
    ConstantBaseline,
    InputBaseline,
    OneBaseline,
    dataset_kind,
    draws,
    per_row,
)
from transforms.attribution.config import AttributionConfig
from transforms.attribution.model.model_input import ModelInput
from transforms.errors import UsageError, quoted

Values = npt.NDArray[Any]


def check_baselines(config: AttributionConfig, inputs: tuple[ModelInput, ...], layered: bool = False) -> None:
    """Refuse a baseline for something that is not an explained input, and a constant that does not fit its input.

    Args:
        layered: whether a layer is explained: a column has no values of it, and nothing else has an `input`.

    Raises:
        UsageError: E_BASELINE_INPUT, E_BASELINE_SHAPE, E_BASELINE_DTYPE.
    """
    explained = {spec.name: spec for spec in inputs if spec.explained}
    for name in config.baseline:
        if name and name not in explained:
            raise UsageError(
                "E_BASELINE_INPUT",
                f"attribution.baseline names {name!r}, which is not an explained input; those are {sorted(explained)}",
            )
    for spec in explained.values():
        _check_kinds(config, spec.name, layered)
        if all(size is not None for size in spec.shape):
            for one, _ in draws(config.baseline_of(spec.name)):
                if not (isinstance(one, (ColumnBaseline, InputBaseline)) or per_row(one) or dataset_kind(one)):
                    constant(one, spec, tuple(size or 0 for size in spec.shape))


def _check_kinds(config: AttributionConfig, name: str, layered: bool) -> None:
    for one, _ in draws(config.baseline_of(name)):
        if isinstance(one, InputBaseline) and not layered:
            raise UsageError(
                "E_BASELINE_INPUT", f"the baseline of {name!r} is an input's; without model.layer give a constant"
            )
        if isinstance(one, ColumnBaseline) and layered:
            raise UsageError(
                "E_BASELINE_INPUT",
                f"the baseline of {name!r} is the column {one.column!r}, but columns hold inputs, not layers; give a"
                " constant, or {input: VALUE}",
            )


def columns(config: AttributionConfig, inputs: tuple[ModelInput, ...]) -> dict[str, str]:
    """By explained input, the column that holds its rows' baselines, where it has one.

    Raises:
        UsageError: E_BASELINE_INPUT for several columns of one input.
    """
    found: dict[str, str] = {}
    for spec in inputs:
        listed = [one for one, _ in draws(config.baseline_of(spec.name))] if spec.explained else []
        named = {one.column for one in listed if isinstance(one, ColumnBaseline)}
        if len(named) > 1:
            raise UsageError(
                "E_BASELINE_INPUT", f"the baselines of {spec.name!r} are the columns {sorted(named)}; name one at most"
            )
        found |= dict.fromkeys([spec.name], next(iter(named))) if named else {}
    return found


def constant(baseline: OneBaseline | InputBaseline, spec: ModelInput, shape: tuple[int, ...]) -> Values:
    """A baseline that all rows share, [*shape] in the input's point dtype: `zeros` or a constant.

    Raises:
        UsageError: E_BASELINE_SHAPE when a constant does not broadcast to `shape`, E_BASELINE_DTYPE when it holds
            something else than numbers, or lists of different lengths.
    """
    value = baseline.constant if isinstance(baseline, ConstantBaseline) else 0.0
    try:
        array = np.asarray(value, spec.point_dtype)
    except (TypeError, ValueError) as error:
        raise UsageError(
            "E_BASELINE_DTYPE",
            f"the baseline of {spec.name!r} is {quoted(value)}; give numbers, in lists of the same length",
        ) from error
    try:
        return np.broadcast_to(array, shape)
    except ValueError as error:
        raise _misfit(spec.name, str(array.shape), shape) from error


def given_baseline(value: Any, spec: ModelInput, rows: int, shape: tuple[int, ...]) -> Values:
    """A caller's baseline as [rows, *shape] or [1, *shape]: one for all, or one a row.

    Raises:
        UsageError: E_BASELINE_SHAPE, or E_BASELINE_DTYPE for values that are not numbers.
    """
    array = np.asarray(value)
    if not (np.issubdtype(array.dtype, np.number) or array.dtype == np.bool_):
        raise UsageError("E_BASELINE_DTYPE", f"the baseline of {spec.name!r} is {array.dtype}; give numbers")
    leading = rows if array.ndim == len(shape) + 1 and len(array) == rows else 1
    try:
        return np.broadcast_to(array.astype(spec.point_dtype), (leading, *shape))
    except ValueError as error:
        raise _misfit(spec.name, str(array.shape), (leading, *shape)) from error


def shared(baselines: Mapping[str, Values]) -> bool:
    """Whether every input has one baseline for all rows, so that F(x′) needs computing once."""
    return all(len(value) == 1 for value in baselines.values())


def _misfit(name: str, found: str, shape: tuple[int, ...]) -> UsageError:
    return UsageError(
        "E_BASELINE_SHAPE",
        f"the baseline of {name!r} has the shape {found}, which does not broadcast to {list(shape)}; give one number,"
        " or values of the input's shape",
    )
