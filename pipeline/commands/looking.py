"""`attribeam compare`, `show`: what changed between two runs, and one row looked at."""

from __future__ import annotations

import pathlib
from typing import Annotated

import typer
from rich.console import Console

from pipeline.commands.options import BeamOptions, RunDirectory


def compare(
    out_a: Annotated[str, typer.Argument(metavar="OUT_A", help="The directory (or URL) of a finished run.")],
    out_b: Annotated[str, typer.Argument(metavar="OUT_B", help="Another one, over the same rows.")],
    beam_options: BeamOptions = None,
    max_drift: Annotated[
        float | None, typer.Option(metavar="X", min=0, max=1, help="End with exit code 1 where the drift is over X.")
    ] = None,
    out: Annotated[
        str | None, typer.Option(metavar="DIR", help="Where it is written; else OUT_B/_compare/ and 12 hex of OUT_A.")
    ] = None,
    html: Annotated[pathlib.Path | None, typer.Option(metavar="FILE", help="Also write a page to look at.")] = None,
) -> None:
    """Tell what changed between two runs over the same rows: their maps, importances by slice, outputs, statuses.

    The drift is the mean over the rows of ½ Σ|B/Σ|B| − A/Σ|A||: 0 for the same maps up to a factor, 1 for maps that
    have nothing in common (docs/compare.md). Example: attribeam compare out/may out/june --max-drift 0.05
    """
    from pipeline.compare import compare_runs, exceeds
    from pipeline.compare_summary import show
    from pipeline.pages.compare_page import write_page

    console = Console()
    found = compare_runs(out_a, out_b, out, beam_options or ())
    show(found, console)
    if html is not None:
        write_page(found, html)
    reason = exceeds(found, max_drift)
    if reason:
        typer.echo(reason, err=True)
        raise typer.Exit(1)


def show(
    out: RunDirectory,
    row_id: Annotated[str, typer.Argument(metavar="ROW_ID", help="The row, as its column `row_id` names it.")],
    target: Annotated[
        int | None, typer.Option(metavar="N", help="Which target, where the row was explained at several.")
    ] = None,
    png: Annotated[pathlib.Path | None, typer.Option(metavar="FILE", help="Draw it into a picture instead.")] = None,
    html: Annotated[pathlib.Path | None, typer.Option(metavar="FILE", help="Write it as a page instead.")] = None,
) -> None:
    """Show one row: what it is, how good its attribution is, and the attribution itself.

    Images are drawn in half blocks, tables and sequences as bars, tokens in colours: red speaks for the output, blue
    against it. Example: attribeam show out/digits test/17 --png row.png
    """
    from pipeline.show.find import find_row
    from pipeline.show.row_view import view

    found = view(find_row(out, row_id, target))
    if png is not None:
        from pipeline.show.picture import draw

        draw(found, png)
        typer.echo(f"{png} is written")
    if html is not None:
        from pipeline.pages.show_page import write_page

        write_page(found, html)
        typer.echo(f"{html} is written")
    if png is None and html is None:
        from pipeline.show.terminal import print_row

        print_row(found, Console())
