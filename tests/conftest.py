"""What every test may use: `build` makes a tiny model once, `inputs` the same rows in each format, `job_of` a job."""

from __future__ import annotations

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")

import functools
import pathlib
from collections.abc import Callable
from typing import Any

import datasets
import pytest
from hypothesis import settings

from pipeline.config import JobConfig

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
