"""`Explainer`: a loaded model and a compiled, batched integrated-gradients kernel; in a job and in a notebook.

Source of the method: Sundararajan, Taly, Yan, "Axiomatic Attribution for Deep Networks", ICML 2017.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from transforms.attribution import baselines as base
from transforms.attribution import targets
from transforms.attribution.batch import Batch, by_name, check_inputs
from transforms.attribution.config import AttributionConfig, ModelConfig
from transforms.attribution.engine import CALLS_IN_FLIGHT, Engine
from transforms.attribution.explanation import Explanation, assess
from transforms.attribution.kernel import Kernel, Shape, Tiling, round_up
from transforms.attribution.model import Model, ModelInput, load_model
from transforms.attribution.rules import quadrature
from transforms.attribution.work import Work, choose_tiling
from transforms.errors import UsageError

Values = npt.NDArray[Any]


class Explainer:
    """Explains rows of one model under one configuration. Holds the model; never changes it.

    Raises:
        UsageError: when the target or a baseline cannot fit the model (E_TARGET_*, E_BASELINE_*, E_BATCH_SIZE).
    """

    def __init__(self, model: Model, config: AttributionConfig) -> None:
        targets.check_target(config.target, model.classes)
        base.check_baselines(config, model.inputs)
        self.model, self.config = model, config
        self._rule = quadrature(config.rule, config.steps)
        self._pool = ThreadPoolExecutor(CALLS_IN_FLIGHT, "kernel")
        self._kernels: dict[tuple[Shape, ...], Kernel] = {}
        self._shared_outputs: dict[tuple[Shape, ...], Values] = {}
        if model.batch and config.batch_size not in ("auto", model.batch):
            raise UsageError(
                "E_BATCH_SIZE",
                f"attribution.batch_size is {config.batch_size}, but the model takes batches of exactly {model.batch};"
                " leave it at auto, or export the model with a symbolic batch dimension",
            )

    @classmethod
    def load(cls, model: ModelConfig, config: AttributionConfig) -> Explainer:
        """Load the model and prepare to explain it; raises what `load_model` and `Explainer` raise."""
        return cls(load_model(model), config)

    def explain(
        self,
        inputs: Mapping[str, Any] | Any,
        target: Any = None,
        baselines: Mapping[str, Any] | Any | None = None,
    ) -> Explanation:
        """Attributions, deltas and outputs of some rows.

        Args:
            inputs: [rows, *shape], or a mapping from input names to such arrays.
            target: for `target: label`, the labels: integers, [rows] or one for all.
            baselines: an array or a mapping like `inputs`, one for all rows or one a row; None: as configured.

        Raises:
            UsageError: E_INPUT_NAME, E_INPUT_SHAPE, E_INPUT_DTYPE, E_TARGET_*, E_BASELINE_*.
        """
        named = {name: np.asarray(value) for name, value in by_name(inputs, self.model.inputs).items()}
        check_inputs(named, self.model.inputs)
        rows = len(next(iter(named.values())))
        labels = None if target is None else targets.given_labels(target, rows)
        given = {} if baselines is None else by_name(baselines, self.model.explained)
        (explanation,) = self.stream([Batch(named, labels, given)])
        return explanation

    def stream(self, batches: Iterable[Batch]) -> Iterator[Explanation]:
        """Explain batch after batch, each as soon as its last row is done; points of several fill one call."""
        engine: Engine | None = None
        for batch in batches:
            kernel = self._kernel(batch)
            if engine is None or engine.kernel is not kernel:
                # points of another shape need another program: they cannot share a call
                yield from self._drained(engine)
                engine = Engine(kernel, self._rule, self._pool)
            engine.put(self._begin(batch, kernel))
            yield from map(self._finish, engine.finished())
        yield from self._drained(engine)

    def tiling(self, shapes: Iterable[Shape]) -> Tiling:
        """How the points of one call are laid out, for inputs of these shapes."""
        if self.model.batch:
            return choose_tiling(self.model.batch, self.config.steps, exact=True)
        size = self.config.batch_size
        if size == "auto":
            size = _batch_size_for(sum(int(np.prod(shape)) for shape in shapes))
        return choose_tiling(size, self.config.steps)

    @property
    def device(self) -> str:
        """What computes: `GPU:<name>` or `CPU`."""
        gpus = tf.config.list_physical_devices("GPU")
        names = {str(tf.config.experimental.get_device_details(gpu).get("device_name", "unknown")) for gpu in gpus}
        return "GPU:" + ",".join(sorted(names)) if names else "CPU"

    def traces(self) -> int:
        """Programs that TensorFlow traced so far."""
        return sum(kernel.traces() for kernel in self._kernels.values())

    def _kernel(self, batch: Batch) -> Kernel:
        shapes = tuple(batch.inputs[spec.name].shape[1:] for spec in self.model.inputs)
        if shapes not in self._kernels:
            self._kernels[shapes] = Kernel(self.model, shapes, self.tiling(shapes))
        return self._kernels[shapes]

    def _begin(self, batch: Batch, kernel: Kernel) -> Work:
        inputs = [batch.inputs[spec.name].astype(spec.point_dtype, copy=False) for spec in self.model.inputs]
        baselines = [self._baseline(batch, spec) for spec in self.model.explained]
        table = _outputs(kernel, inputs)
        chosen = targets.choose(self.config, table, batch.labels)
        start = self._baseline_outputs(batch, inputs, baselines, kernel)
        rows = np.arange(len(table))
        start_row = rows if len(start) > 1 else np.zeros_like(rows)
        tiles = -(-self.config.steps // kernel.tiling.nodes)
        return Work(inputs, baselines, chosen, table[rows, chosen], start[start_row, chosen], tiles)

    def _baseline(self, batch: Batch, spec: ModelInput) -> Values:
        rows, shape = len(batch.inputs[spec.name]), batch.inputs[spec.name].shape[1:]
        if spec.name in batch.baselines:
            return base.given_baseline(batch.baselines[spec.name], spec, rows, shape)
        constant = base.constant_baseline(self.config, spec, shape)
        if constant is None:
            raise UsageError("E_BASELINE_MISSING", f"the baseline of {spec.name!r} is a column; give its values")
        return constant[np.newaxis]

    def _baseline_outputs(self, batch: Batch, inputs: list[Values], starts: list[Values], kernel: Kernel) -> Values:
        """F(x′), [rows, classes], or [1, classes] where all rows share it; that of the configuration is kept."""
        one_for_all = len(starts) == len(inputs) and all(len(value) == 1 for value in starts)
        rows = 1 if one_for_all else len(inputs[0])
        if one_for_all and not batch.baselines:
            key = tuple(value.shape for value in starts)
            if key not in self._shared_outputs:
                self._shared_outputs[key] = _outputs(kernel, starts)
            return self._shared_outputs[key]
        given = iter(starts)
        fed = [
            np.broadcast_to(next(given), (rows, *value.shape[1:])) if spec.explained else value
            for spec, value in zip(self.model.inputs, inputs, strict=True)
        ]
        return _outputs(kernel, fed)

    def _drained(self, engine: Engine | None) -> Iterator[Explanation]:
        return map(self._finish, engine.drain()) if engine else iter(())

    def _finish(self, work: Work) -> Explanation:
        names = [spec.name for spec in self.model.explained]
        attributions = dict(zip(names, work.attributions(self.model.inputs), strict=True))
        output, start = work.output.astype(np.float32), work.baseline_output.astype(np.float32)
        delta, relative, status = assess(attributions, output, start, self.config.tolerance)
        steps = np.full(len(output), self.config.steps, np.int32)
        target = work.target if self.model.classes > 1 else None
        return Explanation(attributions, target, output, start, delta, relative, None, steps, status)


def _outputs(kernel: Kernel, inputs: list[Values]) -> Values:
    size, rows = kernel.tiling.points, len(inputs[0])
    tables = []
    for first in range(0, rows, size):
        part = [round_up(value[first : first + size], size) for value in inputs]
        tables.append(kernel.outputs(part)[: rows - first])
    return np.concatenate(tables)


def _batch_size_for(values: int) -> int:
    """Enough points to keep the cores busy, few enough for any memory: about 4 MB of them, between 8 and 1024."""
    return int(min(1024, max(8, 2 ** np.floor(np.log2(2**20 / max(values, 1))))))
