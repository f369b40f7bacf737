"""What `attribeam plan` says of a job, line by line; what is not known is said to be."""

from __future__ import annotations

import dataclasses

import numpy as np
import numpy.typing as npt

from pipeline import plan as planning
from pipeline.config import JobConfig
from pipeline.survey import Prepared, Survey
from transforms.attribution.config import AttributionConfig
from transforms.attribution.engine.call_size import planned_points
from transforms.attribution.methods import without_code
from transforms.attribution.model.model import Model
from transforms.attribution.model.outline import ModelOutline
from transforms.records.columns import AttributionColumns
from transforms.records.examples import Layout

UNKNOWN = "not known without running the model; --pilot 1 tries"


@dataclasses.dataclass(frozen=True)
class Foreseen:
    """A job, as far as it is known.

    Attributes:
        model: loaded, or as its files describe it.
        prepared: None where it is not known how large the attributions of a row are.
        recorded: rows of every shard that the run itself has planned, [shards]; None where none has.
    """

    config: JobConfig
    model: Model | ModelOutline
    survey: Survey
    prepared: Prepared | None
    recorded: npt.NDArray[np.int64] | None

    def facts(self) -> dict[str, str]:
        """Each under its name."""
        config, found, files = self.config.attribution, self.survey, self.survey.files
        points = planned_points(config, without_code(config), self.model.batch)
        return {
            "fingerprint": found.fingerprint[:12],
            "input": f"{found.rows:,} rows in {len(files):,} files, {sum(file.size for file in files):,} bytes",
            "shards": self._shards(),
            "gradients": _gradients(found.rows, config),
            "batch size": "tuned while running" if points is None else f"{points:,} points",
            "output": f"{self._bytes()}, to {self.config.output.path}",
            "explained": ", ".join(map(_written, self.prepared.job.attributions)) if self.prepared else UNKNOWN,
            **({"lengths": _lengths(found.layout)} if found.layout.lengths else {}),
            "held": _held(self.model),
            "model output": _output(self.model),
            **({"hoisted": hoisted(self.model)} if isinstance(self.model, Model) else {}),
        }

    def _shards(self) -> str:
        sizes = self.recorded
        if sizes is None and self.prepared is not None:
            sizes = np.array([shard.size for shard in self.prepared.shards])
        return UNKNOWN if sizes is None else f"{len(sizes):,} of at most {sizes.max():,} rows"

    def _bytes(self) -> str:
        if self.prepared is None:
            return f"bytes {UNKNOWN}"
        row_bytes = planning.output_row_bytes(self.prepared.job.attributions)
        return f"about {self.survey.rows * row_bytes:,} bytes before compression"


def hoisted(model: Model) -> str:
    """From which tensor on the model runs once a point, by input; all before it runs once a row."""
    if not model.stem:
        return "nothing"
    ends = model.stem.tensors
    pairs = [pair for pair in zip(model.inputs, model.stem.heads, strict=True) if pair[0].name in ends]
    return "; ".join(
        f"{whole.name}: computed from {ends[whole.name]} {list(head.shape)} instead of {list(whole.shape)}"
        for whole, head in pairs
    )


def _held(model: Model | ModelOutline) -> str:
    return UNKNOWN if model.held is None else ", ".join(spec.name for spec in model.held) or "no input"


def _output(model: Model | ModelOutline) -> str:
    output = model.output if isinstance(model, Model) else model.whole_output
    return UNKNOWN if output is None else str(output)


def _written(columns: AttributionColumns) -> str:
    sparse = "" if columns.top is None else f", of which the {columns.kept} strongest"
    shape = ", ".join("any" if size is None else str(size) for size in columns.dense_shape)
    return f"{columns.input} [{shape}]{' groups' if columns.groups else ''}{sparse}"


def _lengths(layout: Layout) -> str:
    """What is known of rows of varying length."""
    varying = {feature.name: feature.varying for feature in layout.inputs if feature.varying}
    return ", ".join(
        f"{name} about {layout.lengths[name]:,} steps by the first rows, at most {axis.most:,}"
        for name, axis in varying.items()
    )


def _gradients(rows: int, config: AttributionConfig) -> str:
    levels = without_code(config).levels
    least, most = (rows * config.targets * config.copies * level.steps for level in (levels[:2][-1], levels[-1]))
    if least < most:
        return f"{least:,} to {most:,} (steps: auto, tolerance {config.tolerance:g}); --pilot N measures how many"
    return f"{most:,} ({levels[-1].steps * config.copies} steps a row)"
