"""What the user says about where the path starts."""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal, get_args

from pydantic import BeforeValidator, Field, model_validator

from transforms.settings import Settings

Range = tuple[float, float]
# Computed once of the dataset, for each value of an input: its least, its largest, its mean, its median.
DatasetBaseline = Literal["min", "max", "mean", "median"]


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


class SamplesBaseline(Settings):
    """So many rows of the dataset, drawn anew for every row; the same ones for all inputs.

    Source: Erion et al., "Improving performance of deep learning models with axiomatic attribution priors and expected
    gradients", Nature Machine Intelligence 2021.
    """

    samples: int = Field(ge=1)

    @property
    def draws(self) -> int:
        """Baselines of a row."""
        return self.samples


class EntropySearch(Settings):
    """How the input of the greatest entropy is looked for.

    Attributes:
        output: what the model's output is, where neither `model.activation` nor the model itself says so.
        entropy: share of the greatest entropy at which the search ends.
        steps: of Adam, at most.
        rate: of a step, in units of each feature's range.
        weight: of the squared distance from the mean of the dataset, in those units.
    """

    output: Literal["logits", "probabilities"] | None = None
    entropy: float = Field(default=0.99, gt=0, le=1)
    steps: int = Field(default=200, ge=1, le=10_000)
    rate: float = Field(default=0.05, gt=0, le=1)
    weight: float = Field(default=1e-3, ge=0)


class MaxEntropyBaseline(Settings):
    """One input for all rows at which the model is as unsure as it can be; `max_entropy` alone takes the defaults.

    Source: Tan, "Maximum Entropy Baseline for Integrated Gradients", 2022.
    """

    max_entropy: EntropySearch

    @model_validator(mode="before")
    @classmethod
    def _name_alone(cls, value: Any) -> Any:
        return {"max_entropy": {}} if value == "max_entropy" else value


OneBaseline = (
    Literal["zeros"]
    | DatasetBaseline
    | ConstantBaseline
    | ColumnBaseline
    | BlurBaseline
    | MaxDistanceBaseline
    | UniformBaseline
    | GaussianBaseline
    | SamplesBaseline
    | MaxEntropyBaseline
)
ROW_KINDS = (BlurBaseline, MaxDistanceBaseline, UniformBaseline, GaussianBaseline, SamplesBaseline)
SingleBaseline = OneBaseline | InputBaseline
Baseline = SingleBaseline | tuple[OneBaseline, ...]
_NAMES = ("zeros", *get_args(DatasetBaseline), "max_entropy")
# What stands under the key of a kind: a mapping of inputs to baselines may have an input of that name.
_VALUES: dict[str, type | tuple[type, ...]] = {
    "constant": (int, float, list),
    "column": str,
    "input": (int, float, list),
    "blur": (int, float),
    "max_distance": list,
    "uniform": list,
    "gaussian": (int, float),
    "samples": int,
    "max_entropy": dict,
}


def _is_one(value: Any) -> bool:
    """Whether the value is one baseline for all inputs rather than a mapping from input names to baselines."""
    if not isinstance(value, dict):
        return True
    kinds = set(value) - {"draws"}
    kind = next(iter(kinds)) if len(kinds) == 1 else ""
    return isinstance(value.get(kind), _VALUES.get(kind, ())) and not _are_baselines(value[kind])


def _are_baselines(value: Any) -> bool:
    """Whether what stands under the key of a kind is the baselines of an input of that name."""
    if isinstance(value, dict):
        return bool(set(value) - set(EntropySearch.model_fields))
    return isinstance(value, list) and any(isinstance(one, dict) or one in _NAMES for one in value)


def _for_every_input(value: Any) -> Any:
    return {"": value} if _is_one(value) else value


Baselines = Annotated[dict[str, Baseline], BeforeValidator(_for_every_input)]


def zeros() -> dict[str, Baseline]:
    """For every input."""
    return {"": "zeros"}


def draws(baseline: Baseline) -> list[tuple[SingleBaseline, int]]:
    """Every single baseline of a row: each of the list, as often as it is drawn."""
    listed = baseline if isinstance(baseline, tuple) else (baseline,)
    return [(one, index) for one in listed for index in range(getattr(one, "draws", 1))]


def per_row(baseline: SingleBaseline) -> bool:
    """Whether it is computed from the row, or drawn for it."""
    return isinstance(baseline, ROW_KINDS)


def dataset_kind(baseline: SingleBaseline) -> str | None:
    """The name of what it takes of the dataset, None where it takes nothing."""
    if isinstance(baseline, SamplesBaseline):
        return "samples"
    if isinstance(baseline, MaxEntropyBaseline):
        return "max_entropy"
    return baseline if isinstance(baseline, str) and baseline != "zeros" else None


def count(baselines: dict[str, Baseline]) -> int:
    """Baselines of a row: the most that one input has; inputs with fewer must have one.

    Raises:
        ValueError: several inputs with different numbers.
    """
    counts = {len(draws(baseline)) for baseline in baselines.values()}
    if 0 in counts or len(counts - {1}) > 1:
        raise ValueError(f"inputs have {sorted(counts)} baselines a row; give each the same number, or one")
    return math.prod(counts - {1})
