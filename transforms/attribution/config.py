"""What the user says about the model and the attribution: the two values that an `Explainer` takes."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from transforms.settings import Settings

Rule = Literal["riemann_left", "riemann_right", "riemann_middle", "riemann_trapezoid", "gauss_legendre"]


class ModelConfig(Settings):
    """Which function is explained.

    Attributes:
        path: a SavedModel directory or a .keras file.
        signature: of a SavedModel; a .keras file has none.
        output: the name (or position) of one output, when the model has several.
        activation: applied to the output before it is explained.
    """

    path: str
    signature: str = "serving_default"
    output: str | int | None = None
    layer: str | None = None
    activation: Literal["softmax", "sigmoid"] | None = None

    @model_validator(mode="after")
    def _layers_come_later(self) -> ModelConfig:
        if self.layer is not None:
            raise ValueError("layer attribution is not available yet; leave model.layer out to explain the inputs")
        return self


class ConstantBaseline(Settings):
    """The same value everywhere, or a (nested) list that broadcasts to the input's shape; in the model's units."""

    constant: float | list[Any]


class ColumnBaseline(Settings):
    """Each row's baseline stands in this column, stored and scaled as the input itself is."""

    column: str


Baseline = Literal["zeros"] | ConstantBaseline | ColumnBaseline


def _one_baseline(value: Any) -> bool:
    """Whether the value is one baseline for all inputs rather than a mapping from input names to baselines."""
    if not isinstance(value, dict):
        return True
    constant = set(value) == {"constant"} and isinstance(value["constant"], (int, float, list))
    column = set(value) == {"column"} and isinstance(value["column"], str)
    return constant or column


def _for_every_input(value: Any) -> Any:
    return {"": value} if _one_baseline(value) else value


def _zeros() -> dict[str, Baseline]:
    return {"": "zeros"}


class AttributionConfig(Settings):
    """How a row is attributed.

    Attributes:
        target: which entry of the output: `label` (of the row), `predicted` (the largest), an index; none for a
            model with one output.
        baseline: for all inputs, or per input by name; kept as a mapping in which "" stands for every other input.
        rule, steps: the quadrature rule and its number of nodes.
        tolerance: a row whose relative delta is larger is `unconverged`.
        batch_size: gradient points computed at once; `auto` chooses by the size of an example.
    """

    method: Literal["integrated_gradients"] = "integrated_gradients"
    target: Literal["label", "predicted"] | Annotated[int, Field(ge=0)] | None = None
    baseline: Annotated[dict[str, Baseline], BeforeValidator(_for_every_input)] = Field(default_factory=_zeros)
    rule: Rule = "gauss_legendre"
    steps: Annotated[int, Field(ge=1, le=4096)] = 50
    tolerance: float = Field(default=0.02, gt=0)
    batch_size: Literal["auto"] | Annotated[int, Field(ge=1)] = "auto"
    seed: int = 0

    @model_validator(mode="before")
    @classmethod
    def _auto_comes_later(cls, value: Any) -> Any:
        if isinstance(value, dict) and value.get("steps") == "auto":
            raise ValueError("steps: auto is not available yet; give a number of steps, for example steps: 50")
        return value

    @model_validator(mode="after")
    def _enough_nodes(self) -> AttributionConfig:
        if self.rule == "riemann_trapezoid" and self.steps < 2:
            raise ValueError("riemann_trapezoid needs both ends of the path: give steps of at least 2")
        return self

    def baseline_of(self, name: str) -> Baseline:
        """The baseline of the input `name`."""
        return self.baseline.get(name, self.baseline.get("", "zeros"))
