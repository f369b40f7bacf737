"""`attribeam import-vertex`, `demo`: where to start from."""

from __future__ import annotations

import pathlib
from typing import Annotated

import typer
from rich.console import Console

from transforms.errors import printable


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
        typer.echo(printable(note))
    typer.echo(printable(f"{out} is written; fill in what is named above, then `attribeam plan {out}`"))


def demo(
    directory: Annotated[pathlib.Path, typer.Argument(help="Where everything is put.")] = pathlib.Path("demo"),
) -> None:
    """Train a small model on real handwritten digits, explain the held-out thousand from Parquet and from TFRecord.

    Example: attribeam demo /tmp/digits
    """
    from pipeline.demo_run import run_demo

    run_demo(directory, Console())
