"""Which metrics a run cannot have, and why: said once, instead of a column of nulls without a word."""

from __future__ import annotations

from collections.abc import Mapping

from transforms.attribution.baseline_config import Baseline
from transforms.attribution.config import AttributionConfig
from transforms.attribution.faithfulness.config import EvaluationConfig
from transforms.attribution.faithfulness.map_noise import FACTOR, SMALLEST
from transforms.attribution.faithfulness.perturbation import Perturbation
from transforms.attribution.faithfulness.sample import no_fill
from transforms.attribution.model.model import Model

Shapes = Mapping[str, tuple[int, ...]]
FILLED = ("insertion", "deletion", "infidelity", "infidelity_scaled")


def is_gradient(config: AttributionConfig) -> bool:
    """Whether a map is a gradient, without the factor x − x′."""
    return config.method.name == "saliency"


def image_input(maps: Shapes) -> str | None:
    """The input whose map is an image, [height, width] or [height, width, channels]; None where not exactly one is."""
    images = [name for name, shape in maps.items() if len(shape) in (2, 3) and min(shape[:2]) > 1]
    return images[0] if len(images) == 1 else None


def reasons(model: Model, config: AttributionConfig, settings: EvaluationConfig, maps: Shapes) -> dict[str, str]:
    """By metric that no row of a run can have, why.

    Args:
        maps: by explained input, the shape of its map, with a 1 for each axis that it was summed over.
    """
    found = _of_images(maps)
    fills = [(_of(settings.fill, spec.name), config.baseline_of(spec.name)) for spec in model.explained]
    unfilled = [why for fill, own in fills if (why := no_fill(fill, own))]
    found |= dict.fromkeys(FILLED, unfilled[0]) if unfilled else {}
    found |= {} if unfilled else _of_values(model, config, maps)
    if not model.frozen:
        found["randomisation"] = "the model has no frozen graph whose weights could be shuffled"
    return {name: why for name, why in found.items() if name in settings.metrics}


def _of(fill: Mapping[str, Baseline], name: str) -> Baseline:
    return fill.get(name, fill.get("", "zeros"))


def _of_images(maps: Shapes) -> dict[str, str]:
    name = image_input(maps)
    if name is None:
        return dict.fromkeys(("atv", "autvc", "aupc"), "the maps are not those of one image a row")
    smallest, found = min(maps[name][:2]), dict[str, str]()
    if smallest <= (SMALLEST - 1) * FACTOR:
        found["autvc"] = f"a side of the image is shorter than the {1 + int((SMALLEST - 1) * FACTOR)} pixels it needs"
    if smallest < Perturbation.window:
        found["aupc"] = f"a side of the image is shorter than the {Perturbation.window} pixels of a window"
    return found


def _of_values(model: Model, config: AttributionConfig, maps: Shapes) -> dict[str, str]:
    """Infidelity compares the values of a map with changes of F: squares and variances are no such thing."""
    both = ("infidelity", "infidelity_scaled")
    if config.noise is not None and config.noise.kind != "smoothgrad":
        return dict.fromkeys(both, f"a map of {config.noise.kind} is not in units of F")
    summed = any(1 in maps[spec.name] and maps[spec.name] != spec.shape for spec in model.explained)
    why = "gradients were summed before they were written"
    return dict.fromkeys(both, why) if is_gradient(config) and summed else {}
