"""What the flex template's launcher runs: the template's parameters and Beam's options become `attribeam run`."""

from __future__ import annotations

import argparse
import pathlib
import sys
import tempfile
from collections.abc import Sequence

from apache_beam.io.filesystems import FileSystems

from pipeline.main import main


def command(arguments: Sequence[str], folder: pathlib.Path) -> list[str]:
    """The arguments of `attribeam`, for those that the launcher gives; the configuration is copied into a folder."""
    parser = argparse.ArgumentParser(allow_abbrev=False)
    parser.add_argument("--config", required=True)
    parser.add_argument("--accelerator")
    parser.add_argument("--min_ram")
    given, beam = parser.parse_known_args(arguments)
    config = folder / "config.yaml"
    with FileSystems.open(given.config) as source:
        config.write_bytes(source.read())
    hints = {"--accelerator": given.accelerator, "--min-ram": given.min_ram}
    wanted = [part for option, value in hints.items() if value for part in (option, value)]
    return ["run", str(config), *wanted, "--", *beam]


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        sys.argv = ["attribeam", *command(sys.argv[1:], pathlib.Path(folder))]
        main()
