"""`attribeam audit OUT`, and the audit after `attribeam run`: what stands on the command line."""

from __future__ import annotations

import shlex
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.commands.options import BeamOptions, RunDirectory
from transforms.errors import printable

if TYPE_CHECKING:
    from pipeline.outcome import Outcome

Audit = Annotated[bool, typer.Option(help="When the run is finished, audit it, as `attribeam audit` does.")]


def audit(out: RunDirectory, beam_options: BeamOptions = None) -> None:
    """Audit a finished run: which features, regions and tokens matter, by class and kept column, and what looks wrong.

    Writes tables, audit.json and report.html to OUT/_audit, over what an earlier audit left there; OUT itself stays as
    it is. The parts are read twice, by all workers. Example: attribeam audit out/digits
    """
    from pipeline.audit import audit as audit_run

    typer.echo(audit_run(out, beam_options or (), given_command()).describe())


def export_tfma(
    out: RunDirectory,
    directory: Annotated[str, typer.Argument(metavar="DIR", help="Where it is written: a directory of its own.")],
) -> None:
    """Write the audit of a run as TensorFlow Model Analysis keeps its results: what tfma.load_eval_result reads.

    Of each slice the rows, statuses, deltas and accuracy, and by feature or token the mean and the mean absolute
    attribution: docs/audit.md. Example: attribeam export-tfma out/digits out/digits-tfma
    """
    from pipeline.tfma_export import export_tfma as export

    typer.echo(printable(export(out, directory)))


def audit_after(outcome: Outcome, wanted: bool, beam_options: list[str]) -> None:
    """If wanted, audit a run that is finished, unless nothing of it was computed now and it has its audit."""
    from pipeline.audit import audit as audit_run

    if wanted and outcome.manifest:
        again = outcome.computed > 0
        typer.echo(audit_run(outcome.root, beam_options, given_command(), again).describe())


def given_command() -> str:
    """What the user typed, but for Beam's options: they may name secrets."""
    given = sys.argv[: sys.argv.index("--")] if "--" in sys.argv else sys.argv
    return shlex.join(["attribeam", *given[1:]])
