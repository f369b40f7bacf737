"""The input at which a model is as unsure as it can be: one baseline for all rows.

Source: Tan, "Maximum Entropy Baseline for Integrated Gradients", 2022. What is minimised is the cross-entropy from the
uniform distribution, −(1/C) Σ log p, and not −H(p), whose gradient vanishes where the model is sure.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from transforms.attribution.baseline_config import EntropySearch, MaxEntropyBaseline, draws
from transforms.attribution.config import AttributionConfig
from transforms.attribution.model.model import Model
from transforms.attribution.model.model_input import ModelInput
from transforms.attribution.model.probabilities import (
    Reading,
    entropy_share,
    given_reading,
    known_reading,
    likely_reading,
)
from transforms.errors import UsageError

Values = npt.NDArray[Any]
# Added to a probability before its logarithm is taken; at 0 that has a slope of 0 then, and none that is not a number
_TINY = 1e-37


@dataclasses.dataclass(frozen=True, eq=False)
class Domain:
    """Where one input may lie: each value between `low` and `high`, [*shape]; the search starts at `mean`."""

    low: Values
    high: Values
    mean: Values

    @property
    def width(self) -> Values:
        """Float64 [*shape]."""
        found: Values = self.high.astype(np.float64) - self.low
        return found

    @property
    def start(self) -> Values:
        """The mean, in units of the range; 0 where that is empty. float32 [*shape]."""
        share = np.divide(self.mean - self.low, self.width, out=np.zeros(self.width.shape), where=self.width > 0)
        found: Values = np.clip(share, 0, 1).astype(np.float32)
        return found

    def at(self, place: Values, dtype: np.dtype[Any]) -> Values:
        """From a place in units of the range to the input's own."""
        found = self.low + place.astype(np.float64) * self.width
        inside: Values = np.clip(found.astype(dtype), self.low, self.high)
        return inside


def check_max_entropy(config: AttributionConfig, model: Model) -> None:
    """Refuse, before anything is computed, what has no input of the greatest entropy.

    Raises:
        UsageError: E_BASELINE_ENTROPY.
    """
    searched = check_search(config, model.explained, model.held)
    if searched and model.classes == 1 and not (known_reading(model) or searched.max_entropy.output):
        raise _refused(
            "the model has one output, which may be any number. If it is a probability or a logit, say so:"
            " model.activation: sigmoid, or {max_entropy: {output: probabilities | logits}}"
        )


def check_search(
    config: AttributionConfig, explained: Sequence[ModelInput], held: Sequence[ModelInput]
) -> MaxEntropyBaseline | None:
    """What is looked for, if anything; refuse what cannot be, whatever the model's output is.

    Raises:
        UsageError: E_BASELINE_ENTROPY.
    """
    listed = {spec.name: [one for one, _ in draws(config.baseline_of(spec.name))] for spec in explained}
    places = {
        name: [(place, one) for place, one in enumerate(singles) if isinstance(one, MaxEntropyBaseline)]
        for name, singles in listed.items()
    }
    searched = next((one for found in places.values() for _, one in found), None)
    if searched is None:
        return None
    if any(found != next(iter(places.values())) for found in places.values()):
        raise _refused(f"it is looked for over all explained inputs at once; give it to each of {sorted(places)}")
    if any(one != searched for found in places.values() for _, one in found):
        raise _refused("one input of the greatest entropy is looked for; give it the same settings everywhere")
    if held:
        names = [spec.name for spec in held]
        raise _refused(f"the model is held at its inputs {names}, which differ from row to row")
    return searched


def search(model: Model, domains: Mapping[str, Domain], settings: EntropySearch) -> dict[str, Values]:
    """By explained input, the baseline, [*shape] in its point dtype, within the domain.

    The first place at which `settings.entropy` is reached is taken; when none is, that of the least loss.

    Args:
        domains: of every explained input.

    Raises:
        UsageError: E_BASELINE_ENTROPY when the output is not a number at the mean of the dataset.
    """
    function = _Objective(model, domains, settings)
    places = [domains[spec.name].start for spec in model.explained]
    adams = [_Adam(place.shape) for place in places]
    best, least = places, np.inf
    for step in range(settings.steps):
        loss, found, gradients = function(places)
        if loss < least or found >= settings.entropy:
            best, least = places, loss
        if found >= settings.entropy or not np.isfinite(loss):
            break
        # falls to 0 along a cosine: what still goes to and fro in the end comes to rest
        rate = settings.rate * (1 + math.cos(math.pi * step / settings.steps)) / 2
        moves = [rate * adam.direction(gradient) for adam, gradient in zip(adams, gradients, strict=True)]
        places = [np.clip(place - move, 0, 1).astype(np.float32) for place, move in zip(places, moves, strict=True)]
    if not np.isfinite(least):
        raise _refused("the model's output is not a number at the mean of the dataset")
    return function.points(best)


