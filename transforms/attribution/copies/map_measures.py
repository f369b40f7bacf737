"""How noisy or how faithful a map is in one number, the smaller the better: what adaptive noise looks for.

Source: Goh et al., "Understanding Integrated Gradients with SmoothTaylor for Deep Neural Network Attribution", ICPR
2020.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from transforms.attribution.baselines.row_baselines import generator
from transforms.attribution.batch import Batch
from transforms.attribution.config import AttributionConfig
from transforms.attribution.explanation import Explanation
from transforms.attribution.faithfulness.map_noise import FACTOR, SMALLEST, area_under_total_variation_curve
from transforms.attribution.faithfulness.perturbation import (
    Perturbation,
    area_under_perturbation_curve,
    perturbation_curve,
)
from transforms.attribution.method_config import SmoothTaylor
from transforms.attribution.model.model import Model
from transforms.errors import UsageError

Values = npt.NDArray[Any]
Doubles = npt.NDArray[np.float64]
# At least so many reductions of an image for AUTVC, and regions along a side for AUPC, which are made for large images.
REDUCTIONS, REGIONS = 2, 4


@dataclasses.dataclass(frozen=True)
class MapMeasure:
    """AUTVC or AUPC of each row's map, whose channels are summed.

    Args:
        kind: which of them.
        name: of the image among the inputs.
        outputs: F of a batch, [rows, classes].
        seed: with a row's id it decides what fills the regions for AUPC.
    """

    kind: Literal["autvc", "aupc"]
    name: str
    outputs: Callable[[Batch], Values]
    seed: int

    def __call__(self, batch: Batch, found: Explanation) -> Doubles:
        """Of each entry of `found`, the explanation of the batch with one target a row; NaN for a flat map."""
        values = found.attributions[self.name]
        maps = values.sum(axis=3, dtype=np.float64) if values.ndim == 4 else values.astype(np.float64)
        measure = self._autvc if self.kind == "autvc" else self._aupc
        targets = np.zeros(len(maps), np.int64) if found.target is None else found.target
        each = zip(maps, found.rows.tolist(), targets.tolist(), strict=True)
        return np.array([measure(heatmap, batch, row, target) for heatmap, row, target in each])

    def _autvc(self, heatmap: Doubles, batch: Batch, row: int, target: int) -> float:
        smallest = min(SMALLEST, int(min(heatmap.shape) / FACTOR**REDUCTIONS))
        return area_under_total_variation_curve(heatmap, smallest=smallest)

    def _aupc(self, heatmap: Doubles, batch: Batch, row: int, target: int) -> float:
        image, one = batch.inputs[self.name][row], batch.some(np.array([row]))

        def score(images: Values) -> Doubles:
            copies = {name: np.repeat(value, len(images), axis=0) for name, value in one.inputs.items()}
            found = self.outputs(Batch(copies | {self.name: images.astype(image.dtype)}))
            return found[:, target].astype(np.float64)

        window = min(Perturbation.window, max(1, min(heatmap.shape) // REGIONS))
        how = Perturbation(float(image.min()), float(image.max()), window)
        numbers = generator(self.seed, "aupc", (batch.row_ids or range(len(batch)))[row])
        return area_under_perturbation_curve(perturbation_curve(score, image, heatmap, how, numbers))


def adaptive_measure(config: AttributionConfig, model: Model, outputs: Callable[[Batch], Values]) -> MapMeasure | None:
    """What the noise of each row is chosen by; None where it is not.

    Raises:
        UsageError: E_ADAPTIVE_NOISE for anything but one image with one target.
    """
    kind = config.method.adaptive_noise if isinstance(config.method, SmoothTaylor) else None
    if kind is None:
        return None
    images = [spec for spec in model.explained if len(spec.shape) in (2, 3)]
    if len(images) != 1 or len(model.explained) != 1 or config.targets != 1:
        found = ", ".join(f"{spec.name} {list(spec.shape)}" for spec in model.explained)
        raise UsageError(
            "E_ADAPTIVE_NOISE",
            f"adaptive_noise looks at the map of one image for one target, but what is explained is {found} for"
            f" {config.targets}; leave adaptive_noise out",
        )
    return MapMeasure(kind, images[0].name, outputs, config.seed)
