"""An Explainer in name: exact attributions of a linear function in no time, so that campaigns spend theirs on files."""

from __future__ import annotations

import time
import types
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np

from transforms.attribution.batch import Batch
from transforms.attribution.explanation import Explanation
from transforms.attribution.model.model_input import ModelInput

WEIGHTS = np.array([0.5, -2.0, 0.25, 1.0], np.float32)


class FakeExplainer:
    """F(x) = WEIGHTS · x from a baseline of zeros; it has what a job asks of an Explainer, and nothing of TensorFlow.

    Args:
        seconds: that each batch takes.
    """

    device, trusted, references = "none", (), None

    def __init__(self, config: Any, seconds: float = 0.0) -> None:
        spec = ModelInput("x", (len(WEIGHTS),), np.dtype("float32"), np.dtype("float32"), True)
        inputs = dict.fromkeys(("sources", "inputs", "explained"), (spec,))
        output, rest = (
            types.SimpleNamespace(names=None),
            {"classes": 1, "names": None, "digest": "0" * 64, "stem": None, "layer": None},
        )
        self.model: Any = types.SimpleNamespace(**inputs, output=output, **rest)
        self.config, self._seconds = config, seconds

    def with_references(self, references: Any) -> FakeExplainer:
        return self

    def explained_shapes(self, shapes: Any) -> dict[str, tuple[int, ...]]:
        return {"x": tuple(shapes[0])}

    def batch_size(self, shapes: Any) -> int:
        return 1

    def traces(self) -> int:
        return 0

    def take_out_of_memory(self) -> int:
        return 0

    def stream(self, batches: Iterable[Batch]) -> Iterator[Explanation]:
        for batch in batches:
            time.sleep(self._seconds)
            yield explained(batch.inputs["x"])


def explained(x: Any) -> Explanation:
    """All rows, exactly: x · WEIGHTS is rounded once, as the attributions are."""
    maps = (x * WEIGHTS).astype(np.float32)
    output = maps.astype(np.float64).sum(axis=1).astype(np.float32)
    delta = maps.astype(np.float64).sum(axis=1) - output
    rows, zeros = len(x), np.zeros(len(x), np.float32)
    return Explanation(
        rows=np.arange(rows),
        attributions={"x": maps},
        target=None,
        target_rank=None,
        predicted=None,
        output=output,
        baseline_output=zeros,
        delta=delta,
        relative_delta=np.abs(delta),
        error_estimate=None,
        steps=np.ones(rows, np.int32),
        blind_share=zeros,
        baseline_spread=None,
        status=np.full(rows, "ok"),
        faults={},
    )


class Handle:
    """What stands for Beam's `shared.Shared`: it gives the fake, whatever it is asked for."""

    def __init__(self, explainer: FakeExplainer) -> None:
        self._explainer = explainer

    def acquire(self, constructor: Callable[[], Any]) -> FakeExplainer:
        return self._explainer
