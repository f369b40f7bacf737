"""The colours of attributions: red for the output, blue against it, nearly white for nothing."""

from __future__ import annotations

import math

RED, PAPER, BLUE = (178, 24, 43), (247, 247, 247), (33, 102, 172)
UNKNOWN = (128, 128, 128)


def rgb(share: float) -> tuple[int, int, int]:
    """Of a value as a share of the largest, from -1 to 1; grey for what is no number."""
    if not math.isfinite(share):
        return UNKNOWN
    end, part = (RED if share > 0 else BLUE), min(abs(share), 1.0)
    red, green, blue = (round(paper + (colour - paper) * part) for paper, colour in zip(PAPER, end, strict=True))
    return red, green, blue
