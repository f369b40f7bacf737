"""What is asked of an evaluation."""

from __future__ import annotations

from pydantic import Field, field_validator

from transforms.attribution.baseline_config import Baseline, Baselines, count
from transforms.attribution.faithfulness.metrics import METRICS
from transforms.settings import Settings


class EvaluationConfig(Settings):
    """Which rows are evaluated, and by what.

    Attributes:
        rows: of the sample, at most.
        seed: of the sample, and of all that is drawn.
        metrics: by name; all of them by default.
        fill: what takes the place of a feature that is taken away, by input name; of several baselines the first.
    """

    rows: int = Field(ge=1)
    seed: int = 0
    metrics: tuple[str, ...] = tuple(METRICS)
    fill: Baselines

    @field_validator("fill")
    @classmethod
    def _countable(cls, value: dict[str, Baseline]) -> dict[str, Baseline]:
        count(value)
        return value

    @field_validator("metrics")
    @classmethod
    def _known(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        unknown = sorted(set(value) - set(METRICS))
        if unknown:
            raise ValueError(f"unknown metrics {unknown}; known are {sorted(METRICS)}")
        return tuple(name for name in METRICS if name in value)
