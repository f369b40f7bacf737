"""What every benchmark says of itself: the machine, the versions, medians with their spread, and where it is stored."""

from __future__ import annotations

import json
import os
import pathlib
import platform
import statistics
from collections.abc import Sequence
from importlib import metadata
from typing import Any


def machine() -> dict[str, Any]:
    """Cores, architecture and the versions of what computes."""
    here = {"cores": os.cpu_count(), "machine": platform.machine(), "python": platform.python_version()}
    return here | {name: metadata.version(name) for name in ("tensorflow", "apache-beam", "pyarrow")}


def spread(values: Sequence[float]) -> dict[str, float]:
    """Median, smallest and largest."""
    return {"median": statistics.median(values), "min": min(values), "max": max(values)}


def store(results: dict[str, Any], out: pathlib.Path | None) -> None:
    """Write the results, with the machine they are of."""
    if out:
        out.write_text(json.dumps({"machine": machine()} | results, indent=1) + "\n", encoding="utf-8")
