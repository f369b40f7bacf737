"""`attribeam run`, `plan`, `status`: a job, before, during and after."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.console import Console

from pipeline.commands.auditing import Audit, audit_after
from pipeline.commands.options import BeamOptions, ConfigPath, Overrides, RunDirectory, Trusted
from transforms.errors import printable

Accelerator = Annotated[str | None, typer.Option(metavar="HINT", help="GPUs of Dataflow workers: docs/running.md.")]
MinRam = Annotated[str | None, typer.Option(metavar="SIZE", help="Memory of Dataflow workers that explain: 16GiB.")]


def run(
    config: ConfigPath,
    beam_options: BeamOptions = None,
    overrides: Overrides = None,
    trust: Trusted = None,
    *,
    accelerator: Accelerator = None,
    min_ram: MinRam = None,
    audit: Audit = True,
) -> None:
    """Run the job, or resume it: shards that are done are not computed again; then audit it (`attribeam audit`).

    Example: attribeam run digits.yaml --set attribution.steps=100 -- --direct_num_workers=2
    """
    from pipeline.config import load_config
    from pipeline.launch import run as launch
    from pipeline.resources import Resources

    loaded, resources = load_config(config, overrides or ()), Resources(accelerator, min_ram)
    outcome = launch(loaded, config.parent.resolve(), beam_options or (), None, trust or (), resources)
    typer.echo(printable(outcome.describe()))
    audit_after(outcome, audit, beam_options or [])


def plan(
    config: ConfigPath,
    overrides: Overrides = None,
    pilot: Annotated[
        int, typer.Option(min=0, metavar="N", help="Load the model, explain N rows, estimate the rest.")
    ] = 0,
    trust: Trusted = None,
) -> None:
    """Show what a run would do, and what is done already, by files alone: nothing of the model is executed.

    With --pilot N, load the model, check all that `run` checks at launch, explain N rows spread over the dataset, and
    estimate time, gradients and bytes; the run's manifest will set what it measured beside that. Example: attribeam
    plan digits.yaml --pilot 200
    """
    from pipeline.config import load_config
    from pipeline.preview import preview

    preview(load_config(config, overrides or ()), config.parent.resolve(), Console(), pilot, trust or ())


def status(
    out: RunDirectory,
    watch: Annotated[bool, typer.Option("--watch", help="Go on until the run is finished.")] = False,
) -> None:
    """Show how far a run is, from its files alone: on any runner, from any machine.

    Example: attribeam status out/digits --watch
    """
    from pipeline.progress import ProgressReport, describe
    from pipeline.status import open_watch
    from transforms.storage.place import open_place

    run = open_watch(open_place(out))
    found = ProgressReport(run).until_finished() if watch else run.look()
    typer.echo(f"{'finished' if found.finished else 'unfinished'}: rows {describe(found)}")
