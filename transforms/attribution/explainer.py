"""`Explainer`: a loaded model and a compiled, batched kernel of its gradients; in a job and in a notebook."""

from __future__ import annotations

import copy
import functools
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import numpy.typing as npt

from transforms.attribution import targets
from transforms.attribution.baselines import given as base
from transforms.attribution.baselines.max_entropy import check_max_entropy
from transforms.attribution.baselines.references import References
from transforms.attribution.batch import Batch, by_name, check_inputs
from transforms.attribution.config import AttributionConfig, ModelConfig
from transforms.attribution.copies.adaptive_noise import AdaptiveNoise
from transforms.attribution.copies.copies import Copies
from transforms.attribution.copies.map_measures import adaptive_measure
from transforms.attribution.engine.computes import Computes
from transforms.attribution.engine.device import CALLS_IN_FLIGHT, claim_device
from transforms.attribution.engine.engine import Engine
from transforms.attribution.engine.guided import Guided
from transforms.attribution.engine.kernel import Shape
from transforms.attribution.engine.layer_source import LayerSource
from transforms.attribution.engine.precision import Course, Trial
from transforms.attribution.engine.starts import Starts
from transforms.attribution.engine.works import Works
from transforms.attribution.explanation import Explanation
from transforms.attribution.method_config import GuidedIntegratedGradients
from transforms.attribution.methods import method_of
from transforms.attribution.model.aiming import aim
from transforms.attribution.model.model import Model, load_model

Values = npt.NDArray[Any]


