"""`attribeam evaluate`: how faithful, stable and noisy the maps of a finished run are, on a sample of its rows."""

from __future__ import annotations

import dataclasses
import json
import pathlib
from collections.abc import Collection, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.utils import shared
from pydantic import ValidationError

from pipeline.config import JobConfig, parse_config
from pipeline.launch import known_before
from pipeline.other_run import differences
from pipeline.prepare import prepare
from pipeline.runner import parse_options, run_pipeline
from transforms.attribution.baselines.given import check_baselines
from transforms.attribution.config import AttributionConfig
from transforms.attribution.faithfulness.config import EvaluationConfig
from transforms.attribution.faithfulness.evaluator import Evaluator
from transforms.attribution.faithfulness.metrics import METRICS
from transforms.errors import UsageError, quoted
from transforms.evaluate import EvaluateRun
from transforms.evaluating.evaluation import EvaluationJob
from transforms.explaining.model_files import local_model
from transforms.read_shards import ReadShards
from transforms.runs.attribution_job import AttributionJob
from transforms.runs.plan_file import read_sizes
from transforms.storage import manifest as names
from transforms.storage.place import Place, open_place

# What runs must have in common to be compared: the function that is explained, and the rows.
SAME = ("model.", "input.features", "input.id", "input.label", "input.listing", "attribution.target")


@dataclasses.dataclass(frozen=True)
class Request:
    """What the user asks for.

    Attributes:
        rows: of the sample, at most.
        metrics: by name; () for all.
        fill: a baseline as in a configuration; None: the first one of the first run.
    """

    rows: int
    seed: int = 0
    metrics: Sequence[str] = ()
    fill: Any = None


@dataclasses.dataclass(frozen=True)
class FinishedRun:
    """A run as its directory tells.

    Attributes:
        decides: everything that decides the values, by dotted key.
        shards: how many it has.
        pinned: sha256 of what its baselines take of the dataset; None where they take nothing.
    """

    place: Place
    config: JobConfig
    decides: dict[str, Any]
    shards: int
    pinned: str | None


@dataclasses.dataclass(frozen=True)
class Evaluated:
    """An evaluation of a run: where it was written, what it says, and its rows.

    Attributes:
        computed: False when it was there already.
    """

    place: Place
    stem: str
    summary: dict[str, Any]
    rows: pa.Table
    computed: bool


def evaluate(
    roots: Sequence[str], request: Request, beam_options: Sequence[str] = (), trusted: Collection[str] = ()
) -> list[Evaluated]:
    """Evaluate one run, or the same rows of several.

    Args:
        roots: their directories.
        trusted: modules that their configurations may name functions of, and sha256 of models that they trust.

    Raises:
        UsageError, AttribeamError: E_EVALUATE_*, E_CODE_*, and whatever a run that cannot be read or a model that
            cannot be loaded raises.
    """
    options = parse_options(beam_options)
    runs = [read_run(open_place(root), trusted) for root in roots]
    _require_comparable(runs)
    settings = _settings(request, runs[0])
    excluded = tuple(sorted({name for run in runs for name in refused(run)})) if len(runs) > 1 else ()
    return [_evaluate(run, runs[0], settings, excluded, options, trusted) for run in runs]


def read_run(place: Place, trusted: Collection[str] = ()) -> FinishedRun:
    """A finished run. That its configuration trusts the model counts only where `trusted` has the model's sha256: the
    directory may be a stranger's.

    Raises:
        AttribeamError: E_RUN_UNFINISHED, E_RUN_MISSING, E_RUN_DAMAGED, E_MANIFEST_DAMAGED, E_PLAN_DAMAGED.
    """
    names.read_manifest(place)
    record = names.read_run(place)
    config = parse_config(record["config"])
    # a directory may have been moved since
    output = config.output.model_copy(update={"path": place.root})
    digest = record["decides"].get("model.digest")
    trust = config.model.trust and digest in trusted
    model = config.model.model_copy(update={"trust": trust, "sha256": digest if trust else None})
    moved = config.model_copy(update={"model": model, "output": output})
    pinned = record["files_sha256"].get(names.BASELINES)
    return FinishedRun(place, moved, record["decides"], len(read_sizes(place)), pinned)


def refused(run: FinishedRun) -> set[str]:
    """The ids of the rows that a run has set apart."""
    found = set[str]()
    for name in run.place.names():
        if name.startswith(f"{names.QUARANTINE}/") and not name.startswith(f"{names.DAMAGED}/"):
            with run.place.open(name) as file:
                found |= set(pq.read_table(file, columns=["row_id"])["row_id"].to_pylist())
    return found


