"""What an anatomy consists of, whichever format it is read from, and how a damaged model is refused."""

from __future__ import annotations

import dataclasses
import json
import pathlib
from typing import Any, NamedTuple

from transforms.errors import UsageError

Shape = tuple[int | None, ...]


@dataclasses.dataclass(frozen=True)
class TensorInfo:
    """An input or output.

    Attributes:
        shape: the batch dimension first; None when not even its rank is known.
        only_cast: of an integer input, whether the model does nothing with it but cast it to a float; None where the
            files do not tell.
    """

    name: str
    shape: Shape | None
    dtype: str
    only_cast: bool | None = None


@dataclasses.dataclass(frozen=True)
class SignatureInfo:
    """One way of calling the model. A .keras file has one, shown under the name that its export would have."""

    name: str
    inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...]


@dataclasses.dataclass(frozen=True)
class LayerInfo:
    """A Keras layer (`outer/inner` within nested models), or an op by its name in the flat graph.

    Attributes:
        kind: the Keras class, or the op's type.
        output: the shape of its first output, the batch dimension first; None when the files do not say.
        affine: `affine` where all up to its output is affine in one input, `affine, then relu` where its activation
            ends that, or nothing. Of a SavedModel it is never told: its op list has no edges, and whether an operand is
            constant takes more than names; `attribeam plan --pilot` tells what was found in the graph.
        embedding: whether it looks up vectors for integers: what to explain where those are token ids.
    """

    name: str
    kind: str
    output: Shape | None
    affine: str = ""
    embedding: bool = False


class Parts(NamedTuple):
    """What the files of either format tell; the fields are `Anatomy`'s."""

    signatures: tuple[SignatureInfo, ...]
    layers: tuple[LayerInfo, ...]
    risks: tuple[str, ...]
    versions: dict[str, str]


def invalid(path: str, found: str) -> UsageError:
    """E_MODEL_INVALID, saying what was found there."""
    return UsageError(
        "E_MODEL_INVALID",
        f"{path} is no model that can be read: {found}; a SavedModel directory or a .keras file is expected",
    )


def read_bytes(file: pathlib.Path, size: int = -1) -> bytes:
    """The first `size` bytes of a file, or all of them.

    Raises:
        UsageError: E_MODEL_INVALID.
    """
    try:
        with file.open("rb") as stream:
            return stream.read(size)
    except OSError as error:
        raise invalid(str(file), f"it cannot be read: {error}") from error


def parse_json(text: str | bytes, path: str, what: str) -> Any:
    """The JSON value in a part of the model that an error calls `what`.

    Raises:
        UsageError: E_MODEL_INVALID.
    """
    try:
        return json.loads(text)
    # ValueError: also bytes that are no text, and integers of thousands of digits
    except (ValueError, RecursionError) as error:
        raise invalid(path, f"{what} is not JSON ({error})") from error