class Explainer:
    """Explains rows of one model under one configuration. Holds the model; never changes it.

    Args:
        references: what its baselines take of a dataset, where they do.

    Attributes:
        device: what computes: `GPU:<name>` or `CPU`.
        trusted: modules of the user's that the configuration may name functions of; no other is imported.

    Raises:
        UsageError: when the target, a baseline or the precision cannot fit the model (E_TARGET_*, E_BASELINE_*,
            E_BATCH_SIZE, E_PRECISION, E_MODEL_OUTPUT_SHAPE, E_CODE_*).
    """

    def __init__(
        self,
        model: Model,
        config: AttributionConfig,
        trusted: Collection[str] = (),
        references: References | None = None,
    ) -> None:
        model, config = aim(model, config, trusted)
        base.check_baselines(config, model.inputs, layered=model.layer is not None)
        check_max_entropy(config, model)
        self._method = method_of(config, trusted)
        self.model, self.config = model if self._method.hoisted else model.unhoisted(), config
        self.trusted, self.references = tuple(trusted), references or References()
        self._course = Course(self._method.levels, lower=False)
        self.device = claim_device()
        self._computes = Computes(self.model, config, self._method, self.device != "CPU")
        self._works = self._new_works()
        self._measure = adaptive_measure(config, self.model, self.outputs)
        self._source = LayerSource(self.model, config, self._computes.of)
        self._pool = ThreadPoolExecutor(CALLS_IN_FLIGHT, "kernel")

    @classmethod
    def load(
        cls,
        model: ModelConfig,
        config: AttributionConfig,
        trusted: Collection[str] = (),
        references: References | None = None,
    ) -> Explainer:
        """Load the model and prepare to explain it; raises what `claim_device`, `load_model` and `Explainer` raise."""
        claim_device()
        return cls(load_model(model, config.hoist), config, trusted, references)

    def with_references(self, references: References) -> Explainer:
        """The same, with what its baselines take of a dataset; model and programs are shared."""
        other = copy.copy(self)
        other.references = references
        other._works = other._new_works()
        return other

    def explain(
        self,
        inputs: Mapping[str, Any] | Any,
        target: Any = None,
        baselines: Mapping[str, Any] | Any | None = None,
        row_ids: Sequence[str] | None = None,
    ) -> Explanation:
        """Attributions, deltas and outputs of some rows.

        Args:
            inputs: [rows, *shape], or a mapping from names to such arrays: of the model's own inputs, with a layer too.
            target: for `target: label`, the labels: integers or names of classes, [rows] or one for all.
            baselines: an array or a mapping, of what is explained: inputs, or the layer's value; one for all rows, or
                one a row; None: as configured.
            row_ids: what is drawn for a row depends on its id, so that a job and a notebook draw the same; None: its
                position.

        Raises:
            UsageError: E_INPUT_NAME, E_INPUT_SHAPE, E_INPUT_DTYPE, E_TARGET_*, E_BASELINE_*.
        """
        named = {name: np.asarray(value) for name, value in by_name(inputs, self.model.sources).items()}
        check_inputs(named, self.model.sources)
        rows = len(next(iter(named.values())))
        labels = None if target is None else targets.given_labels(target, rows, self.model.output.names)
        given = {} if baselines is None else by_name(baselines, self.model.explained)
        given = {name: np.asarray(value) for name, value in given.items()}
        (explanation,) = self.stream([Batch(named, labels, given, row_ids=row_ids)])
        return explanation

    def stream(self, batches: Iterable[Batch]) -> Iterator[Explanation]:
        """Explain batch after batch, each as soon as its last row is done; points of several fill one call.

        In a lower precision, a few batches at a time are explained together.
        """
        batches = self._source.stream(batches)
        if self.config.copied:
            sources = self.model, self.config, self.references
            copies = Copies(self._once, self._works.chosen, *sources, self._method.drawn)
            measure = self._measure
            return (AdaptiveNoise(copies.stream, measure, measure.name) if measure else copies).stream(batches)
        return self._once(batches)

    def explained_shapes(self, shapes: Sequence[Shape]) -> dict[str, Shape]:
        """Of what is explained, by name, where the model's own inputs have these shapes."""
        found = zip(self.model.inputs, self._source.shapes(shapes), strict=True)
        return {spec.name: shape for spec, shape in found if spec.explained}

    def outputs(self, batch: Batch) -> Values:
        """F at the inputs, [rows, classes]."""
        return self._works.outputs(batch)

    def batch_size(self, shapes: Sequence[Shape]) -> int:
        """Gradients computed in one call, at present, for inputs of these shapes; in the lower precision, if any."""
        return self._computes.batch_size(self._source.shapes(shapes))

    def traces(self) -> int:
        """Programs that TensorFlow traced so far."""
        return self._computes.traces()

    def calls(self) -> int:
        """Calls of the kernel that have ended so far: as long as they grow, there is progress."""
        return self._computes.calls()

    def take_out_of_memory(self) -> int:
        """Calls that did not fit into memory since this was last asked; each was done again in halves."""
        return self._computes.take_out_of_memory()

    def _once(self, batches: Iterable[Batch]) -> Iterator[Explanation]:
        if isinstance(self.config.method, GuidedIntegratedGradients):
            return self._guided(batches, self.config.method)
        if self._computes.lower:
            return Trial(self._run, self.config).stream(batches)
        return self._run(batches, self._course)

    def _run(self, batches: Iterable[Batch], course: Course) -> Iterator[Explanation]:
        engine: Engine | None = None
        finish = functools.partial(self._works.finished, course)
        for batch in batches:
            compute = self._computes.of(self._works.shapes(batch), course.lower)
            if engine is None or engine.compute is not compute:
                # points of another shape need another program: they cannot share a call
                yield from map(finish, engine.drain() if engine else ())
                nodes = self._computes.nodes(course.levels)
                engine = Engine(compute, course.levels, nodes, self.config.tolerance, self._pool)
            engine.put(self._works.begin(batch))
            yield from map(finish, engine.finished())
        yield from map(finish, engine.drain() if engine else ())

    def _guided(self, batches: Iterable[Batch], options: GuidedIntegratedGradients) -> Iterator[Explanation]:
        for batch in batches:
            compute, work = self._computes.of(self._works.shapes(batch)), self._works.begin(batch)
            Guided(compute, options, self._method.levels, self.config.tolerance, self._pool).explain(work)
            yield self._works.finished(self._course, work)

    def _new_works(self) -> Works:
        starts = Starts(self.model, self.config, self.references)
        return Works(self.model, self.config, self._method, starts, self._computes.of)
