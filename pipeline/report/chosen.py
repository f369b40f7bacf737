"""Which rows the report shows: the audit names up to thousands, of which the first of every slice are drawn."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import pyarrow as pa

from pipeline.report import wording
from pipeline.report.stored import ALL, CORRECT, LABEL, LABEL_CORRECT, SliceKey, Stored

# Each is at most three pictures of an input, and those are most of a report's bytes.
MAX_PICTURED = 240
ORDER = {ALL: 0, CORRECT: 1, LABEL: 2, LABEL_CORRECT: 3}
KINDS = ("worst", "atypical", "typical")
_IDENTITY = ("source_file", "source_row", "target", "target_rank")
RowKey = tuple[object, ...]


@dataclasses.dataclass(frozen=True)
class Mention:
    """A row in a slice, as one of its worst, atypical or typical ones.

    Attributes:
        place: in the table `rows`.
        row: what it is known by.
    """

    place: int
    row: RowKey
    key: SliceKey
    kind: str
    rank: int
    score: float | None

    @property
    def anchor(self) -> str:
        """Of the row."""
        return wording.anchor("row", *self.row)


@dataclasses.dataclass(frozen=True)
class Chosen:
    """The rows that are drawn, each where it is mentioned first, and every mention of them; `left_out` other rows."""

    mentions: Sequence[Mention]
    drawn: frozenset[int]
    left_out: int


def choose(stored: Stored) -> Chosen:
    """Rows of the whole before those of a label, and in a slice the first ranks before the next."""
    table = stored.audit["rows"]
    if not len(table):
        return Chosen([], frozenset(), 0)
    mentions = sorted(_mentions(table), key=_priority)
    most = MAX_PICTURED // max(1, sum(explained.is_image for explained in stored.inputs))
    first: dict[RowKey, int] = {}
    for mention in mentions:
        first.setdefault(mention.row, mention.place)
    kept = dict(list(first.items())[:most])
    return Chosen(
        [mention for mention in mentions if mention.row in kept], frozenset(kept.values()), len(first) - len(kept)
    )


def drawn_rows(stored: Stored) -> pa.Table:
    """The rows of the table `rows` that the report draws: what it wants the originals of."""
    return stored.audit["rows"].take(pa.array(sorted(choose(stored).drawn), pa.int64()))


def _mentions(table: pa.Table) -> list[Mention]:
    identity = [name for name in _IDENTITY if name in table.column_names]
    small = table.select(["slice", "value", "kind", "rank", "score", *identity]).to_pylist()
    return [
        Mention(
            place,
            tuple(row[name] for name in identity),
            (row["slice"], row["value"]),
            row["kind"],
            row["rank"],
            row["score"],
        )
        for place, row in enumerate(small)
        if row["slice"] in ORDER
    ]


def _priority(mention: Mention) -> tuple[int, int, int, int]:
    order = ORDER[mention.key[0]]
    kind = KINDS.index(mention.kind) if mention.kind in KINDS else len(KINDS)
    # Of labels the first ranks of all of them, before the second ones of any.
    return (order, mention.rank, kind, mention.place) if order >= 2 else (order, kind, mention.rank, mention.place)
