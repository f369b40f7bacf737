"""`example(name)`: an example made and run as its user would, once a session."""

from __future__ import annotations

import functools
import pathlib
import subprocess
import sys
from collections.abc import Callable

import pytest

from transforms.runs.verify import verify_run
from transforms.storage.place import open_place

ROOT = pathlib.Path(__file__).parent.parent.parent


@pytest.fixture(scope="session")
def example(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., pathlib.Path]:
    """The name of an example → the folder with its data, and in `out` its run, in which every value was verified;
    with `audited=True`, with the audit that a run ends with."""

    @functools.cache
    def made(name: str, audited: bool = False) -> pathlib.Path:
        folder = tmp_path_factory.mktemp(name) / "made [1]"
        call(f"examples/{name}/make.py", folder)
        call("-m", "pipeline.main", "run", *([] if audited else ["--no-audit"]), folder / "config.yaml")
        assert verify_run(open_place(str(folder / "out")), deep=True) == []
        return folder

    return made


def call(*command: object) -> None:
    """Python, from the repository's root."""
    ran = subprocess.run([sys.executable, *map(str, command)], cwd=ROOT, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
