"""What the user says about where the path starts."""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from transforms.settings import Settings

Range = tuple[float, float]


class ConstantBaseline(Settings):
    """The same value everywhere, or a (nested) list that broadcasts to the input's shape; in the model's units."""

    constant: float | list[Any]


class ColumnBaseline(Settings):
    """Each row's baseline stands in this column, stored and scaled as the input itself is."""

    column: str


class BlurBaseline(Settings):
    """The row itself, blurred along its first two axes by a Gaussian of this standard deviation, in pixels.

    Source: Fong, Vedaldi, "Interpretable Explanations of Black Boxes by Meaningful Perturbation", ICCV 2017.
    """

    blur: float = Field(gt=0)


class MaxDistanceBaseline(Settings):
    """Of every feature the end of this range, lowest and highest, that is farther from its value.

    Source: Sturmfels, Lundberg, Lee, "Visualizing the Impact of Feature Attribution Baselines", Distill 2020.
    """

    max_distance: Range


class UniformBaseline(Settings):
    """Noise between the two values, drawn anew for every row, several times (same source)."""

    uniform: Range
    draws: int = Field(default=5, ge=1)


class GaussianBaseline(Settings):
    """The row itself plus noise of this standard deviation, in pairs of opposite sign (same source)."""

    gaussian: float = Field(gt=0)
    draws: int = Field(default=10, ge=1)


class InputBaseline(Settings):
    """Of a layer: its value where the model's inputs that it is computed from are this; 0, say, where that pads.

    Source: captum's `LayerIntegratedGradients` and alibi's `IntegratedGradients` with a layer take it so.
    """

    input: float | list[Any]


OneBaseline = (
    Literal["zeros"]
    | ConstantBaseline
    | ColumnBaseline
    | BlurBaseline
    | MaxDistanceBaseline
    | UniformBaseline
    | GaussianBaseline
)
Baseline = OneBaseline | InputBaseline | tuple[OneBaseline, ...]
# What stands under the key of a kind: a mapping of inputs to baselines may have an input of that name.
_VALUES: dict[str, type | tuple[type, ...]] = {
    "constant": (int, float, list),
    "column": str,
    "input": (int, float, list),
    "blur": (int, float),
    "max_distance": list,
    "uniform": list,
    "gaussian": (int, float),
}


def _is_one(value: Any) -> bool:
    """Whether the value is one baseline for all inputs rather than a mapping from input names to baselines."""
    if not isinstance(value, dict):
        return True
    kinds = set(value) - {"draws"}
    kind = next(iter(kinds)) if len(kinds) == 1 else ""
    return isinstance(value.get(kind), _VALUES.get(kind, ())) and not _are_baselines(value[kind])


def _are_baselines(value: Any) -> bool:
    return isinstance(value, list) and any(isinstance(one, dict) or one == "zeros" for one in value)


def _for_every_input(value: Any) -> Any:
    return {"": value} if _is_one(value) else value


Baselines = Annotated[dict[str, Baseline], BeforeValidator(_for_every_input)]


def zeros() -> dict[str, Baseline]:
    """For every input."""
    return {"": "zeros"}


def draws(baseline: Baseline) -> list[tuple[OneBaseline | InputBaseline, int]]:
    """Every single baseline of a row: each of the list, as often as it is drawn."""
    listed = baseline if isinstance(baseline, tuple) else (baseline,)
    return [(one, index) for one in listed for index in range(getattr(one, "draws", 1))]


def per_row(baseline: OneBaseline | InputBaseline) -> bool:
    """Whether it is computed from the row, or drawn for it."""
    return isinstance(baseline, (BlurBaseline, MaxDistanceBaseline, UniformBaseline, GaussianBaseline))


def count(baselines: dict[str, Baseline]) -> int:
    """Baselines of a row: the most that one input has; inputs with fewer must have one.

    Raises:
        ValueError: several inputs with different numbers.
    """
    counts = {len(draws(baseline)) for baseline in baselines.values()}
    if 0 in counts or len(counts - {1}) > 1:
        raise ValueError(f"inputs have {sorted(counts)} baselines a row; give each the same number, or one")
    return math.prod(counts - {1})
