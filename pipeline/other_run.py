"""Whether a directory holds the run that is meant, and what differs where it does not."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pipeline.survey import Survey
from transforms import errors
from transforms.storage import manifest as names
from transforms.storage.place import Place


def refuse_other_run(place: Place, found: Survey) -> None:
    """Refuse a directory in which another run stands.

    Raises:
        UsageError: E_OUTPUT_OTHER_RUN, with the fields that differ.
    """
    record = names.read_run(place)
    if record["fingerprint"] != found.fingerprint:
        differing = differences(record["decides"], found.decides)
        raise errors.UsageError(
            "E_OUTPUT_OTHER_RUN",
            f"{place.root} holds another run; give another output.path, or restore what differs: {differing}",
        )


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> str:
    """The keys under which two mappings differ, with what is there and what is now."""
    keys = sorted(key for key in {*old, *new} if old.get(key) != new.get(key))
    return ", ".join(f"{key} ({errors.quoted(old.get(key))} there, {errors.quoted(new.get(key))} now)" for key in keys)
