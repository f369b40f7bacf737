"""One input of a model, as everything that feeds it needs to know it."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from transforms.errors import UsageError


@dataclasses.dataclass(frozen=True)
class ModelInput:
    """One input of a model.

    Attributes:
        shape: of one example; None where the model takes any size.
        dtype: as the model declares it: what the data must be.
        point_dtype: in which the points on the path are computed and fed.
        explained: whether it is differentiated; else it is held at its value.
    """

    name: str
    shape: tuple[int | None, ...]
    dtype: np.dtype[Any]
    point_dtype: np.dtype[Any]
    explained: bool


class Described(Protocol):
    """What a model is known to be: of a loaded one all of it, of one that is only read what its files tell.

    Attributes:
        sources: what the data feeds: the inputs of the whole model.
        explained: what gets attributions: inputs, or a layer's value; None where that is not known.
        names: of the entries of the output's last axis; () for none.
        digest: sha256 of the model's files.
    """

    @property
    def sources(self) -> tuple[ModelInput, ...]: ...
    @property
    def explained(self) -> tuple[ModelInput, ...] | None: ...
    @property
    def names(self) -> tuple[str, ...]: ...
    @property
    def digest(self) -> str: ...


def describe_input(spec: Any, cast: bool) -> ModelInput:
    """An input, by its TensorSpec, which is explained if it is a float, or is only `cast` to one."""
    dtype = np.dtype(spec.dtype.as_numpy_dtype)
    explained = spec.dtype.is_floating or cast
    # half precision on the path itself would lose nodes: the points are float32 and cast on their way in
    point = dtype if not explained or dtype == np.float64 else np.dtype(np.float32)
    return ModelInput(spec.name, tuple(spec.shape[1:]), dtype, point, explained)


def held_input(spec: Any) -> ModelInput:
    """An input, by its TensorSpec, that is held at its value."""
    dtype = np.dtype(spec.dtype.as_numpy_dtype)
    return ModelInput(spec.name, tuple(spec.shape[1:]), dtype, dtype, explained=False)


def fixed_batch(specs: Sequence[Any]) -> int | None:
    """The only batch size that inputs of these TensorSpecs take, or None for any."""
    sizes = {spec.shape[0] for spec in specs} - {None}
    return int(min(sizes)) if sizes else None


def check_input(spec: Any) -> None:
    """Refuse an input, by its TensorSpec, that no feature can feed.

    Raises:
        UsageError: E_MODEL_INPUT_SHAPE, E_MODEL_INPUT_DTYPE.
    """
    if spec.shape.rank is None or spec.shape.rank == 0:
        raise UsageError(
            "E_MODEL_INPUT_SHAPE",
            f"the model's input {spec.name!r} has the shape {spec.shape}; it must be [batch, ...] of a known rank",
        )
    if not (spec.dtype.is_floating or spec.dtype.is_integer or spec.dtype.is_bool):
        raise UsageError(
            "E_MODEL_INPUT_DTYPE",
            f"the model's input {spec.name!r} is {spec.dtype.name}; inputs must be numbers. Export the part of the"
            " model after the decoding of strings",
        )
