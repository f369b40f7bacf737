"""`Explainer`: a loaded model and a compiled, batched kernel of its gradients; in a job and in a notebook."""

from __future__ import annotations

import copy
import functools
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import numpy.typing as npt

from transforms.attribution import baselines as base
from transforms.attribution import targets
from transforms.attribution.batch import Batch, by_name, check_inputs
from transforms.attribution.compute import Compute
from transforms.attribution.computes import Computes
from transforms.attribution.config import AttributionConfig, ModelConfig
from transforms.attribution.copies import Copies
from transforms.attribution.device import CALLS_IN_FLIGHT, claim_device
from transforms.attribution.engine import Engine
from transforms.attribution.explanation import LOST, Explanation, assess
from transforms.attribution.guided import Guided
from transforms.attribution.kernel import Shape
from transforms.attribution.layer_source import LayerSource
from transforms.attribution.max_entropy import check_max_entropy
from transforms.attribution.method_config import GuidedIntegratedGradients
from transforms.attribution.methods import method_of
from transforms.attribution.model import Model, load_model
from transforms.attribution.objective import aim
from transforms.attribution.precision import Course, Trial
from transforms.attribution.references import References
from transforms.attribution.starts import Start, Starts
from transforms.attribution.work import Chosen, Work

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
        self._method = method_of(config)
        self.model, self.config = model if self._method.hoisted else model.unhoisted(), config
        self.trusted, self.references = tuple(trusted), references or References()
        self._course = Course(self._method.levels, lower=False)
        self._starts = Starts(self.model, config, self.references)
        self.device = claim_device()
        self._computes = Computes(self.model, config, self._method, self.device != "CPU")
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
        other.references, other._starts = references, Starts(self.model, self.config, references)
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
            jittered = self._method.jittered
            return Copies(self._once, self._chosen, self.model, self.config, self.references, jittered).stream(batches)
        return self._once(batches)

    def explained_shapes(self, shapes: Sequence[Shape]) -> dict[str, Shape]:
        """Of what is explained, by name, where the model's own inputs have these shapes."""
        found = zip(self.model.inputs, self._source.shapes(shapes), strict=True)
        return {spec.name: shape for spec, shape in found if spec.explained}

    def outputs(self, batch: Batch) -> Values:
        """F at the inputs, [rows, classes]."""
        table: Values = self._computes.of(self._shapes(batch)).forward(self._fed(batch))[1]
        return table

    def batch_size(self, shapes: Sequence[Shape]) -> int:
        """Gradients computed in one call, at present, for inputs of these shapes; in the lower precision, if any."""
        return self._computes.batch_size(self._source.shapes(shapes))

    def traces(self) -> int:
        """Programs that TensorFlow traced so far."""
        return self._computes.traces()

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
        finish = functools.partial(self._finish, course)
        for batch in batches:
            shapes = self._shapes(batch)
            compute = self._computes.of(shapes, course.lower)
            if engine is None or engine.compute is not compute:
                # points of another shape need another program: they cannot share a call
                yield from map(finish, engine.drain() if engine else ())
                nodes = self._computes.nodes(course.levels)
                engine = Engine(compute, course.levels, nodes, self.config.tolerance, self._pool)
            engine.put(self._begin(batch, self._computes.of(shapes)))
            yield from map(finish, engine.finished())
        yield from map(finish, engine.drain() if engine else ())

    def _guided(self, batches: Iterable[Batch], options: GuidedIntegratedGradients) -> Iterator[Explanation]:
        for batch in batches:
            compute = self._computes.of(self._shapes(batch))
            work = self._begin(batch, compute)
            Guided(compute, options, self._method.levels, self.config.tolerance, self._pool).explain(work)
            yield self._finish(self._course, work)

    def _shapes(self, batch: Batch) -> list[Shape]:
        return [batch.inputs[spec.name].shape[1:] for spec in self.model.inputs]

    def _chosen(self, batch: Batch) -> npt.NDArray[np.int64]:
        """The entries of the output that are explained, [rows, targets]."""
        known = targets.known(self.config, len(batch), batch.labels, self.model.classes)
        if known is not None:
            return known
        return targets.choose(self.config, self.outputs(batch))

    def _fed(self, batch: Batch) -> list[Values]:
        return [batch.inputs[spec.name].astype(spec.point_dtype, copy=False) for spec in self.model.inputs]

    def _begin(self, batch: Batch, compute: Compute) -> Work:
        inputs, baselines = self._fed(batch), self._starts.baselines(batch)
        target = batch.chosen
        if target is None:
            target = targets.known(self.config, len(batch), batch.labels, self.model.classes)
        if target is not None and self._method.only == "input":  # F comes with the gradient
            heads, lost = inputs, np.zeros(len(batch), dtype=bool)
            output = np.full(target.shape, np.nan, np.float32)
        else:
            heads, table, lost = self._forward(batch, inputs, compute)
            target = targets.choose(self.config, table) if target is None else target
            output = np.take_along_axis(table, target, axis=1)
        start = self._start(batch, inputs, baselines, compute)
        start_row = np.arange(len(batch) if len(start.outputs) > 1 else 1)[:, np.newaxis]
        chosen = Chosen(target, output, start.outputs[start_row, target])
        explained = [value for value, spec in zip(inputs, self.model.inputs, strict=True) if spec.explained]
        work = Work(explained, baselines, heads, start.heads, chosen, self._method.factor, batch.places)
        work.lost |= lost | start.lost | (False if batch.lost is None else batch.lost)
        if batch.rounding is not None:
            work.rounding += batch.rounding
        return work

    def _forward(self, batch: Batch, inputs: list[Values], compute: Compute) -> tuple[list[Values], Values, Values]:
        """What the head takes, F and which rows are lost; once for the copies of a row that are all alike."""
        heads, table, lost = compute.forward([value[:: batch.alike] for value in inputs])
        if batch.alike == 1:
            return heads, table, lost
        heads, (table, lost) = (
            [np.repeat(value, batch.alike, axis=0) for value in part] for part in (heads, (table, lost))
        )
        return heads, table, lost

    def _start(self, batch: Batch, inputs: list[Values], baselines: list[Values], compute: Compute) -> Start:
        if self._method.only == "baseline":  # F comes with the gradient
            blank = np.full((1, self.model.classes), np.nan, np.float32)
            return Start(baselines, blank, np.zeros(1, dtype=bool))
        return self._starts.of(batch, inputs, baselines, compute)

    def _finish(self, course: Course, work: Work) -> Explanation:
        names, count = [spec.name for spec in self.model.explained], self.config.targets
        kept, chosen = np.flatnonzero(~work.lost), work.chosen
        flat = [value[kept].reshape(len(kept) * count, *value.shape[2:]) for value in work.attributions]
        attributions = dict(zip(names, flat, strict=True))
        ends = {"input": chosen.output, "baseline": chosen.baseline_output}
        if self._method.only:
            ends[self._method.only] = work.sums[-1]
        output, start = (value[kept].reshape(-1).astype(np.float32) for value in ends.values())
        change = work.change if len(course.levels) > 1 else np.zeros_like(work.change)
        estimated = len(course.levels) > 1 or course.lower
        estimate = (change + work.rounding)[kept].reshape(-1) if estimated else None
        found = assess(attributions, output, start, self.config.tolerance, estimate, self._method.complete)
        ranks = np.tile(np.arange(count, dtype=np.int32), len(kept))
        return Explanation(
            rows=np.repeat(kept, count),
            attributions=attributions,
            target=chosen.target[kept].reshape(-1) if self.model.classes > 1 else None,
            target_rank=ranks if self.config.ranked else None,
            output=output,
            baseline_output=start,
            delta=found.delta,
            relative_delta=found.relative_delta,
            error_estimate=estimate,
            steps=np.repeat(work.steps[kept], count),
            blind_share=np.repeat(work.blind_share()[kept], count),
            baseline_spread=None,
            status=found.status,
            faults={int(row): LOST for row in np.flatnonzero(work.lost)},
        )
