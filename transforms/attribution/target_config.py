"""What the user says about which number of the model's output is explained."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag

from transforms.settings import Settings

Index = Annotated[int, Field(ge=0)]
Word = Literal["label", "predicted"]


class NamedClass(Settings):
    """The entry of this name in `model.classes`."""

    name: str


class TopK(Settings):
    """The k largest entries of a row's output, each explained on its own, over the same points."""

    top_k: int = Field(ge=1)


class Contrast(Settings):
    """F_a − F_b, of two classes by index or name: what speaks for the one rather than for the other."""

    contrast: tuple[Index | str, Index | str]


class OneEntry(Settings):
    """One entry of an output [batch, ...] by its full index, without the batch."""

    index: tuple[Index, ...] = Field(min_length=1)


class ScalarFunction(Settings):
    """`module:function`, which takes the output, [batch, ...], and returns a number a row, [batch]."""

    function: str


def _kind(value: Any) -> str | None:
    """Under which tag a target is validated: without one, an error would tell of every kind but the one meant."""
    if isinstance(value, (str, int)):
        return "word" if isinstance(value, str) else "entry"
    keys = value if isinstance(value, dict) else getattr(type(value), "model_fields", {})
    return next((kind for kind in ("reduce", "name", "top_k", "contrast", "index", "function") if kind in keys), None)


def _one_of(expected: str) -> Discriminator:
    return Discriminator(_kind, custom_error_type="target", custom_error_message=f"expected {expected}")


Of = Annotated[
    Annotated[Word, Tag("word")]
    | Annotated[Index, Tag("entry")]
    | Annotated[NamedClass, Tag("name")]
    | Annotated[TopK, Tag("top_k")]
    | Annotated[Contrast, Tag("contrast")],
    _one_of("label, predicted, an index, {name: ..}, {top_k: ..} or {contrast: [.., ..]}"),
]


class Reduced(Settings):
    """An output [batch, ..., classes] over all axes between the first and the last, and then `of` its classes.

    Attributes:
        of: as the target of an output [batch, classes]; left out when the last axis has one entry.
    """

    reduce: Literal["mean", "sum", "max"]
    of: Of | None = None


Target = Annotated[
    Annotated[Word, Tag("word")]
    | Annotated[Index, Tag("entry")]
    | Annotated[NamedClass, Tag("name")]
    | Annotated[TopK, Tag("top_k")]
    | Annotated[Contrast, Tag("contrast")]
    | Annotated[OneEntry, Tag("index")]
    | Annotated[Reduced, Tag("reduce")]
    | Annotated[ScalarFunction, Tag("function")],
    _one_of(
        "label, predicted, an index, {name: ..}, {top_k: ..}, {contrast: [.., ..]}, {index: [..]}, {reduce: .., of: ..}"
        " or {function: module:function}"
    ),
]
Entry = Word | int | NamedClass | TopK


def entry_of(target: Target | None) -> Entry | None:
    """Which entry of [batch, classes] is explained, once the objective has made the output that; None: the only one."""
    if isinstance(target, Reduced):
        return entry_of(target.of)
    return None if isinstance(target, (Contrast, OneEntry, ScalarFunction)) else target
