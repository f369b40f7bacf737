"""Flags and arguments that several commands have."""

from __future__ import annotations

import pathlib
from typing import Annotated

import typer

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
BeamOptions = Annotated[
    list[str] | None, typer.Argument(metavar="[-- BEAM OPTIONS]", help="Options for Beam, after `--`.")
]
