"""One comparison with a peer, and both sides' common ground: a case that both can read."""

from __future__ import annotations

import dataclasses
import pathlib
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.models import Case
from benchmarks.peer_workers import launcher
from transforms.attribution.config import AttributionConfig, ModelConfig
from transforms.attribution.explainer import Explainer
from transforms.attribution.model.model import Model, load_model

Doubles = npt.NDArray[np.float64]
# Rounding of float32 sums of up to a thousand terms in another order, relative to the row's largest attribution.
ROUNDING = 1e-5


@dataclasses.dataclass(frozen=True)
class Check:
    """One line of the table.

    Attributes:
        what: method and options.
        rows: that were compared.
        largest: difference, of any value of any row, as `expected` says relative to what.
        expected: in words.
        holds: whether it does.
        measured: what else there is to say.
    """

    what: str
    peer: str
    case: str
    rows: int
    largest: float
    expected: str
    holds: bool
    measured: dict[str, Any] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Ground:
    """A case, loaded by attribeam and exported for a peer's worker."""

    name: str
    case: Case
    folder: pathlib.Path

    @classmethod
    def of(cls, name: str, case: Case, folder: pathlib.Path, rows: int) -> Ground:
        """The first rows of a case, written below `folder`."""
        ground = cls(name, Case(case.model, case.inputs[:rows], case.labels[:rows]), folder / name)
        ground.folder.mkdir()
        ground.case.model.save(ground.folder / "model.keras")
        launcher.export(ground.case, ground.folder)
        return ground

    def model(self, layer: str | None = None) -> Model:
        """The model as attribeam loads it."""
        return load_model(ModelConfig(path=str(self.folder / "model.keras"), layer=layer), hoist=True)

    def explainer(self, model: Model, **settings: Any) -> Explainer:
        """attribeam on the rows' labels; a fixed batch size, for the same bytes on every run."""
        return Explainer(model, AttributionConfig(target="label", batch_size=500, **settings))

    def ask(self, worker: launcher.Worker, rows: int, options: dict[str, Any], internal: int | None = 500) -> Doubles:
        """The peer's values for the first rows, float64, rows first."""
        path = self.folder / "peer.npy"
        worker.ask(
            do="explain", indices=list(range(rows)), rows=100, internal=internal, path=str(path), options=options
        )
        return np.asarray(np.load(path), np.float64)


def attributions(explanation: Any) -> Doubles:
    """Of the only input or layer, float64 [rows, *shape]."""
    (values,) = explanation.attributions.values()
    return np.asarray(values, np.float64)


def differences(theirs: Doubles, ours: Doubles) -> Doubles:
    """The largest of each row, relative to the row's largest attribution of ours, [rows]."""
    theirs, ours = (value.reshape(len(value), -1) for value in (theirs, ours))
    return np.asarray(np.abs(theirs - ours).max(axis=1) / np.abs(ours).max(axis=1))
