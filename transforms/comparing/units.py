"""What is compared at a time: a range of rows of an input file that both runs share, or ids of one hash bucket.

Where both runs have read the same file, a row is found by its place in it, however the file was cut into shards:
nothing is shuffled. Rows of other files are found by their ids: each bucket is filled by going through all their parts.
"""

from __future__ import annotations

import bisect
import dataclasses
import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence

# Of both runs, uncompressed, that a worker holds at a time.
UNIT_BYTES = 128 * 2**20


@dataclasses.dataclass(frozen=True)
class Piece:
    """A part as the plan knows it: rows [start, stop) of an input file.

    Attributes:
        file: its name and digest.
    """

    part: str
    file: tuple[str, str]
    start: int
    stop: int


Files = Mapping[tuple[str, str], list[Piece]]


@dataclasses.dataclass(frozen=True)
class Unit:
    """Some rows of both runs: all pairs of them are in the same unit.

    Attributes:
        a, b: the parts that hold them.
        rows: of the input file, [start, stop); None for any.
        bucket, buckets: which ids, where they are found by their ids.
    """

    number: int
    a: tuple[str, ...]
    b: tuple[str, ...]
    rows: tuple[int, int] | None
    bucket: int = 0
    buckets: int = 1


def units(a: Sequence[Piece], b: Sequence[Piece], row_bytes: float, unit_bytes: int = UNIT_BYTES) -> list[Unit]:
    """All that is compared of two runs.

    Args:
        row_bytes: of a row in both together.
    """
    of_a, of_b = _by_file(a), _by_file(b)
    found = list[Unit]()
    for file in (file for file in of_a if file in of_b):
        for rows in _ranges(of_a[file], max(1, int(unit_bytes / row_bytes))):
            found.append(Unit(len(found), _overlapping(of_a[file], rows), _overlapping(of_b[file], rows), rows))
    return found + _buckets(len(found), (_others(of_a, of_b), _others(of_b, of_a)), row_bytes / unit_bytes)


def _by_file(pieces: Sequence[Piece]) -> Files:
    found = defaultdict(list)
    for piece in sorted(pieces, key=lambda piece: piece.start):
        found[piece.file].append(piece)
    return found


def _ranges(pieces: Sequence[Piece], most: int) -> Iterator[tuple[int, int]]:
    """A file's rows, part by part, in ranges of at most so many."""
    for piece in pieces:
        yield from ((row, min(row + most, piece.stop)) for row in range(piece.start, piece.stop, most))


def _overlapping(pieces: Sequence[Piece], rows: tuple[int, int]) -> tuple[str, ...]:
    """The parts that hold some of the rows; they follow each other in the file."""
    first = bisect.bisect_right(pieces, rows[0], key=lambda piece: piece.stop)
    last = bisect.bisect_left(pieces, rows[1], key=lambda piece: piece.start)
    return tuple(piece.part for piece in pieces[first:last])


def _others(own: Files, other: Files) -> list[Piece]:
    return [piece for file, pieces in own.items() if file not in other for piece in pieces]


def _buckets(first: int, sides: tuple[Sequence[Piece], Sequence[Piece]], share: float) -> list[Unit]:
    """Buckets of ids, so many that the rows of one, a `share` of a unit each, fit into it."""
    rows = max(sum(piece.stop - piece.start for piece in pieces) for pieces in sides)
    count = math.ceil(rows * share)
    a, b = (tuple(piece.part for piece in pieces) for pieces in sides)
    return [Unit(first + bucket, a, b, None, bucket, count) for bucket in range(count)]
