"""A whole run, and its plan, along a path of the user's: its code is asked for only where it is trusted."""

from __future__ import annotations

import io
import pathlib
from typing import Any

import datasets
import poisons
import pytest
from rich.console import Console

from pipeline.launch import run
from pipeline.preview import preview


def test_a_run_along_a_straight_path_of_the_users(
    job_of: Any, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    poisons.write_module(tmp_path)
    config = poisons.job(job_of, tmp_path, {}, "along")
    shown = io.StringIO()
    preview(config, tmp_path, Console(file=shown), trusted=[poisons.MODULE])
    assert "23" in shown.getvalue()
    table = datasets.read(run(config, tmp_path, trusted=[poisons.MODULE]).root)
    x = datasets.rows()["pixels"].astype(float)
    # xᵀQx from zeros: the gradient at αx is α(Q + Qᵀ)x, and any rule that is exact for lines gives its mean
    wanted = x * (x @ datasets.QUADRATIC.astype(float))
    # 8 sums of float32 products of 4 terms each
    slack = 8 * 4 * 2**-23 * (abs(x) * (abs(x) @ abs(datasets.QUADRATIC.astype(float)))).max()
    assert abs(datasets.attributions(table) - wanted).max() <= slack
