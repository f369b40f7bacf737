"""Text whose words are marked by what they speak for."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.report import pictures, wording

MAX_TOKENS, TOKEN_CHARACTERS = 400, 40
LEVELS = 8


@dataclasses.dataclass(frozen=True)
class Token:
    """A word, its mark (`p1` to `p8` for the output, `n1` to `n8` against it, or none) and its attribution."""

    text: str
    mark: str
    value: str


@dataclasses.dataclass(frozen=True)
class Highlighted:
    """The first tokens of a row, and how many more there are."""

    tokens: Sequence[Token]
    left_out: int


def tokens_of(row: Mapping[str, Any], values: npt.NDArray[np.float64], column: str | None) -> list[str] | None:
    """The row's tokens: of the column that the audit names, else of the first kept list of words of fitting length."""
    for name, cell in row.items():
        fits = isinstance(cell, list) and len(cell) and len(values) % len(cell) == 0
        wanted = name == column if column else not name.startswith(("attribution_", "index_"))
        if fits and wanted and all(isinstance(token, str) for token in cell):
            return list(cell)
    return None


def highlighted(tokens: Sequence[str], values: npt.NDArray[np.float64]) -> Highlighted:
    """Tokens with their attributions: [tokens], or [tokens × width], of which each token's are summed."""
    each = values.reshape(len(tokens), -1).sum(axis=1)
    finite = np.nan_to_num(each, nan=0.0, posinf=0.0, neginf=0.0)
    limit = float(np.percentile(np.abs(finite), pictures.CLIP_UPPER)) or 1.0
    shades = np.rint(np.clip(finite / limit, -1, 1) * LEVELS).astype(int).tolist()
    shown = [
        Token(wording.name(token, TOKEN_CHARACTERS), _mark(shade), wording.signed(value))
        for token, shade, value in zip(tokens[:MAX_TOKENS], shades, each.tolist(), strict=False)
    ]
    return Highlighted(shown, max(0, len(tokens) - MAX_TOKENS))


def _mark(shade: int) -> str:
    return f"{'p' if shade > 0 else 'n'}{abs(shade)}" if shade else ""
