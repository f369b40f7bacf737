"""`attribeam inspect`, `verify`, `evaluate`: what goes in, and whether what came out holds."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Annotated

import typer
from rich.console import Console

from pipeline.commands.options import RunDirectory, Trusted
from transforms.errors import printable


def inspect(path: Annotated[str, typer.Argument(help="A model, or a dataset: file, directory or glob.")]) -> None:
    """Show a model's inputs, outputs, layers and risky operations, or a dataset's schema, rows and first values.

    Nothing of the model or the data is executed. Example: attribeam inspect models/digits.keras
    """
    from pipeline.inspection import inspect_path

    inspect_path(path, Console())


def verify(
    out: RunDirectory,
    deep: Annotated[bool, typer.Option("--deep", help="Also read every value and recompute completeness.")] = False,
) -> None:
    """Check every file of a finished run against its manifest.

    Example: attribeam verify out/digits --deep
    """
    from transforms.runs.verify import verify_run
    from transforms.storage.place import open_place

    faults = verify_run(open_place(out), deep)
    for fault in faults:
        typer.echo(printable(fault))
    if faults:
        raise typer.Exit(1)
    typer.echo(printable(f"{out} holds{', every value of it' if deep else ''}"))


def evaluate(
    out: Annotated[list[str], typer.Argument(metavar="OUT [-- BEAM OPTIONS]", help="The directory (or URL) of a run.")],
    *,
    rows: Annotated[int, typer.Option(min=1, metavar="N", help="Evaluate N rows, drawn by the seed and their ids.")],
    seed: Annotated[int, typer.Option(help="Of the sample, and of what is drawn for each row.")] = 0,
    compare: Annotated[
        list[str] | None, typer.Option(metavar="OUT ...", help="Other runs of the same model, rows and target.")
    ] = None,
    metric: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="Only this metric; may be repeated. docs/evaluation.md.")
    ] = None,
    fill: Annotated[
        str | None, typer.Option(metavar="BASELINE", help="What replaces features, as in YAML; else OUT's baseline.")
    ] = None,
    trust: Trusted = None,
) -> None:
    """Measure how faithful, stable and noisy the maps of a finished run are; with --compare, of several, row by row.

    Writes to OUT/_evaluation. Example: attribeam evaluate out/digits --rows 200 --compare out/saliency out/blur
    """
    from pipeline.comparison import show
    from pipeline.config import parse_value
    from pipeline.evaluation import Request, evaluate

    runs, options = _before_options(out)
    if not runs or (len(runs) > 1 and not compare):
        raise typer.BadParameter(f"give one run, and others after --compare; found {runs}")
    request = Request(rows, seed, metric or (), parse_value(fill, "--fill") if fill else None)
    show(evaluate([runs[0], *(compare or ()), *runs[1:]], request, options, trust or ()), Console())


def _before_options(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """What stands before the first option of Beam, and the rest: `--` itself is gone when a command is called."""
    runs = list(itertools.takewhile(lambda argument: not argument.startswith("-"), arguments))
    return runs, list(arguments[len(runs) :])
