"""`Evaluator`: every metric of some rows, by the model and the configuration that explained them."""

from __future__ import annotations

import copy
from collections.abc import Collection, Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from transforms.attribution.baselines.references import References
from transforms.attribution.baselines.row_baselines import generator
from transforms.attribution.batch import Batch
from transforms.attribution.config import AttributionConfig, ModelConfig
from transforms.attribution.engine.device import claim_device
from transforms.attribution.explainer import Explainer
from transforms.attribution.faithfulness import one_row, randomisation, sensitivity
from transforms.attribution.faithfulness.applicable import FILLED, image_input, is_gradient, reasons
from transforms.attribution.faithfulness.config import EvaluationConfig
from transforms.attribution.faithfulness.outputs import Outputs
from transforms.attribution.faithfulness.sample import Sample, filled
from transforms.attribution.faithfulness.units import folded_to
from transforms.attribution.model.model import Model, load_model
from transforms.attribution.target_config import Reduced

Values = npt.NDArray[Any]
Doubles = npt.NDArray[np.float64]
Maps = dict[str, Values]


def held(config: AttributionConfig) -> AttributionConfig:
    """The same configuration, with each row's target given as its label: it stays when the row or the model changes."""
    if config.entry is None:
        return config
    target = config.target.model_copy(update={"of": "label"}) if isinstance(config.target, Reduced) else "label"
    return config.model_copy(update={"target": target})