class _Adam:
    """Kingma, Ba, "Adam: A Method for Stochastic Optimization", ICLR 2015, with the constants that it gives."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self._first, self._second, self._steps = np.zeros(shape), np.zeros(shape), 0

    def direction(self, gradient: Values) -> Values:
        """Down along which to go, for a rate of 1."""
        self._steps += 1
        self._first = 0.9 * self._first + 0.1 * gradient
        self._second = 0.999 * self._second + 0.001 * gradient.astype(np.float64) ** 2
        mean, square = self._first / (1 - 0.9**self._steps), self._second / (1 - 0.999**self._steps)
        found: Values = mean / (np.sqrt(square) + 1e-8)
        return found


class _Objective:
    """The loss, the share of the greatest entropy, and the gradient, at a place in units of the ranges."""

    def __init__(self, model: Model, domains: Mapping[str, Domain], settings: EntropySearch) -> None:
        self._model, self._settings = model, settings
        self._domains = [domains[spec.name] for spec in model.explained]
        # an activation is left out: the logarithm of a softmax is exact where the softmax itself has rounded to 0
        self._bare = dataclasses.replace(model, head=dataclasses.replace(model.head, activation=None)).inlined()
        specs = [tf.TensorSpec(domain.start.shape, tf.float32) for domain in self._domains]
        self._forward = tf.function(self._outputs, input_signature=specs, autograph=False)
        self._reading = self._read()
        self._step = tf.function(self._loss, input_signature=specs, autograph=False)

    def __call__(self, places: list[Values]) -> tuple[float, float, list[Values]]:
        outputs, loss, gradients = self._step(*places)
        share = float(entropy_share(outputs.numpy(), self._reading)[0])
        return float(loss), share, [gradient.numpy() for gradient in gradients]

    def points(self, places: list[Values]) -> dict[str, Values]:
        """In the inputs' own units."""
        pairs = zip(self._model.explained, self._domains, places, strict=True)
        return {spec.name: domain.at(place, spec.point_dtype) for spec, domain, place in pairs}

    def _read(self) -> Reading:
        known = known_reading(self._model)
        if known is not None:
            return dataclasses.replace(known, logits=self._model.outputs.activation is not None)
        if self._settings.output is not None:
            return given_reading(self._model, self._settings.output)
        starts = [domain.start for domain in self._domains]
        tried = [self._forward(*places) for places in (starts, [np.zeros_like(value) for value in starts])]
        found = likely_reading(np.concatenate([value.numpy() for value in tried]))
        assert found is not None  # check_max_entropy refuses one output that may be any number
        return found

    def _outputs(self, *places: Any) -> Any:
        points = []
        for place, domain, spec in zip(places, self._domains, self._model.explained, strict=True):
            low, width = (tf.constant(value, spec.point_dtype) for value in (domain.low, domain.width))
            point = low + tf.cast(place, spec.point_dtype) * width
            points.append(tf.repeat(point[tf.newaxis], self._model.batch or 1, axis=0))
        stem = self._bare.stem
        return self._bare.head(stem.project(points) if stem else points)[:1]

    def _loss(self, *places: Any) -> Any:
        outputs = self._outputs(*places)
        pairs = zip(places, self._domains, strict=True)
        apart = tf.add_n([tf.reduce_sum((place - domain.start) ** 2) for place, domain in pairs])
        loss = _cross_entropy(outputs, self._reading) + self._settings.weight * tf.cast(apart, outputs.dtype)
        return outputs, loss, tf.gradients(loss, list(places), unconnected_gradients="zero")


def _cross_entropy(outputs: Any, reading: Reading) -> Any:
    """From the uniform distribution, −(1/C) Σ log p; of several yes or no, the mean."""
    if reading.logits and reading.kind == "softmax":
        return -tf.reduce_mean(tf.nn.log_softmax(outputs))
    if reading.logits:
        return tf.reduce_mean(tf.nn.softplus(outputs) + tf.nn.softplus(-outputs)) / 2
    if reading.kind == "softmax":
        return -tf.reduce_mean(tf.math.log(outputs + _TINY))
    return -tf.reduce_mean(tf.math.log(outputs + _TINY) + tf.math.log(1 - outputs + _TINY)) / 2


def _refused(why: str) -> UsageError:
    return UsageError("E_BASELINE_ENTROPY", f"attribution.baseline is max_entropy, but {why}")
