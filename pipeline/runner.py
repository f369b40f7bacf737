"""How a pipeline is run: Beam's options, the runner, and our own errors out of what Beam makes of them."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

import apache_beam as beam
from apache_beam.options.pipeline_options import (
    FlinkRunnerOptions,
    GoogleCloudOptions,
    PipelineOptions,
    PortableOptions,
    SetupOptions,
    StandardOptions,
)
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from apache_beam.runners.runner import create_runner

from pipeline.flink.preflight import checked_job_server
from pipeline.watchdog import watched
from transforms import errors

_SECRET = r"secret|passw|token|credential|connection_string|access_?key|private_?key|api_?key"
_SECRET_OPTION = re.compile(rf"\w*({_SECRET})\w*", re.IGNORECASE)
# NAME=value or "NAME": "value" in what is handed to workers, or a URL with a password
_SECRET_VALUE = re.compile(rf"({_SECRET})\w*[\"']?\s*[=:]\s*\S|://[^/?\s@]+@", re.IGNORECASE)
_RAISED_ON_WORKER = re.compile(
    r"transforms\.errors\.(\w+): (E_[A-Z0-9_]+)(?: \[while running '[^']*'\])?: (.+?)(?: \[while running '[^']*'\])?$",
    re.MULTILINE,
)


def parse_options(arguments: Sequence[str]) -> PipelineOptions:
    """Beam's options, with a runner that Beam knows.

    Raises:
        UsageError: E_STORE_SECRET, E_RUNNER, E_FLINK_JAVA, E_FLINK_CLUSTER, E_FLINK_JOB_SERVER.
    """
    options = PipelineOptions(list(arguments))
    _refuse_secrets(arguments)
    options.view_as(SetupOptions).save_main_session = False
    try:
        create_runner(options.view_as(StandardOptions).runner or FnApiRunner.__name__)
    except (ValueError, ImportError) as error:
        raise errors.UsageError("E_RUNNER", f"Beam cannot use this --runner: {str(error)[:300]}") from error
    flink, served = options.view_as(FlinkRunnerOptions), options.view_as(PortableOptions).job_endpoint
    if options.view_as(StandardOptions).runner == "FlinkRunner" and not served and not flink.flink_submit_uber_jar:
        named = flink.flink_master, flink.flink_version, flink.flink_job_server_jar
        flink.flink_job_server_jar = checked_job_server(*named)
    return options


def _refuse_secrets(arguments: Sequence[str]) -> None:
    """Beam writes its options into the job's description, which job servers and clouds show to whoever may look."""
    for argument in arguments:
        name = argument.lstrip("-").partition("=")[0]
        if (argument.startswith("-") and _SECRET_OPTION.fullmatch(name)) or _SECRET_VALUE.search(argument):
            what = f"the option {errors.quoted(name)}" if argument.startswith("-") else "an option's value"
            raise errors.UsageError(
                "E_STORE_SECRET",
                f"{what} for Beam holds credentials, which would stand in the job's description; take it out, and give"
                " them by the environment of launcher and workers: docs/stores.md",
            )


def describes_only(options: PipelineOptions) -> bool:
    """Whether the runner writes the job down, for Dataflow to run it later, instead of running it."""
    return bool(options.view_as(GoogleCloudOptions).template_location)


def run_pipeline(build: Callable[[beam.Pipeline], Any], options: PipelineOptions) -> None:
    """Build a pipeline and run it to its end; without a runner in the options, in this process.

    This process is interrupted when Beam loses a worker process of `--direct_running_mode=multi_processing`.

    Raises:
        AttribeamError: that a worker raised, as it was raised; anything else as Beam hands it on.
    """
    runner = None if options.view_as(StandardOptions).runner else FnApiRunner()
    try:
        with watched(), beam.Pipeline(runner=runner, options=options) as pipeline:
            build(pipeline)
    except Exception as error:
        known = _known(error)
        if known is None:
            raise
        raise known from error


def _known(error: Exception) -> errors.AttribeamError | None:
    """Our own error, which Beam hands on as the text of a traceback, or with a step's name put into it."""
    kinds = {"UsageError": errors.UsageError, "QuarantineError": errors.QuarantineError}
    found = _RAISED_ON_WORKER.findall(f"transforms.errors.{type(error).__name__}: {error}")
    if not found:
        return None
    kind, code, message = found[-1]
    return kinds.get(kind, errors.AttribeamError)(code, message)
