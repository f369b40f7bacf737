"""What the steps of a pipeline see, kept for a test: Beam's in-process runner runs them in the process of the test."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import apache_beam as beam
from apache_beam.metrics.metric import MetricsFilter
from apache_beam.runners.portability.fn_api_runner import FnApiRunner

kept: dict[str, list[Any]] = {}


def run(elements: list[Any], transform: beam.PTransform, outputs: Callable[[Any], dict[str, Any]]) -> Any:
    """The elements through the transform; gives the pipeline's result.

    Args:
        outputs: of what the transform gives, the PCollections whose elements are wanted in `kept`, by name.
    """
    kept.clear()
    pipeline = beam.Pipeline(runner=FnApiRunner())
    for name, collection in outputs(pipeline | beam.Create(elements, reshuffle=False) | transform).items():
        _ = collection | f"Keep {name}" >> beam.Map(keep, name)
    result = pipeline.run()
    result.wait_until_finish()
    return result


def counters(result: Any) -> dict[str, int]:
    """Those of attribeam's namespace."""
    found = result.metrics().query(MetricsFilter().with_namespace("attribeam"))["counters"]
    return {one.key.metric.name: one.committed for one in found}


def keep(element: Any, name: str) -> None:
    """For `beam.Map(keep, name)`."""
    kept.setdefault(name, []).append(element)
