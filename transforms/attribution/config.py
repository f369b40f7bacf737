"""What the user says about the model and the attribution: the two values that an `Explainer` takes."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from transforms.attribution import baseline_config, method_config
from transforms.attribution.baseline_config import Baseline, Baselines
from transforms.attribution.method_config import BlurIntegratedGradients, MethodConfig, PathIntegratedGradients
from transforms.attribution.target_config import Entry, ScalarFunction, Target, TopK, entry_of
from transforms.settings import Settings

Rule = Literal["riemann_left", "riemann_right", "riemann_middle", "riemann_trapezoid", "gauss_legendre", "nested"]
FIRST_LEVELS = (2, 4)


class ModelConfig(Settings):
    """Which function is explained.

    Attributes:
        path: a SavedModel directory or a .keras file.
        signature: of a SavedModel; a .keras file has none.
        output: the name (or position) of one output, when the model has several.
        layer: explain this layer's values instead of the inputs: a Keras layer's name (`outer/inner` within nested
            models), or the name of an op of a SavedModel's graph.
        activation: applied to the output before it is explained; softmax over its last axis.
        classes: names of the entries of the output's last axis, or the path of a text file with one a line.
        trust: load it although it could do more than arithmetic.
        sha256: of the model's files, as `attribeam inspect` prints it; another model is refused.
    """

    path: str
    signature: str = "serving_default"
    output: str | int | None = None
    layer: str | None = None
    activation: Literal["softmax", "sigmoid"] | None = None
    classes: tuple[str, ...] | str | None = None
    trust: bool = False
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")] | None = None


class Noise(Settings):
    """Any method over noisy copies of a row; how they are combined gives its name.

    Attributes:
        kind: smoothgrad (mean: Smilkov et al. 2017), smoothgrad_squared (mean of squares: Hooker et al. 2019), vargrad
            (variance: Adebayo et al. 2018).
        draws: copies of a row.
        sigma: standard deviation of the Gaussian noise, in the units of the model's inputs.
    """

    kind: Literal["smoothgrad", "smoothgrad_squared", "vargrad"]
    draws: int = Field(default=25, ge=2)
    sigma: float = Field(gt=0)


class AttributionConfig(Settings):
    """How a row is attributed.

    Attributes:
        method: docs/methods.md describes each.
        noise: explain noisy copies of each row, and combine what comes out.
        target: which number of the output: `label` (of the row), `predicted` (the largest), an index, a name, the k
            largest, a difference, one entry of any rank, a reduction, a function; none for a model with one output.
        baseline: for all inputs, or per input by name; kept as a mapping in which "" stands for every other input.
            Several, in a list or drawn, are averaged.
        steps: nodes of the rule, or `auto`: level by level of the nested rule, until the row is within `tolerance`.
        rule: the quadrature rule; by default `nested` for `steps: auto` and `gauss_legendre` for a number of steps.
        tolerance: a row is `unconverged` while its relative delta is larger, or, with `steps: auto`, its estimate.
        max_steps: with `steps: auto`, nodes at which a row ends as `unconverged`.
        batch_size: gradient points computed at once; `auto` finds what this machine does fastest.
        precision: of the gradients: with a lower one than float32, a row is kept only where rounding and level
            estimate together are within the tolerance, and else explained again in float32; `tf32` is for GPUs and
            the same as float32 without one.
        hoist: run the affine first part of the model once a row instead of once a point, where that pays.
        seed: of everything that is drawn; with a row's id it decides what is drawn for that row.
    """

    method: MethodConfig = Field(default_factory=method_config.integrated_gradients)
    noise: Noise | None = None
    target: Target | None = None
    baseline: Baselines = Field(default_factory=baseline_config.zeros)
    rule: Rule = "nested"
    steps: Annotated[int, Field(ge=1, le=4096)] | Literal["auto"] = "auto"
    tolerance: float = Field(default=0.02, gt=0)
    max_steps: int = Field(default=512, ge=FIRST_LEVELS[-1], le=4096)
    batch_size: Literal["auto"] | Annotated[int, Field(ge=1)] = "auto"
    precision: Literal["float32", "tf32", "bfloat16"] = "float32"
    hoist: bool = True
    seed: int = 0

    @model_validator(mode="before")
    @classmethod
    def _rule_for_steps(cls, value: Any) -> Any:
        if isinstance(value, dict) and value.get("rule") is None:
            return {**value, "rule": "nested" if value.get("steps", "auto") == "auto" else "gauss_legendre"}
        return value

    @model_validator(mode="after")
    def _rule_and_steps_agree(self) -> AttributionConfig:
        if self.steps == "auto" and self.rule != "nested":
            raise ValueError(f"steps: auto needs rule: nested; for {self.rule} give a number, for example steps: 50")
        if self.rule == "riemann_trapezoid" and self.steps == 1:
            raise ValueError("riemann_trapezoid needs both ends of the path: give steps of at least 2")
        return self

    @model_validator(mode="after")
    def _method_fits(self) -> AttributionConfig:
        baseline_config.count(self.baseline)
        single, name = self._single_baselines(), self.method.name
        if name == "smooth_taylor" and not all(isinstance(one, baseline_config.GaussianBaseline) for one in single):
            raise ValueError("smooth_taylor starts at noisy copies: give baseline: {gaussian: 0.1, draws: 150}, say")
        if isinstance(self.method, BlurIntegratedGradients) and self.baseline != baseline_config.zeros():
            raise ValueError("blur_integrated_gradients starts at the row blurred by max_sigma: leave baseline out")
        if name == "expected_gradients" and baseline_config.count(self.baseline) == 1:
            raise ValueError("expected_gradients is a mean over baselines: give baseline: {samples: 50}, say")
        if self.precision != "float32" and (name != "integrated_gradients" or self.copies > 1):
            raise ValueError("a lower precision is for integrated_gradients of one baseline, without noise")
        return self

    @property
    def copies(self) -> int:
        """How often each row is explained: for each of its baselines, of each of its noisy copies."""
        return baseline_config.count(self.baseline) * (self.noise.draws if self.noise else 1)

    @property
    def copied(self) -> bool:
        """Whether what is explained of a row is made from it: copies, or a baseline of its own."""
        own = isinstance(self.method, BlurIntegratedGradients)
        return self.copies > 1 or own or any(map(baseline_config.per_row, self._single_baselines()))

    def _single_baselines(self) -> list[baseline_config.SingleBaseline]:
        return [one for baseline in self.baseline.values() for one, _ in baseline_config.draws(baseline)]

    @property
    def entry(self) -> Entry | None:
        """Which entry of [batch, classes] is explained, to which the objective brings any output."""
        return entry_of(self.target)

    @property
    def targets(self) -> int:
        """Entries of the output that are explained for each row."""
        return self.entry.top_k if isinstance(self.entry, TopK) else 1

    @property
    def ranked(self) -> bool:
        """Whether a row's entries come in the order of their outputs."""
        return isinstance(self.entry, TopK)

    @property
    def code(self) -> tuple[str, ...]:
        """The user's own functions that are wanted, as `module:function`."""
        target = (self.target.function,) if isinstance(self.target, ScalarFunction) else ()
        return target + ((self.method.path,) if isinstance(self.method, PathIntegratedGradients) else ())

    def baseline_of(self, name: str) -> Baseline:
        """The baseline of the input `name`."""
        if isinstance(self.method, BlurIntegratedGradients):
            return baseline_config.BlurBaseline(blur=self.method.max_sigma)
        return self.baseline.get(name, self.baseline.get("", "zeros"))
