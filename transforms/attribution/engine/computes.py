"""The programs that a configuration needs of a model: one for each shape of the inputs, in each precision."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator, Sequence

import numpy as np

from transforms.attribution.config import AttributionConfig
from transforms.attribution.engine.batching import Batching, first_points
from transforms.attribution.engine.call_size import check_batch_size, slot_nodes, whole_slots
from transforms.attribution.engine.compute import Compute
from transforms.attribution.engine.device import Turn
from transforms.attribution.engine.kernel import Kernel, Shape
from transforms.attribution.engine.refusals import Refusals
from transforms.attribution.methods.method import Method
from transforms.attribution.methods.rules import Level
from transforms.attribution.model.bfloat16 import in_bfloat16
from transforms.attribution.model.model import Model


class Computes:
    """Makes each program when it is first asked for, and keeps it.

    Args:
        accelerated: whether anything but a CPU computes.

    Raises:
        UsageError: E_BATCH_SIZE, E_PRECISION.
    """

    def __init__(self, model: Model, config: AttributionConfig, method: Method, accelerated: bool) -> None:
        self._model, self._config, self._method, self._accelerated = model, config, method, accelerated
        self.lower = self._in_lower_precision()
        # several shards may begin at once
        self._creating = threading.Lock()
        self._computes: dict[tuple[bool, tuple[Shape, ...]], Compute] = {}
        self._refusals = Refusals()
        check_batch_size(config, model.batch)
        self.nodes(method.levels)

    def __iter__(self) -> Iterator[Compute]:
        return iter(self._computes.values())

    def of(self, shapes: Sequence[Shape], lower: bool = False) -> Compute:
        """What computes in float32, and in the lower precision the gradients, for inputs of these shapes."""
        key = (lower, tuple(shapes))
        with self._creating:
            if key not in self._computes:
                self._computes[key] = self._new(key[1], lower)
        return self._computes[key]

    def nodes(self, levels: Sequence[Level]) -> int:
        """Of a slot."""
        return slot_nodes(self._config, self._method, levels, self._model.batch)

    def batch_size(self, shapes: Sequence[Shape]) -> int:
        """Gradients computed in one call, at present; in the lower precision, if any."""
        points = self.of(shapes, self.lower is not None).batching.points
        return whole_slots(points, self._config, self._method, self._model.batch)

    def traces(self) -> int:
        """Programs that TensorFlow traced so far."""
        return sum(compute.kernel.traces() for compute in self)

    def calls(self) -> int:
        """That have ended so far."""
        return sum(compute.batching.ended for compute in list(self))

    def take_out_of_memory(self) -> int:
        """Calls that did not fit into memory since this was last asked; each was done again in halves."""
        return sum(compute.batching.take_out_of_memory() for compute in self)

    def _in_lower_precision(self) -> Model | None:
        """The model whose gradients are taken on trial; None: float32, which on a CPU is what TF32 is."""
        if self._config.precision == "bfloat16":
            return in_bfloat16(self._model)
        return self._model if self._config.precision == "tf32" and self._accelerated else None

    def _new(self, shapes: tuple[Shape, ...], lower: bool) -> Compute:
        given = self._model.batch or self._config.batch_size
        size = first_points(sum(int(np.prod(shape)) for shape in shapes)) if given == "auto" else given
        model = self.lower if lower and self.lower else self._model
        # where a path depends on its gradients, every target has one of its own
        targets = 1 if self._method.sequential else self._config.targets
        kernel = Kernel(model, shapes, targets, self._accelerated, self._method.integrand)
        tensor_float_32 = lower and self._config.precision == "tf32"
        turn = Turn(tensor_float_32) if self._accelerated else contextlib.nullcontext()
        # XLA compiles every size anew: an accelerator gets full calls only
        exact = given != "auto" or self._accelerated
        return Compute(kernel, Batching(size, given == "auto"), exact, turn, self._refusals)
