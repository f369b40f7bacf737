"""`Explainer`: a loaded model and a compiled, batched integrated-gradients kernel; in a job and in a notebook.

Source of the method: Sundararajan, Taly, Yan, "Axiomatic Attribution for Deep Networks", ICML 2017.
"""

from __future__ import annotations

import contextlib
import functools
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import numpy.typing as npt

from transforms.attribution import baselines as base
from transforms.attribution import targets
from transforms.attribution.batch import Batch, by_name, check_inputs
from transforms.attribution.batching import MAX_POINTS, Batching, first_points
from transforms.attribution.bfloat16 import in_bfloat16
from transforms.attribution.compute import Compute
from transforms.attribution.config import AttributionConfig, ModelConfig, TopK
from transforms.attribution.copies import Copies
from transforms.attribution.device import CALLS_IN_FLIGHT, Turn, claim_device
from transforms.attribution.engine import Engine
from transforms.attribution.explanation import LOST, Explanation, assess
from transforms.attribution.kernel import Kernel, Shape
from transforms.attribution.methods import METHODS
from transforms.attribution.model import Model, load_model
from transforms.attribution.precision import Course, Trial
from transforms.attribution.rules import Level
from transforms.attribution.starts import Starts
from transforms.attribution.work import Chosen, Work, nodes_in_slot
from transforms.errors import UsageError

Values = npt.NDArray[Any]