class Evaluator:
    """Computes the metrics of rows, each from its own input, map and id alone.

    Attributes:
        explainer: explains as the run did, at the target that a row's label says.

    Args:
        config: how the run explained.
        settings: which metrics, and the seed of what is drawn.
        trusted: modules of the user's that the configuration may name functions of.
    """

    def __init__(
        self, model: Model, config: AttributionConfig, settings: EvaluationConfig, trusted: Collection[str] = ()
    ) -> None:
        self._config, self._settings = config, settings
        self.explainer = Explainer(model, held(config), trusted)
        self._model = self.explainer.model
        self._outputs = Outputs(self._model, self.explainer.device != "CPU")
        self._references = References()
        self._shuffled: Explainer | None = None
        if "randomisation" in settings.metrics and model.frozen:
            self._shuffled = Explainer(randomisation.shuffled(model, settings.seed), held(config), trusted)

    @classmethod
    def load(
        cls, model: ModelConfig, config: AttributionConfig, settings: EvaluationConfig, trusted: Collection[str] = ()
    ) -> Evaluator:
        """Load the model; raises what `claim_device`, `load_model` and `Explainer` raise."""
        claim_device()
        return cls(load_model(model, config.hoist), config, settings, trusted)

    def with_references(self, own: References, fill: References) -> Evaluator:
        """The same, with what the run's baselines, and the fill, take of a dataset; models are shared."""
        other = copy.copy(self)
        other.explainer, other._references = self.explainer.with_references(own), fill
        other._shuffled = self._shuffled and self._shuffled.with_references(own)
        return other

    def reasons(self, maps: Mapping[str, tuple[int, ...]]) -> dict[str, str]:
        """By metric that no row can have, why; `maps`: the shape of each explained input's map, as in `Sample`."""
        return reasons(self._model, self._config, self._settings, maps)

    def scores(self, sample: Sample) -> dict[str, Doubles]:
        """By metric, its value for each row, float64 [rows]; NaN where a row has none."""
        absent = self.reasons({name: value.shape[1:] for name, value in sample.maps.items()})
        wanted = {name for name in self._settings.metrics if name not in absent}
        found = {name: np.full(len(sample), np.nan) for name in self._settings.metrics}
        fills = self._fills(sample) if wanted & set(FILLED) else self._inputs(sample)
        for row in np.flatnonzero(sample.finite()):
            for name, value in one_row.scores(self._row(sample, int(row), fills), wanted):
                found[name][row] = value
        if "sensitivity_max" in wanted:
            found["sensitivity_max"] = self._sensitivity(sample)
        if "randomisation" in wanted:
            found["randomisation"] = self._randomisation(sample)
        return found

    def _row(self, sample: Sample, row: int, fills: Mapping[str, Values]) -> one_row.OneRow:
        inputs = {name: value[row] for name, value in self._inputs(sample).items()}
        kept = {spec.name: inputs[spec.name][np.newaxis] for spec in self._model.inputs if not spec.explained}
        maps = {spec.name: sample.maps[spec.name][row] for spec in self._model.explained}

        def score(points: Mapping[str, Values]) -> Doubles:
            return self._outputs.at({**kept, **points}, sample.target_of(row))

        return one_row.OneRow(
            name=sample.row_ids[row],
            seed=self._settings.seed,
            inputs={name: inputs[name] for name in maps},
            maps=maps,
            fill={name: fills[name][row] for name in maps},
            image=image_input({name: value.shape for name, value in maps.items()}),
            gradient=is_gradient(self._config),
            score=score,
        )

    def _inputs(self, sample: Sample) -> Maps:
        return {s.name: sample.inputs[s.name].astype(s.point_dtype, copy=False) for s in self._model.inputs}

    def _fills(self, sample: Sample) -> Maps:
        fill, seed = self._settings.fill, self._config.seed
        return {spec.name: filled(sample, fill, spec, seed, self._references) for spec in self._model.explained}

    def _sensitivity(self, sample: Sample) -> Doubles:
        """Explains each row again at points near it, and at itself: the same batch, so that rounding is the same."""
        found = np.full(len(sample), np.nan)
        batches = (self._nearby(sample, row) for row in range(len(sample)))
        for row, maps in enumerate(self._explained(self.explainer, batches, sample)):
            if maps is not None and np.isfinite(maps).all():
                found[row] = sensitivity.sensitivity_max(maps[0], maps[1:])
        return found

    def _nearby(self, sample: Sample, row: int) -> Batch:
        inputs, count = self._inputs(sample), 1 + sensitivity.DRAWS
        points = {name: np.repeat(value[[row]], count, axis=0) for name, value in inputs.items()}
        for spec in self._model.explained:
            numbers = generator(self._settings.seed, "sensitivity", spec.name, sample.row_ids[row])
            points[spec.name][1:] = sensitivity.nearby(inputs[spec.name][row], numbers)
        return _batch(sample, np.full(count, row), points)

    def _randomisation(self, sample: Sample) -> Doubles:
        found, inputs = np.full(len(sample), np.nan), self._inputs(sample)
        each = (np.array([row]) for row in range(len(sample)))
        batches = (_batch(sample, row, {name: value[row] for name, value in inputs.items()}) for row in each)
        assert self._shuffled is not None
        for row, maps in enumerate(self._explained(self._shuffled, batches, sample)):
            own = np.concatenate([sample.maps[spec.name][row].ravel() for spec in self._model.explained])
            if maps is not None and np.isfinite(maps).all() and np.isfinite(own).all():
                found[row] = randomisation.similarity(own, maps[0])
        return found

    def _explained(self, explainer: Explainer, batches: Iterator[Batch], sample: Sample) -> Iterator[Doubles | None]:
        """The maps of each batch, as coarse as those that were written, [rows, values]; None where a row was lost."""
        for found in explainer.stream(batches):
            folded = [folded_to(value, sample.maps[name].shape[1:]) for name, value in found.attributions.items()]
            flat = np.concatenate([value.reshape(len(value), -1) for value in folded], axis=1)
            yield None if found.faults else flat


def _batch(sample: Sample, rows: npt.NDArray[np.int64], points: Mapping[str, Values]) -> Batch:
    """Some rows of the sample, with other inputs [len(rows), *shape]; what is drawn for them is what the run drew."""
    return Batch(
        points,
        None if sample.target is None else sample.target[rows],
        {name: value[rows] for name, value in sample.baselines.items()},
        row_ids=[sample.row_ids[row] for row in rows],
    )
