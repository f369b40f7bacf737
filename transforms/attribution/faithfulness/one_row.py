"""The metrics of one row that need its map and F alone: nothing is explained again."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from transforms.attribution.baselines.row_baselines import generator
from transforms.attribution.faithfulness import infidelity, insertion_deletion, map_noise, perturbation, sparseness
from transforms.attribution.faithfulness.units import Units

Values = npt.NDArray[Any]
Doubles = npt.NDArray[np.float64]
Found = dict[str, float]
INFIDELITY_DRAWS = 50


@dataclasses.dataclass(frozen=True)
class OneRow:
    """A row with its map.

    Attributes:
        name: what is drawn for the row depends on it and the seed.
        inputs: by explained input, [*shape].
        maps: by explained input, [*shape] with a 1 for each axis that the map was summed over.
        fill: by explained input, [*shape], what takes the place of features that are taken away.
        image: the input whose map is an image; None where there is none, or more than one.
        gradient: whether the map is a gradient, which tells of changes only once it is multiplied with one.
        score: F of copies of the row with other values, by explained input [points, *shape] → [points].
    """

    name: str
    seed: int
    inputs: Mapping[str, Values]
    maps: Mapping[str, Values]
    fill: Mapping[str, Values]
    image: str | None
    gradient: bool
    score: Callable[[Mapping[str, Values]], Doubles]

    @property
    def units(self) -> Units:
        """What is ranked and taken away."""
        return Units.of_maps({name: value.shape for name, value in self.maps.items()})

    @property
    def heatmap(self) -> Doubles:
        """The image's map, summed over its channels, [height, width]."""
        value = self.maps[self.image or ""]
        return np.asarray(value.reshape(*value.shape[:2], -1).sum(axis=2, dtype=np.float64))

    def numbers(self, metric: str) -> np.random.Generator:
        """What is drawn for a metric."""
        return generator(self.seed, metric, self.name)

    def with_own(self, own: insertion_deletion.Mask) -> Doubles:
        """F where the units are the row's own, bool [points, units], and elsewhere the fill's: [points]."""
        return self.score(self.units.blended(own, self.inputs, self.fill))


def scores(row: OneRow, wanted: set[str]) -> Iterator[tuple[str, float]]:
    """Name and value of the wanted metrics, one after another; NaN for what the row does not have."""
    for names, compute in _COMPUTED.items():
        if wanted & set(names):
            yield from ((name, value) for name, value in compute(row).items() if name in wanted)


def _sparseness(row: OneRow) -> Found:
    values = np.concatenate([value.ravel() for value in row.maps.values()])
    return {"gini": sparseness.gini(values), "entropy": sparseness.entropy(values)}


def _total_variation(row: OneRow) -> Found:
    return {"atv": map_noise.average_total_variation(row.heatmap)}


def _total_variation_curve(row: OneRow) -> Found:
    return {"autvc": map_noise.area_under_total_variation_curve(row.heatmap)}


def _curves(row: OneRow) -> Found:
    values = row.units.values({name: value[np.newaxis] for name, value in row.maps.items()})[0]
    # a gradient's sign says where F rises, not what speaks for it
    ranking = np.abs(values) if row.gradient else values
    if ranking.min() == ranking.max():
        return {"insertion": np.nan, "deletion": np.nan}
    found = insertion_deletion.curves(row.with_own, ranking)
    return {"insertion": found.insertion_area, "deletion": found.deletion_area}


def _infidelity(row: OneRow) -> Found:
    """Perturbations take some units to the fill, I = (x − x′) ⊙ mask. A map that has the factor x − x′ already
    predicts Σ A over the mask; a gradient Σ A ⊙ (x − x′)."""
    gone = infidelity.subsets(row.units.count, INFIDELITY_DRAWS, row.numbers("infidelity"))
    maps = {name: value[np.newaxis].astype(np.float64) for name, value in row.maps.items()}
    if row.gradient:
        maps = {name: value * (row.inputs[name] - row.fill[name].astype(np.float64)) for name, value in maps.items()}
    predicted = gone @ row.units.values(maps)[0]
    nothing_gone = np.zeros((1, row.units.count), dtype=bool)
    changes = row.with_own(~nothing_gone)[0] - row.with_own(~gone)
    scaled = infidelity.scaled_infidelity(predicted, changes)
    return {"infidelity": infidelity.infidelity(predicted, changes), "infidelity_scaled": scaled}


def _perturbation(row: OneRow) -> Found:
    heatmap, name = row.heatmap, row.image or ""
    if heatmap.min() == heatmap.max():
        return {"aupc": np.nan}
    image = row.inputs[name]
    how = perturbation.Perturbation(float(image.min()), float(image.max()))

    def score(images: Values) -> Doubles:
        others = {other: value[np.newaxis] for other, value in row.inputs.items() if other != name}
        return row.score(others | {name: images})

    curve = perturbation.perturbation_curve(score, image, heatmap, how, row.numbers("aupc"))
    return {"aupc": perturbation.area_under_perturbation_curve(curve)}


_COMPUTED: dict[tuple[str, ...], Callable[[OneRow], Found]] = {
    ("gini", "entropy"): _sparseness,
    ("atv",): _total_variation,
    ("autvc",): _total_variation_curve,
    ("insertion", "deletion"): _curves,
    ("infidelity", "infidelity_scaled"): _infidelity,
    ("aupc",): _perturbation,
}