def _settings(request: Request, first: FinishedRun) -> EvaluationConfig:
    for name in request.metrics:
        if name not in METRICS:
            raise UsageError("E_EVALUATE_METRIC", f"there is no metric {name!r}; there are {', '.join(METRICS)}")
    own = first.config.attribution
    fill = {name: own.baseline_of(name) for name in ("", *own.baseline)} if request.fill is None else request.fill
    metrics = tuple(request.metrics) or tuple(METRICS)
    try:
        return EvaluationConfig(rows=request.rows, seed=request.seed, metrics=metrics, fill=fill)
    except ValidationError as error:
        raise UsageError(
            "E_EVALUATE_FILL",
            f"--fill {quoted(request.fill)} is no baseline; give one as attribution.baseline takes it",
        ) from error


def _require_comparable(runs: Sequence[FinishedRun]) -> None:
    first = {key: value for key, value in runs[0].decides.items() if key.startswith(SAME)}
    for run in runs[1:]:
        other = {key: value for key, value in run.decides.items() if key.startswith(SAME)}
        if other != first:
            raise UsageError(
                "E_EVALUATE_RUNS",
                f"{run.place.root} explains something else than {runs[0].place.root}: {differences(first, other)};"
                " compare runs of the same model, inputs and target",
            )


def _evaluate(
    run: FinishedRun,
    first: FinishedRun,
    settings: EvaluationConfig,
    excluded: tuple[str, ...],
    options: PipelineOptions,
    trusted: Collection[str],
) -> Evaluated:
    handle, config = shared.Shared(), run.config
    if config.model.layer is not None:
        raise UsageError(
            "E_EVALUATE_MAP",
            f"{run.place.root} explains the layer {config.model.layer!r}, whose values cannot be taken away from the"
            " input; evaluate a run that explains the inputs",
        )
    with local_model(config.model) as model:
        evaluator = handle.acquire(lambda: Evaluator.load(model, config.attribution, settings, trusted))
    check_baselines(AttributionConfig(baseline=settings.fill), evaluator.explainer.model.inputs)
    job = _job(run, first, settings, excluded, evaluator)
    with run.place.alone():
        computed = not run.place.exists(f"{job.stem}.json")
        if computed:
            shards = ReadShards(run.place.root, job.run.fingerprint, range(run.shards))
            run_pipeline(lambda root: root | shards | EvaluateRun(job, handle), options)
    with run.place.open(f"{job.stem}.parquet") as file:
        rows = pq.read_table(file, page_checksum_verification=True)
    return Evaluated(run.place, job.stem, names.read_json(run.place, f"{job.stem}.json"), rows, computed)


def _job(
    run: FinishedRun, first: FinishedRun, settings: EvaluationConfig, excluded: tuple[str, ...], evaluator: Evaluator
) -> EvaluationJob:
    """What is evaluated, once model, inputs and maps are found to be those of the run.

    Raises:
        UsageError: E_EVALUATE_CHANGED, E_EVALUATE_MAP.
    """
    known = known_before(run.place)
    prepared = prepare(run.config, pathlib.Path.cwd(), evaluator.explainer, known)
    decides = json.loads(names.to_json(prepared.decides))
    if decides != run.decides:
        raise UsageError(
            "E_EVALUATE_CHANGED",
            f"{run.place.root} explains something that has changed since: {differences(run.decides, decides)};"
            " restore it, or run again elsewhere",
        )
    maps, explained = _maps(run, prepared.job), dataclasses.replace(prepared.job, baselines=run.pinned)
    return EvaluationJob(explained, settings, maps, evaluator.reasons(maps), first.place.root, first.pinned, excluded)


def _maps(run: FinishedRun, job: AttributionJob) -> dict[str, tuple[int, ...]]:
    """By explained input, the shape of its map, with a 1 for each axis that it was summed over.

    Raises:
        UsageError: E_EVALUATE_MAP where the run does not hold a value for each feature, or each sum over an axis.
    """
    if varying := [feature.name for feature in job.layout.inputs if feature.varying]:
        raise UsageError(
            "E_EVALUATE_MAP",
            f"the rows of {quoted(varying[0])} in {run.place.root} have lengths of their own; evaluate a run over rows"
            " of one shape",
        )
    for columns in job.attributions:
        if columns.groups or columns.top is not None:
            raise UsageError(
                "E_EVALUATE_MAP",
                f"{run.place.root} has no whole map of {columns.input!r}, but groups, or the strongest of its values;"
                " run without output.groups and output.top, and evaluate that",
            )
    return {
        columns.input: tuple(1 if axis in columns.axes else size or 1 for axis, size in enumerate(columns.shape))
        for columns in job.attributions
    }