class Explainer:
    """Explains rows of one model under one configuration. Holds the model; never changes it.

    Attributes:
        device: what computes: `GPU:<name>` or `CPU`.

    Raises:
        UsageError: when the target, a baseline or the precision cannot fit the model (E_TARGET_*, E_BASELINE_*,
            E_BATCH_SIZE, E_PRECISION).
    """

    def __init__(self, model: Model, config: AttributionConfig) -> None:
        targets.check_target(config.target, model.classes)
        base.check_baselines(config, model.inputs)
        self.model, self.config = model, config
        self._method = METHODS[config.method]
        self._course = Course(self._method.levels(config), lower=False)
        self._starts = Starts(model, config)
        self.device = claim_device()
        self._accelerated = self.device != "CPU"
        self._pool = ThreadPoolExecutor(CALLS_IN_FLIGHT, "kernel")
        self._lower = self._in_lower_precision()
        # several shards may begin at once
        self._creating = threading.Lock()
        self._computes: dict[tuple[bool, tuple[Shape, ...]], Compute] = {}
        if model.batch and config.batch_size not in ("auto", model.batch):
            raise UsageError(
                "E_BATCH_SIZE",
                f"attribution.batch_size is {config.batch_size}, but the model takes batches of exactly {model.batch};"
                " leave it at auto, or export the model with a symbolic batch dimension",
            )

    @classmethod
    def load(cls, model: ModelConfig, config: AttributionConfig) -> Explainer:
        """Load the model and prepare to explain it; raises what `claim_device`, `load_model` and `Explainer` raise."""
        claim_device()
        return cls(load_model(model, config.hoist), config)

    def explain(
        self,
        inputs: Mapping[str, Any] | Any,
        target: Any = None,
        baselines: Mapping[str, Any] | Any | None = None,
        row_ids: Sequence[str] | None = None,
    ) -> Explanation:
        """Attributions, deltas and outputs of some rows.

        Args:
            inputs: [rows, *shape], or a mapping from input names to such arrays.
            target: for `target: label`, the labels: integers, [rows] or one for all.
            baselines: an array or a mapping like `inputs`, one for all rows or one a row; None: as configured.
            row_ids: what is drawn for a row depends on its id, so that a job and a notebook draw the same; None: its
                position.

        Raises:
            UsageError: E_INPUT_NAME, E_INPUT_SHAPE, E_INPUT_DTYPE, E_TARGET_*, E_BASELINE_*.
        """
        named = {name: np.asarray(value) for name, value in by_name(inputs, self.model.inputs).items()}
        check_inputs(named, self.model.inputs)
        rows = len(next(iter(named.values())))
        labels = None if target is None else targets.given_labels(target, rows)
        given = {} if baselines is None else by_name(baselines, self.model.explained)
        (explanation,) = self.stream([Batch(named, labels, given, row_ids=row_ids)])
        return explanation

    def stream(self, batches: Iterable[Batch]) -> Iterator[Explanation]:
        """Explain batch after batch, each as soon as its last row is done; points of several fill one call.

        In a lower precision, a few batches at a time are explained together.
        """
        if self.config.copied:
            return Copies(self._once, self._chosen, self.model, self.config).stream(batches)
        return self._once(batches)

    def _once(self, batches: Iterable[Batch]) -> Iterator[Explanation]:
        return Trial(self._run, self.config).stream(batches) if self._lower else self._run(batches, self._course)

    def _chosen(self, batch: Batch) -> npt.NDArray[np.int64]:
        """The entries of the output that are explained, [rows, targets]."""
        inputs = [batch.inputs[spec.name].astype(spec.point_dtype, copy=False) for spec in self.model.inputs]
        _, table, _ = self._compute([value.shape[1:] for value in inputs]).forward(inputs)
        return targets.choose(self.config, table, batch.labels)

    def _run(self, batches: Iterable[Batch], course: Course) -> Iterator[Explanation]:
        engine: Engine | None = None
        finish = functools.partial(self._finish, course)
        for batch in batches:
            shapes = [batch.inputs[spec.name].shape[1:] for spec in self.model.inputs]
            compute = self._compute(shapes, course.lower)
            if engine is None or engine.compute is not compute:
                # points of another shape need another program: they cannot share a call
                yield from map(finish, engine.drain() if engine else ())
                nodes = self._nodes(course.levels)
                engine = Engine(compute, course.levels, nodes, self.config.tolerance, self._pool)
            engine.put(self._begin(batch, self._compute(shapes)))
            yield from map(finish, engine.finished())
        yield from map(finish, engine.drain() if engine else ())

    def batch_size(self, shapes: Sequence[Shape]) -> int:
        """Gradients computed in one call, at present, for inputs of these shapes; in the lower precision, if any."""
        compute = self._compute(shapes, lower=self._lower is not None)
        points, nodes = compute.batching.points, self._nodes(self._course.levels)
        return max(1, points // nodes) * nodes if points >= nodes else points

    def traces(self) -> int:
        """Programs that TensorFlow traced so far."""
        return sum(compute.kernel.traces() for compute in self._computes.values())

    def take_out_of_memory(self) -> int:
        """Calls that did not fit into memory since this was last asked; each was done again in halves."""
        return sum(compute.batching.take_out_of_memory() for compute in self._computes.values())

    def _in_lower_precision(self) -> Model | None:
        """The model whose gradients are taken on trial; None: float32, which on a CPU is what TF32 is."""
        if self.config.precision == "bfloat16":
            return in_bfloat16(self.model)
        return self.model if self.config.precision == "tf32" and self._accelerated else None

    def _compute(self, shapes: Sequence[Shape], lower: bool = False) -> Compute:
        """What computes in float32, and in the lower precision the gradients."""
        key = (lower, tuple(shapes))
        with self._creating:
            if key not in self._computes:
                self._computes[key] = self._new_compute(key[1], lower)
        return self._computes[key]

    def _new_compute(self, shapes: tuple[Shape, ...], lower: bool) -> Compute:
        given = self.model.batch or self.config.batch_size
        size = first_points(sum(int(np.prod(shape)) for shape in shapes)) if given == "auto" else given
        model = self._lower if lower and self._lower else self.model
        kernel = Kernel(model, shapes, self.config.targets, self._accelerated)
        tensor_float_32 = lower and self.config.precision == "tf32"
        turn = Turn(tensor_float_32) if self._accelerated else contextlib.nullcontext()
        # XLA compiles every size anew: an accelerator gets full calls only
        exact = given != "auto" or self._accelerated
        return Compute(kernel, Batching(size, given == "auto"), exact, turn)

    def _nodes(self, levels: Sequence[Level]) -> int:
        if self.model.batch:
            return nodes_in_slot(levels, self.model.batch, exact=True)
        size = self.config.batch_size
        return nodes_in_slot(levels, MAX_POINTS if size == "auto" else size)

    def _begin(self, batch: Batch, compute: Compute) -> Work:
        inputs = [batch.inputs[spec.name].astype(spec.point_dtype, copy=False) for spec in self.model.inputs]
        baselines = self._starts.baselines(batch)
        heads, table, lost = compute.forward(inputs)
        target = targets.choose(self.config, table, batch.labels) if batch.chosen is None else batch.chosen
        start = self._starts.of(batch, inputs, baselines, compute)
        rows = np.arange(len(table))[:, np.newaxis]
        start_row = rows if len(start.outputs) > 1 else np.zeros_like(rows)
        explained = [value for value, spec in zip(inputs, self.model.inputs, strict=True) if spec.explained]
        chosen = Chosen(target, table[rows, target], start.outputs[start_row, target])
        work = Work(explained, baselines, heads, start.heads, chosen, self._method.factor)
        work.lost |= lost | start.lost
        if batch.rounding is not None:
            work.rounding += batch.rounding
        return work

    def _finish(self, course: Course, work: Work) -> Explanation:
        names, count = [spec.name for spec in self.model.explained], self.config.targets
        kept, chosen = np.flatnonzero(~work.lost), work.chosen
        flat = [value[kept].reshape(len(kept) * count, *value.shape[2:]) for value in work.attributions]
        attributions = dict(zip(names, flat, strict=True))
        output, start = (v[kept].reshape(-1).astype(np.float32) for v in (chosen.output, chosen.baseline_output))
        change = work.change if len(course.levels) > 1 else np.zeros_like(work.change)
        estimated = len(course.levels) > 1 or course.lower
        estimate = (change + work.rounding)[kept].reshape(-1) if estimated else None
        found = assess(attributions, output, start, self.config.tolerance, estimate, self._method.complete)
        ranks = np.tile(np.arange(count, dtype=np.int32), len(kept))
        return Explanation(
            rows=np.repeat(kept, count),
            attributions=attributions,
            target=chosen.target[kept].reshape(-1) if self.model.classes > 1 else None,
            target_rank=ranks if isinstance(self.config.target, TopK) else None,
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
