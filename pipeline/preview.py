"""`attribeam plan`: what a run would do, found out without computing any of it."""

from __future__ import annotations

import pathlib
from collections.abc import Collection

import numpy as np
from rich.console import Console
from rich.table import Table
from rich.text import Text

from pipeline import plan as planning
from pipeline.config import JobConfig
from pipeline.launch import refuse_other_run
from pipeline.pilot import pilot, store, table
from pipeline.prepare import Prepared, prepare
from pipeline.progress import describe
from pipeline.status import Watch
from transforms.attribution.config import AttributionConfig
from transforms.attribution.explainer import Explainer
from transforms.attribution.methods import without_code
from transforms.attribution.model.model import Model
from transforms.errors import printable
from transforms.model_files import load_explainer
from transforms.records.columns import AttributionColumns
from transforms.records.examples import Layout
from transforms.storage.manifest import RUN
from transforms.storage.place import open_place
from transforms.trial import references_of_first_rows


def preview(
    config: JobConfig, root: pathlib.Path, console: Console, pilot_rows: int = 0, trusted: Collection[str] = ()
) -> None:
    """Check everything that `run` checks at launch, then print shards, rows, bytes, and what is done already.

    Args:
        pilot_rows: explained for real, to estimate the rest; the estimate is kept for the run's manifest.
        trusted: modules that the configuration may name functions of.

    Raises:
        UsageError: as `run` would.
    """
    explainer = load_explainer(config.model, config.attribution, trusted)
    prepared = prepare(config, root, explainer, planning.Known())
    listed = Table(box=None, show_header=False)
    listed.add_column()
    listed.add_column(overflow="fold")  # a long path is there to the last letter
    for name, value in _facts(config, prepared, explainer).items():
        listed.add_row(name, Text(printable(value)))
    console.print(listed, soft_wrap=True)
    place = open_place(config.output.path)
    if place.exists(RUN):
        refuse_other_run(place, prepared)
        watch = Watch(place, prepared.job.fingerprint, np.array([shard.size for shard in prepared.shards]))
        console.print(f" done already  rows {describe(watch.look())}", soft_wrap=True, highlight=False)
    if pilot_rows:
        first = references_of_first_rows(prepared.shards[0], prepared.job, explainer)
        estimate = pilot(prepared, explainer.with_references(first), pilot_rows)
        store(estimate, place, prepared.job.fingerprint)
        heading = f" pilot: {estimate.rows:,} rows, in blocks spread over the dataset, on {estimate.device}"
        console.print(heading, soft_wrap=True, highlight=False)
        console.print(table(estimate), soft_wrap=True)


def _facts(config: JobConfig, prepared: Prepared, explainer: Explainer) -> dict[str, str]:
    attributions = prepared.job.attributions
    rows = prepared.shards.rows
    row_bytes = planning.output_row_bytes(attributions)
    return {
        "fingerprint": prepared.job.fingerprint[:12],
        "input": f"{rows:,} rows in {len(prepared.files):,} files, {sum(f.size for f in prepared.files):,} bytes",
        "shards": f"{len(prepared.shards):,} of at most {max(shard.size for shard in prepared.shards):,} rows",
        "gradients": _gradients(rows, config.attribution),
        "batch size": "tuned while running"
        if config.attribution.batch_size == "auto"
        else f"{explainer.batch_size(prepared.job.shapes):,} points",
        "output": f"about {rows * row_bytes:,} bytes before compression, to {config.output.path}",
        "explained": ", ".join(_written(columns) for columns in attributions),
        **({"lengths": _lengths(prepared.job.layout)} if prepared.job.layout.lengths else {}),
        "held": ", ".join(spec.name for spec in explainer.model.inputs if not spec.explained) or "no input",
        "hoisted": hoisted(explainer.model),
    }


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
