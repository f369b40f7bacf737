"""What a model itself says at the baselines that all rows share: attributions tell what is different from that."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from transforms.attribution.baseline_config import (
    ColumnBaseline,
    InputBaseline,
    MaxEntropyBaseline,
    SingleBaseline,
    draws,
    per_row,
)
from transforms.attribution.batch import Batch
from transforms.attribution.config import AttributionConfig
from transforms.attribution.explainer import Explainer
from transforms.attribution.methods import without_code
from transforms.attribution.model.probabilities import entropy_share, given_reading, known_reading, likely_reading

log = logging.getLogger(__name__)
Values = npt.NDArray[Any]
# Share of the greatest entropy below which a baseline is no absence of evidence: a half is about what three equally
# likely classes of ten have, or two at 89 to 11
LEAST_ENTROPY = 0.5


@dataclasses.dataclass(frozen=True)
class BaselineOutput:
    """F at one baseline.

    Attributes:
        baseline: by explained input, as configured.
        entropy: share of the greatest that F has there, or the softmax of F where several entries are no
            probabilities; None for one entry that is none.
        index, output: the largest entry of F there.
        warning: why it may not be what the user thinks, in words; None where all is well.
    """

    baseline: Mapping[str, Any]
    entropy: float | None
    index: int
    output: float
    warning: str | None


def baseline_outputs(explainer: Explainer, shapes: Mapping[str, tuple[int, ...]]) -> list[BaselineOutput]:
    """F at every baseline that all rows share.

    None where an input has one of its own for each row, or is held, and for methods that start at no baseline.

    Args:
        shapes: of one row of each input.
    """
    model, config = explainer.model, explainer.config
    if len(model.explained) < len(model.inputs) or without_code(config).drawn == "input":
        return []
    found = []
    for singles in _shared(config, [spec.name for spec in model.explained]):
        values = {
            spec.name: explainer.references.shared(singles[spec.name], spec, shapes[spec.name])[np.newaxis]
            for spec in model.explained
        }
        found.append(_said_at(explainer, singles, explainer.outputs(Batch(values))))
    return found


def warn(outputs: Sequence[BaselineOutput]) -> None:
    """Log what a user should know before the job runs."""
    for one in outputs:
        if one.warning is not None:
            log.warning("%s", one.warning)


def _shared(config: AttributionConfig, names: Sequence[str]) -> list[dict[str, SingleBaseline]]:
    """By explained input, the baselines that are explained together, where all rows have the same."""
    listed = {name: [one for one, _ in draws(config.baseline_of(name))] for name in names}
    places = max(map(len, listed.values()))
    together = [{name: ones[place if len(ones) > 1 else 0] for name, ones in listed.items()} for place in range(places)]
    return [ones for ones in together if not any(map(_of_its_own, ones.values()))]


def _of_its_own(one: SingleBaseline) -> bool:
    return isinstance(one, (ColumnBaseline, InputBaseline)) or per_row(one)


def _said_at(explainer: Explainer, singles: Mapping[str, SingleBaseline], outputs: Values) -> BaselineOutput:
    searched = next((one.max_entropy for one in singles.values() if isinstance(one, MaxEntropyBaseline)), None)
    sure = known_reading(explainer.model)
    if sure is None and searched is not None and searched.output:
        sure = given_reading(explainer.model, searched.output)
    reading = sure or likely_reading(outputs)
    share = float(entropy_share(outputs, reading)[0]) if reading else np.nan
    # logits by the look of them may be anything else: no warning for those
    least = searched.entropy if searched else LEAST_ENTROPY if reading and (sure or not reading.logits) else 0.0
    written = {name: one if isinstance(one, str) else one.model_dump(mode="json") for name, one in singles.items()}
    index = int(outputs[0].argmax())
    return BaselineOutput(
        written,
        share if np.isfinite(share) else None,
        index,
        float(outputs[0, index]),
        _warning(written, share, least) if share < least else None,
    )


def _warning(written: Mapping[str, Any], share: float, least: float) -> str:
    return (
        f"at the baseline {written} the model's entropy is {share:.3f} of the greatest, less than {least:g}: it is sure"
        " of something there, and attributions tell only what is different from that; docs/methods.md says more"
    )
