"""What `attribeam run` did, for callers and for people."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What `run` did.

    Attributes:
        computed: shards of this invocation; the others were there already.
        manifest: as written; empty when the job was only described, as a template that Dataflow runs later.
    """

    root: str
    computed: int
    manifest: Mapping[str, Any]

    def describe(self) -> str:
        """Two lines for people."""
        if not self.manifest:
            return f"{self.root}: nothing is computed yet; the job stands at --template_location, to be launched"
        counts = ", ".join(f"{value:,} {key}" for key, value in self.manifest["rows_by_status"].items() if value)
        return (
            f"{self.root}: {self.manifest['rows']:,} rows ({counts}), {self.manifest['quarantined']:,} quarantined\n"
            f"{self.computed} of {self.manifest['shards']} shards computed now;"
            f" `attribeam verify {self.root}` checks the files"
        )
