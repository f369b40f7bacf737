"""What every test may use: `build` makes a tiny model once, `inputs` the same rows in each format, `job_of` a job; `s3`
is a real S3 server behind a proxy that can fail; `attribeam` runs a command."""

from __future__ import annotations

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")

import functools
import pathlib
import sys
from collections.abc import Callable, Iterator
from typing import Any

import datasets
import pytest
import stores
from hypothesis import settings

from pipeline import main
from pipeline.config import JobConfig
from transforms.storage import bucket

# A machine that is busy is no defect
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")


@pytest.fixture(scope="session")
def build(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Any], datasets.Built]:
    """A function of `datasets` that builds a model → that model on disk, built once."""
    folder = tmp_path_factory.mktemp("models")
    return functools.cache(lambda make: make(folder / make.__name__))


@pytest.fixture(scope="session")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, pathlib.Path]:
    """The same 23 rows in each of `datasets.FORMATS`, under a name that globs, URLs and shells stumble over."""
    folder = tmp_path_factory.mktemp("data [x]")
    return {kind: datasets.write(folder, kind, datasets.rows()) for kind in datasets.FORMATS}


@pytest.fixture
def job_of(tmp_path: pathlib.Path, build: Any, inputs: dict[str, pathlib.Path]) -> Callable[..., JobConfig]:
    """`job_of(make, kind or path, out="out", **parts)`: a job of the model over the rows, with its own defaults."""

    def made(make: Any, source: Any = "parquet", out: str = "out", **parts: Any) -> JobConfig:
        built = build(make)
        parts["attribution"] = built.attribution | {"steps": 8} | parts.get("attribution", {})
        parts["input"] = {"label": "label"} | parts.get("input", {})
        files = inputs.get(source, source) if isinstance(source, str) else source
        model = built.model | parts.pop("model", {})
        return datasets.job(tmp_path / out, model, files, built.features, **parts)

    return made


@pytest.fixture(scope="session")
def s3_server() -> Iterator[stores.FaultyProxy]:
    """One for all tests; each has objects of its own."""
    with stores.s3_server() as proxy:
        yield proxy


@pytest.fixture
def s3(s3_server: stores.FaultyProxy, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> stores.Store:
    """A prefix of one's own on the server, which the environment of this test names; a store that fails is borne with
    for a moment only."""
    for name, value in stores.environment(s3_server.url).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(bucket, "PATIENCE", stores.SHORT)
    s3_server.fail()
    return stores.Store(f"s3://{stores.BUCKET}/{tmp_path.parent.name}/{tmp_path.name}", s3_server)


@pytest.fixture
def attribeam(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> datasets.Command:
    """`attribeam ...` in this process, through the console script's function: exit code, output, errors; `run` without
    the audit that follows it, which has tests of its own."""
    monkeypatch.setattr(main.signal, "signal", lambda *_: None)
    monkeypatch.setattr(main.sys, "excepthook", sys.excepthook)

    def called(*arguments: object) -> tuple[int, str, str]:
        unaudited = ["--no-audit"] if arguments[:1] == ("run",) and len(arguments) > 1 else []
        monkeypatch.setattr(sys, "argv", ["attribeam", *map(str, arguments[:1]), *unaudited, *map(str, arguments[1:])])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main.main()
        said = capsys.readouterr()
        return int(ended.value.code or 0), said.out, said.err

    return called
