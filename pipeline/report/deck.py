"""The rows to look at, in groups: those of the whole dataset, and those of a label."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from pipeline.report import wording
from pipeline.report.cards import Card, card
from pipeline.report.chosen import Chosen, Mention
from pipeline.report.confusion import Confusion
from pipeline.report.originals import Originals
from pipeline.report.stored import ALL, CORRECT, LABEL, LABEL_CORRECT, Stored

TITLES = {
    "worst": "Least trustworthy",
    "atypical": "Most atypical: farthest from the mean map of their class",
    "typical": "Most typical: nearest to the mean map of their class",
}


@dataclasses.dataclass(frozen=True)
class Group:
    """Rows of a kind: cards, and links to those that have theirs elsewhere."""

    title: str
    cards: Sequence[Card]
    links: Sequence[tuple[str, str]]


@dataclasses.dataclass(frozen=True)
class Deck:
    """What cards are made of: each row that is drawn has one, where it is mentioned first."""

    stored: Stored
    confusion: Confusion
    chosen: Chosen
    originals: Originals

    def whole(self) -> list[Group]:
        """Of the whole dataset, and of what is predicted right and wrong."""
        return self.groups([mention for mention in self.chosen.mentions if mention.key[0] in (ALL, CORRECT)])

    def by_label(self) -> dict[str, list[Mention]]:
        """The mentions of each label's rows, of all of them and of those predicted right or wrong."""
        found: dict[str, list[Mention]] = {}
        for mention in self.chosen.mentions:
            column, value = mention.key
            if column in (LABEL, LABEL_CORRECT):
                found.setdefault(value.rpartition(",")[0] if column == LABEL_CORRECT else value, []).append(mention)
        return found

    def groups(self, mentions: Sequence[Mention]) -> list[Group]:
        """Mentions by kind, and by whether their rows are predicted right."""
        found: dict[tuple[str, str], list[Mention]] = {}
        for mention in mentions:
            found.setdefault((mention.kind, _part(mention)), []).append(mention)
        return [self._group(kind, part, mine) for (kind, part), mine in found.items()]

    def _group(self, kind: str, part: str, mentions: Sequence[Mention]) -> Group:
        drawn = self.chosen.drawn
        cards = [
            card(self.stored, self.confusion, mention, self.originals) for mention in mentions if mention.place in drawn
        ]
        links = [
            (mention.anchor, self.stored.row_id(mention.place)) for mention in mentions if mention.place not in drawn
        ]
        title = TITLES.get(kind, wording.name(kind))
        return Group(f"{title}; {part}" if part else title, cards, links)


def _part(mention: Mention) -> str:
    """Of which rows: those predicted right, or wrong; or all."""
    column, value = mention.key
    if column not in (CORRECT, LABEL_CORRECT):
        return ""
    return f"predicted {wording.name(value.rpartition(',')[2])}"
