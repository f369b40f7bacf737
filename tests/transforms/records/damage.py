"""Payloads with a few bytes changed or the end cut off, the same ones in every run."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np


def damaged(payload: bytes, count: int) -> Iterator[bytes]:
    """`count` of them: a third is cut, a third changed anywhere, a third within the first 600 bytes, the headers."""
    for seed in range(count):
        random = np.random.default_rng(seed)
        content = bytearray(payload)
        if seed % 3 == 0:
            yield bytes(content[: random.integers(0, len(content))])
            continue
        end = len(content) if seed % 3 == 1 else min(len(content), 600)
        for _ in range(random.integers(1, 6)):
            content[random.integers(end)] = random.integers(256)
        yield bytes(content)
