"""The first rows of a dataset: what the launcher tries of it."""

from __future__ import annotations

from collections.abc import Sequence

from transforms.errors import UsageError
from transforms.records.examples import Examples, Refusal

SAMPLE_ROWS = 32


def usable(examples: Examples, refused: Sequence[Refusal]) -> Examples:
    """Those that can be used; a few bad rows go to quarantine, but all of them are a wrong configuration.

    Raises:
        UsageError: with the first row's own code when not one can be used.
    """
    if not len(examples):
        fault = refused[0].fault
        raise UsageError(fault.code, f"not one of the first {len(refused)} rows can be used: {fault.message}")
    return examples
