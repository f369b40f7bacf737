"""A Beam job that is run again and again in this process, warm: the same Explainer, a fresh directory each time."""

from __future__ import annotations

import pathlib
import tempfile
import time
from typing import Any

from apache_beam.utils import shared

from pipeline import launch
from pipeline.config import parse_config
from transforms.attribution.explainer import Explainer


class Job:
    """One job over `values`, a configuration; its output goes into folders under `folder`."""

    def __init__(self, values: dict[str, Any], folder: pathlib.Path) -> None:
        self._values, self._folder, self._handle = values, folder, shared.Shared()
        config = parse_config(values | {"output": {"path": str(folder)}})
        self.explainer = self._handle.acquire(lambda: Explainer.load(config.model, config.attribution))
        self.manifest: dict[str, Any] = {}

    def seconds(self, **output: Any) -> float:
        """Of one run, with everything but loading; `output`: settings beside the path."""
        place = {"path": tempfile.mkdtemp(dir=self._folder), **output}
        started = time.perf_counter()
        outcome = launch.run(parse_config(self._values | {"output": place}), self._folder, handle=self._handle)
        self.manifest = dict(outcome.manifest)
        return time.perf_counter() - started
