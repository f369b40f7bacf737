"""Which rows occur more than once: 64-bit hashes of their names, of all of them or, of very many, of a fair sample."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from transforms.auditing.part_columns import whole

Hashes = npt.NDArray[np.uint64]
MOST = 2**21
# The finaliser of splitmix64: https://prng.di.unimi.it/splitmix64.c
_ODD = (np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB))
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def row_hashes(table: pa.Table) -> Hashes:
    """Of `row_id` and `target` of each row, uint64 [rows]; the same on every machine."""
    if not len(table):
        return np.zeros(0, np.uint64)
    targets = table["target"].fill_null(-1).to_numpy().astype(np.int64).view(np.uint64)
    return _mixed(_text_hashes(whole(table["row_id"].cast(pa.large_string()))) ^ _mixed(targets + _GOLDEN))


def _text_hashes(texts: pa.Array) -> Hashes:
    """Eight bytes of every text at a time, as many times as the longest one needs."""
    _, offsets, data = texts.buffers()
    bounds = np.frombuffer(offsets, np.int64)[texts.offset : texts.offset + len(texts) + 1]
    padded = np.frombuffer((data.to_pybytes() if data else b"") + bytes(8), np.uint8)
    words = np.ndarray(len(padded) - 7, "<u8", padded, 0, (1,))
    start, left = bounds[:-1], np.diff(bounds)
    found = left.astype(np.uint64)
    while len(active := np.flatnonzero(left > 0)):
        word = words[start[active]]
        short = np.maximum(8 - left[active], 0).astype(np.uint64) * np.uint64(8)
        found[active] = _mixed((found[active] + _GOLDEN) ^ ((word << short) >> short))
        start, left = start + 8, left - 8
    return found


def _mixed(values: Hashes) -> Hashes:
    values = (values ^ (values >> np.uint64(30))) * _ODD[0]
    values = (values ^ (values >> np.uint64(27))) * _ODD[1]
    return np.asarray(values ^ (values >> np.uint64(31)))


class RepeatedHashes:
    """The hashes that occur more than once, of those below a limit, which halves whenever there are too many.

    The limit depends on all hashes together only, so that merging is exact in any order.
    """

    def __init__(self, most: int = MOST) -> None:
        self._most, self._waiting, self._shift = most, list[Hashes](), 0
        self._seen, self._repeated = np.zeros((2, 0), np.uint64)

    def add(self, hashes: Hashes) -> None:
        """Count some rows."""
        self._waiting.append(hashes)
        if sum(map(len, self._waiting)) > max(len(self._seen), 2**16):
            self._settle()

    def merge(self, other: RepeatedHashes) -> None:
        """Count the rows of another."""
        other._settle()
        self._repeated = np.concatenate([self._repeated, other._repeated])
        self._shift = max(self._shift, other._shift)
        self._waiting.append(other._seen)
        self._settle()

    @property
    def repeated(self) -> Hashes:
        """Those that were found, rising."""
        self._settle()
        return self._repeated

    @property
    def sampled(self) -> float:
        """What share of the hashes was looked at."""
        self._settle()
        return float(2.0**-self._shift)

    def _settle(self) -> None:
        if self._waiting:
            together = np.sort(np.concatenate([self._seen, *self._waiting]))
            self._waiting = []
            again = together[1:][together[1:] == together[:-1]]
            self._repeated = np.unique(np.concatenate([self._repeated, again]))
            self._seen = together[np.diff(together, prepend=~together[:1]) != 0]
            self._shrink()

    def _shrink(self) -> None:
        while True:
            limit = np.uint64(2 ** (64 - self._shift) - 1)
            self._seen, self._repeated = (
                hashes[: np.searchsorted(hashes, limit, "right")] for hashes in (self._seen, self._repeated)
            )
            if len(self._seen) <= self._most:
                return
            self._shift += 1
