"""What a worker that explains must have: Beam's resource hints, to which Dataflow fits machines ("right fitting")."""

from __future__ import annotations

import dataclasses
import re

from transforms.errors import UsageError

ACCELERATOR = re.compile(r"type:[a-z0-9-]+;count:[1-9][0-9]*(;[a-z0-9-]+(:[a-z0-9.-]+)?)*")
MIN_RAM = re.compile(r"[0-9]+(\.[0-9]+)?([KMGTP]i?)?B")


@dataclasses.dataclass(frozen=True)
class Resources:
    """Of the workers that explain; the other steps run anywhere. Runners other than Dataflow ignore it.

    Attributes:
        accelerator: as in `type:nvidia-l4;count:1;install-nvidia-driver`.
        min_ram: as in `16GiB`.

    Raises:
        UsageError: E_RESOURCES.
    """

    accelerator: str | None = None
    min_ram: str | None = None

    def __post_init__(self) -> None:
        _check("--accelerator", self.accelerator, ACCELERATOR, "type:nvidia-l4;count:1;install-nvidia-driver")
        _check("--min-ram", self.min_ram, MIN_RAM, "16GiB")

    def hints(self) -> dict[str, str]:
        """Those that are given, by Beam's names."""
        return {name: value for name, value in dataclasses.asdict(self).items() if value is not None}


def _check(option: str, value: str | None, pattern: re.Pattern[str], example: str) -> None:
    if value is not None and not pattern.fullmatch(value):
        raise UsageError("E_RESOURCES", f"{option}={value[:100]!r} is not of the form {example}")


ANY_WORKER = Resources()
