"""Examples that come one by one, in memory, and what each of them gets: plain values, that travel anywhere."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from transforms.errors import Fault

Values = npt.NDArray[Any]


@dataclasses.dataclass(frozen=True, eq=False)
class Example:
    """One example, without a batch dimension.

    Attributes:
        inputs: [*shape] of the model's only input, or by input.
        label: for `target: label`: an index, or a name of `model.classes`.
        baselines: as in `Explainer.explain`, of this example; None: as configured.
        row_id: with the seed it decides what is drawn for this example; None: its inputs do.
    """

    inputs: Mapping[str, Any] | Any
    label: int | str | None = None
    baselines: Mapping[str, Any] | Any | None = None
    row_id: str | None = None


@dataclasses.dataclass(frozen=True, eq=False)
class Attribution:
    """What is known of one explained example: a row of `Explanation`.

    Attributes:
        attributions: by explained input, float32 [*shape].
        target: the explained entry of the output; None for a model with one output.
        target_rank: 0 for the largest output, 1 for the next; None with one target an example.
        predicted: the largest entry of the output; None for a model with one output, and where it was not computed.
        output, baseline_output: F(x) and F(x′) at the target.
        delta: Σ attributions − (F(x) − F(x′)).
        relative_delta: |delta| / max(|F(x) − F(x′)|, floor).
        error_estimate: relative L1 distance between the attributions at the last two levels; None with fixed steps.
        steps: gradient evaluations spent.
        blind_share: of the features, those equal to their baseline.
        baseline_spread: how much several baselines disagree; None with one.
        status: `ok`, `unconverged`, `flat` or `nonfinite`.
    """

    attributions: Mapping[str, Values]
    target: int | None
    target_rank: int | None
    predicted: int | None
    output: float
    baseline_output: float
    delta: float
    relative_delta: float
    error_estimate: float | None
    steps: int
    blind_share: float
    baseline_spread: float | None
    status: str


# of an example: its attribution, one for each of its targets with `{top_k: k}`, or why there is none
Inference = Attribution | tuple[Attribution, ...] | Fault


def example_bytes(example: Any) -> int:
    """Bytes of the inputs and baselines of an example."""
    if isinstance(example, Example):
        return example_bytes(example.inputs) + (0 if example.baselines is None else example_bytes(example.baselines))
    values = example.values() if isinstance(example, Mapping) else [example]
    return sum(np.asarray(value).nbytes for value in values)
