"""The commands; the only place where flags exist. `attribeam COMMAND --help` tells each one's."""

from __future__ import annotations

import itertools
import logging
import os
import pathlib
import signal
import sys
import tempfile
import traceback
from collections.abc import Sequence
from types import FrameType
from typing import Annotated

import typer
from rich.console import Console

from transforms.errors import AttribeamError

INTERRUPTED = 75
HELP = "Explain whole datasets: integrated gradients as an Apache Beam job, with proof of quality in every row."
app = typer.Typer(help=HELP, no_args_is_help=True, add_completion=True, pretty_exceptions_enable=False)

ConfigPath = Annotated[pathlib.Path, typer.Argument(metavar="CONFIG.yaml", help="The job's configuration.")]
Overrides = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override a value: --set attribution.steps=100.")
]
RunDirectory = Annotated[str, typer.Argument(metavar="OUT", help="The directory (or URL) of a run.")]
Trusted = Annotated[
    list[str] | None,
    typer.Option(
        "--trust", metavar="MODULE", help="Allow the configuration to run functions of this Python module; repeatable."
    ),
]
Accelerator = Annotated[str | None, typer.Option(metavar="HINT", help="GPUs of Dataflow workers: docs/running.md.")]
MinRam = Annotated[str | None, typer.Option(metavar="SIZE", help="Memory of Dataflow workers that explain: 16GiB.")]
BeamOptions = Annotated[
    list[str] | None, typer.Argument(metavar="[-- BEAM OPTIONS]", help="Options for Beam, after `--`.")
]


@app.command()
def run(
    config: ConfigPath,
    beam_options: BeamOptions = None,
    overrides: Overrides = None,
    trust: Trusted = None,
    accelerator: Accelerator = None,
    min_ram: MinRam = None,
) -> None:
    """Run the job, or resume it: shards that are done are not computed again.

    Example: attribeam run digits.yaml --set attribution.steps=100 -- --direct_num_workers=2
    """
    from pipeline.config import load_config
    from pipeline.launch import run as launch
    from pipeline.resources import Resources

    loaded, resources = load_config(config, overrides or ()), Resources(accelerator, min_ram)
    typer.echo(launch(loaded, config.parent.resolve(), beam_options or (), None, trust or (), resources).describe())


@app.command()
def plan(
    config: ConfigPath,
    overrides: Overrides = None,
    pilot: Annotated[int, typer.Option(min=0, metavar="N", help="Explain N rows for real, and estimate the rest.")] = 0,
    trust: Trusted = None,
) -> None:
    """Show what a run would do, and what is done already, without computing.

    With --pilot N, explain N rows spread over the dataset, and estimate time, gradients and bytes; the run's manifest
    will set what it measured beside that. Example: attribeam plan digits.yaml --pilot 200
    """
    from pipeline.config import load_config
    from pipeline.preview import preview

    preview(load_config(config, overrides or ()), config.parent.resolve(), Console(), pilot, trust or ())


@app.command()
def inspect(path: Annotated[str, typer.Argument(help="A model, or a dataset: file, directory or glob.")]) -> None:
    """Show a model's inputs, outputs, layers and risky operations, or a dataset's schema, rows and first values.

    Nothing of the model or the data is executed. Example: attribeam inspect models/digits.keras
    """
    from pipeline.inspection import inspect_path

    inspect_path(path, Console())


@app.command()
def status(out: RunDirectory) -> None:
    """Show how far a run is, from its files alone: on any runner, from any machine.

    Example: attribeam status out/digits
    """
    from pipeline.progress import describe
    from pipeline.status import read_status
    from transforms.storage.place import open_place

    found = read_status(open_place(out))
    typer.echo(f"{'finished' if found.finished else 'unfinished'}: rows {describe(found)}")


@app.command()
def verify(
    out: RunDirectory,
    deep: Annotated[bool, typer.Option("--deep", help="Also read every value and recompute completeness.")] = False,
) -> None:
    """Check every file of a finished run against its manifest.

    Example: attribeam verify out/digits --deep
    """
    from transforms.storage.place import open_place
    from transforms.verify import verify_run

    faults = verify_run(open_place(out), deep)
    for fault in faults:
        typer.echo(fault)
    if faults:
        raise typer.Exit(1)
    typer.echo(f"{out} holds" + (", every value of it" if deep else ""))


@app.command()
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


@app.command()
def import_vertex(
    spec: Annotated[pathlib.Path, typer.Argument(metavar="EXPLANATION_SPEC.json", help="A Vertex AI ExplanationSpec.")],
    out: Annotated[
        pathlib.Path | None, typer.Option("--out", metavar="CONFIG.yaml", help="Where it is written; else it is shown.")
    ] = None,
) -> None:
    """Turn a Vertex AI ExplanationSpec into a configuration, and say line by line what has no equivalent.

    Example: attribeam import-vertex explanation_spec.json --out digits.yaml
    """
    from pipeline.vertex import translate, write_config
    from pipeline.vertex_spec import read_spec

    translation = translate(read_spec(spec))
    if out is None:
        typer.echo(translation.to_yaml(), nl=False)
        return
    write_config(translation, out)
    for note in translation.notes:
        typer.echo(note)
    typer.echo(f"{out} is written; fill in what is named above, then `attribeam plan {out}`")


@app.command()
def demo(
    directory: Annotated[pathlib.Path, typer.Argument(help="Where everything is put.")] = pathlib.Path("demo"),
) -> None:
    """Train a small model on real handwritten digits, explain the held-out thousand from Parquet and from TFRecord.

    Example: attribeam demo /tmp/digits
    """
    from pipeline.demo_run import run_demo

    run_demo(directory, Console())


def main() -> None:
    """The console script: run a command, and turn what goes wrong into few lines and an exit code."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    _configure_logging()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _interrupt)
    sys.excepthook = _unexpected
    try:
        app()
    except AttribeamError as error:
        typer.echo(f"error: {error}", err=True)
        if error.exit_code == 1:
            typer.echo(f"The traceback is in {_write_log(error)}", err=True)
        sys.exit(error.exit_code)


def _before_options(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """What stands before the first option of Beam, and the rest: `--` itself is gone when a command is called."""
    runs = list(itertools.takewhile(lambda argument: not argument.startswith("-"), arguments))
    return runs, list(arguments[len(runs) :])


def _configure_logging() -> None:
    """Warnings of this package and of Beam; of what else they import, errors only."""
    logging.basicConfig(level=logging.ERROR, format="%(levelname)s %(message)s")
    for name in ("pipeline", "transforms", "apache_beam"):
        logging.getLogger(name).setLevel(logging.WARNING)


def _interrupt(number: int, frame: FrameType | None) -> None:
    """Leave at once: a run is whole at any moment, and an exception would be lost among those that Beam wraps."""
    cursor = b"\x1b[?25h" if sys.stderr.isatty() else b""
    os.write(2, cursor + b"interrupted; run the same command again to go on where it stopped\n")
    os._exit(INTERRUPTED)


def _unexpected(kind: type[BaseException], error: BaseException, trace: object) -> None:
    first = f"{kind.__name__}: {error}".splitlines()[0][:300]
    typer.echo(f"error: {first}\nThis is unexpected. The traceback is in {_write_log(error)}", err=True)


def _write_log(error: BaseException) -> str:
    with tempfile.NamedTemporaryFile("w", prefix="attribeam-", suffix=".log", delete=False, encoding="utf-8") as log:
        log.write("".join(traceback.format_exception(error)))
    return log.name


if __name__ == "__main__":
    main()
