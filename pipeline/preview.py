"""`attribeam plan`: what a run would do, found out from files alone; with a pilot, by running some of it."""

from __future__ import annotations

import pathlib
from collections.abc import Collection

import numpy as np
import numpy.typing as npt
from rich.console import Console
from rich.table import Table
from rich.text import Text

from pipeline.config import JobConfig
from pipeline.facts import Foreseen
from pipeline.other_run import refuse_other_run
from pipeline.plan import Known
from pipeline.progress import describe
from pipeline.status import Watch
from pipeline.survey import Survey, check_first_rows, planned, survey
from transforms.attribution.config import ModelConfig
from transforms.attribution.fit import check_fit
from transforms.attribution.model import admission, anatomy
from transforms.attribution.model.anatomy import Anatomy
from transforms.attribution.model.outline import outline_of, untold
from transforms.errors import AttribeamError, UsageError, printable
from transforms.explaining import buckets
from transforms.explaining.model_files import load_explainer, local_model
from transforms.runs.plan_file import fingerprint_of, read_sizes
from transforms.storage.manifest import RUN
from transforms.storage.place import Place, open_place


def preview(
    config: JobConfig, root: pathlib.Path, console: Console, pilot_rows: int = 0, trusted: Collection[str] = ()
) -> None:
    """Check what files tell, then print shards, rows, bytes, and what is done already; nothing of the model is run.

    Args:
        pilot_rows: explained for real, after all that `run` checks at launch; for that the model is loaded. The
            estimate of the rest is kept for the run's manifest.
        trusted: modules that the configuration may name functions of.

    Raises:
        UsageError: as `run` would; E_PLAN_UNKNOWN for a model whose files do not tell its inputs.
    """
    if pilot_rows:
        _run_some(config, root, console, pilot_rows, trusted)
        return
    found, refusal = _read_model(config.model)
    try:
        _show(foresee(config, root, found, trusted), console)
    except AttribeamError:
        if refusal is None:
            raise
        raise refusal from None  # what a run says first
    if refusal:
        console.print(Text(" run refuses this model:", "bold red"))
        for risk in found.risks:
            console.print(Text(f"   {printable(risk)}", "red"), soft_wrap=True)
        raise refusal


def _read_model(config: ModelConfig) -> tuple[Anatomy, UsageError | None]:
    """What a model's files say, and why it will not be loaded, if so."""
    with local_model(config) as local:
        if config.trust and anatomy.kind_of(local.path) == "hdf5":
            admission.check_digest(config, anatomy.digest(local.path))
            raise untold(config.path, "its inputs")
        found = anatomy.dissect(local.path)
        admission.check_digest(config, found.digest)
        return found, admission.refusal(config, found)


def foresee(config: JobConfig, root: pathlib.Path, found: Anatomy, trusted: Collection[str] = ()) -> Foreseen:
    """All that can be known of a job from files, checked as far as that goes.

    Args:
        found: what the model's files say.

    Raises:
        UsageError: whatever is wrong with the configuration, the model or the dataset as a whole; E_PLAN_UNKNOWN.
    """
    model = outline_of(found, config.model)
    check_fit(model, config.attribution, trusted)
    surveyed = survey(config, root, model, Known())
    shapes = buckets.shapes_told(surveyed.layout, model)
    prepared = None if shapes is None else planned(config, surveyed, model, shapes, trusted)
    check_first_rows(surveyed)
    return Foreseen(config, model, surveyed, prepared, _recorded(open_place(config.output.path), surveyed))


def _run_some(config: JobConfig, root: pathlib.Path, console: Console, rows: int, trusted: Collection[str]) -> None:
    from pipeline.pilot import pilot, store, table
    from pipeline.prepare import prepare
    from transforms.explaining.trial import references_of_first_rows

    explainer, place = load_explainer(config.model, config.attribution, trusted), open_place(config.output.path)
    prepared = prepare(config, root, explainer, Known())
    recorded = _recorded(place, prepared.survey)
    _show(Foreseen(config, explainer.model, prepared.survey, prepared, recorded), console)
    first = references_of_first_rows(prepared.shards[0], prepared.job, explainer)
    estimate = pilot(prepared, explainer.with_references(first), rows)
    store(estimate, place, prepared.job.fingerprint)
    heading = f" pilot: {estimate.rows:,} rows, in blocks spread over the dataset, on {estimate.device}"
    console.print(heading, soft_wrap=True, highlight=False)
    console.print(table(estimate), soft_wrap=True)


def _recorded(place: Place, found: Survey) -> npt.NDArray[np.int64] | None:
    """Rows of every shard that the run in the directory has planned; None where it has planned none.

    Raises:
        UsageError: E_OUTPUT_OTHER_RUN when another run stands there.
    """
    if not place.exists(RUN):
        return None
    refuse_other_run(place, found)
    return read_sizes(place) if fingerprint_of(place) == found.fingerprint else None


def _show(foreseen: Foreseen, console: Console) -> None:
    listed = Table(box=None, show_header=False)
    listed.add_column()
    listed.add_column(overflow="fold")  # a long path is there to the last letter
    for name, value in foreseen.facts().items():
        listed.add_row(name, Text(printable(value)))
    console.print(listed, soft_wrap=True)
    if foreseen.recorded is not None:
        place, fingerprint = open_place(foreseen.config.output.path), foreseen.survey.fingerprint
        done = describe(Watch(place, fingerprint, foreseen.recorded).look())
        console.print(f" done already  rows {done}", soft_wrap=True, highlight=False)
