"""The console script: the commands of `pipeline/commands`, and what becomes of what goes wrong."""

from __future__ import annotations

import os
import signal
import sys
from types import FrameType

import typer

from pipeline.commands import auditing, beginning, checking, looking, running, tidying
from pipeline.terminal import configure_logging, first_line, write_log
from transforms.errors import AttribeamError

INTERRUPTED = 75
HELP = "Explain whole datasets: integrated gradients as an Apache Beam job, with proof of quality in every row."
COMMANDS = (
    running.run,
    running.plan,
    checking.inspect,
    running.status,
    checking.verify,
    checking.evaluate,
    looking.compare,
    looking.show,
    auditing.audit,
    auditing.export_tfma,
    tidying.gc,
    beginning.import_vertex,
    beginning.demo,
)
app = typer.Typer(help=HELP, no_args_is_help=True, add_completion=True, pretty_exceptions_enable=False)
for command in COMMANDS:
    app.command()(command)


def main() -> None:
    """The console script: run a command, and turn what goes wrong into few lines and an exit code."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    configure_logging()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _interrupt)
    sys.excepthook = _unexpected
    try:
        app()
    except AttribeamError as error:
        typer.echo(f"error: {error}", err=True)
        if error.exit_code == 1:
            typer.echo(f"The traceback is in {write_log(error)}", err=True)
        sys.exit(error.exit_code)


def _interrupt(number: int, frame: FrameType | None) -> None:
    """Leave at once: a run is whole at any moment, and an exception would be lost among those that Beam wraps."""
    cursor = b"\x1b[?25h" if sys.stderr.isatty() else b""
    os.write(2, cursor + b"interrupted; run the same command again to go on where it stopped\n")
    os._exit(INTERRUPTED)


def _unexpected(kind: type[BaseException], error: BaseException, trace: object) -> None:
    typer.echo(f"error: {first_line(error)}\nThis is unexpected. The traceback is in {write_log(error)}", err=True)


if __name__ == "__main__":
    main()
