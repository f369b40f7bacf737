"""Findings of what a model goes by: found where a table is made to hold them, with their numbers; silent just short of
it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest
from audited import Maps, audit, tables
from finding_tables import (
    REGION,
    ROWS,
    by_value,
    features,
    in_slices,
    kinds,
    one,
    regions,
    tokens,
)
from scipy import stats

from transforms.auditing.audit_tables import AuditTables
from transforms.auditing.findings.ranking import findings


class TestImageCue:
    CORNER, ELSEWHERE = "corner_top_left", "corner_bottom_right"

    def test_a_class_that_one_corner_explains(self) -> None:
        found = one(regions({"3": {self.CORNER: 0.4}, "5": {self.CORNER: 0.02}, "7": {self.CORNER: 0.04}}))
        assert (found.kind, found.severity, found.slice, found.value) == ("image_cue", "high", "label", "3")
        assert found.features == (self.CORNER,) and found.rows == ROWS
        assert found.evidence["excess"] == pytest.approx(0.4 - 0.03, abs=1e-15)
        assert "top left corner has 40% of the attribution in rows of class '3'" in found.title

    def test_the_interval_is_that_of_the_difference_at_the_corrected_level(self) -> None:
        found = one(regions({"a": {self.CORNER: 0.4}, "b": {self.CORNER: 0.02}}))
        # nine searches; half of this one's for the comparison with the spread of the others; two classes, one region
        level = 0.05 / 9 / 2 / 2
        plus = [(ROWS * mean + 1) / (ROWS + 2) for mean in (0.4, 0.02)]
        squares = [0.01 * (ROWS - 1) + ROWS * mean**2 + 1 for mean in (0.4, 0.02)]
        spread = [(total - (ROWS + 2) * mean**2) / (ROWS + 1) for total, mean in zip(squares, plus, strict=True)]
        reach = stats.t.isf(level / 2, ROWS + 1) * (sum(spread) / (ROWS + 2)) ** 0.5
        wanted = plus[0] - plus[1] - reach, plus[0] - plus[1] + reach
        # t is within 1e-3 relative
        assert found.interval == pytest.approx(wanted, abs=1e-3 * reach)

    def test_of_places_that_say_the_same_the_smallest_is_named(self) -> None:
        cells = by_value("label", REGION, {"a": {self.CORNER: 0.4}, "b": {self.CORNER: 0.0}}, "region")
        border = by_value("label", REGION, {"a": {"border": 0.45}, "b": {"border": 0.1}}, "region")
        wide = [row | {"area_share": 0.4} for row in border]
        found = one(tables({}, slices=in_slices("label", ["a", "b"]), regions=wide + cells))
        assert found.features == (self.CORNER,)

    def test_a_cell_in_the_middle_may_be_the_object(self) -> None:
        assert one(regions({"a": {"cell_1_2": 0.4}, "b": {"cell_1_2": 0.02}})).severity == "medium"

    @pytest.mark.parametrize(
        "shares",
        [
            {"a": {CORNER: 0.07}, "b": {CORNER: 0.005}},
            {"a": {CORNER: 0.4}, "b": {CORNER: 0.2}},
            {"a": {CORNER: 0.4}},
            {"a": {"centre": 0.9}, "b": {"centre": 0.1}},
        ],
        ids=["a little more", "less than three times", "one class", "the centre"],
    )
    def test_what_is_no_cue(self, shares: Mapping[str, Mapping[str, float]]) -> None:
        assert kinds(regions(shares)) == []

    @pytest.mark.parametrize(("usual", "found"), [((0.01, 0.02, 0.03, 0.02), 1), ((0.01, 0.20, 0.02, 0.01), 0)])
    def test_where_classes_differ_by_themselves_one_more_is_no_cue(self, usual: Sequence[float], found: int) -> None:
        """t of three degrees of freedom at 0.05 / 9 / 2 / 5 is 11.6: of shares that spread by 0.008, 0.1 is far off."""
        shares = {"a": {self.CORNER: 0.4}} | {str(label): {self.CORNER: share} for label, share in enumerate(usual)}
        assert len(kinds(regions(shares))) == found

    def test_of_few_classes_ten_times_as_much_is_wanted(self) -> None:
        assert kinds(regions({"a": {self.CORNER: 0.4}, "b": {self.CORNER: 0.1}})) == []

    def test_predictions_take_the_place_of_labels_that_are_not_there(self) -> None:
        found = one(regions({"3": {self.CORNER: 0.4}, "5": {self.CORNER: 0.02}}, "predicted"))
        assert "rows predicted '3'" in found.title

    def test_the_values_that_were_folded_together_are_no_class_but_count_among_the_others(self) -> None:
        shares = {"a": {self.CORNER: 0.01}, "b": {self.CORNER: 0.02}, "(other)": {self.CORNER: 0.5}}
        assert kinds(regions(shares)) == []


class TestTokenShortcut:
    def test_a_word_that_explains_a_class(self) -> None:
        found = one(tokens({"1": {"imdb": 0.4, "good": 0.1}, "0": {"imdb": 0.01, "bad": 0.1}}))
        assert (found.kind, found.severity, found.value, found.features) == ("token_shortcut", "high", "1", ("imdb",))
        assert found.evidence == {"excess": 0.39, "share": 0.4, "share_of_others": 0.01, "next_share": 0.1}

    def test_a_word_that_a_class_does_not_hold_counts_as_nothing_there(self) -> None:
        assert one(tokens({"1": {"imdb": 0.4, "good": 0.1}, "0": {"bad": 0.1}})).evidence["share_of_others"] == 0

    def test_words_that_share_the_work_are_no_shortcuts(self) -> None:
        assert kinds(tokens({"1": {"good": 0.3, "fine": 0.2}, "0": {"bad": 0.1}})) == []

    def test_a_word_of_all_classes_is_none(self) -> None:
        assert kinds(tokens({"1": {"film": 0.5}, "0": {"film": 0.4}})) == []


class TestDominantFeature:
    def spread(self, first: float, count: int = 10) -> dict[int, float]:
        return {0: first} | dict.fromkeys(range(1, count), (1 - first) / (count - 1))

    @pytest.mark.parametrize(("share", "severity"), [(0.4, "medium"), (0.6, "high")])
    def test_a_feature_with_most_of_it(self, share: float, severity: str) -> None:
        found = one(features({"": self.spread(share)}))
        assert (found.kind, found.severity, found.features) == ("dominant_feature", severity, (0,))
        assert found.evidence["share"] == share and found.evidence["features"] == 10

    def test_the_name_of_a_group_is_said(self) -> None:
        assert "'income' of 'x' dominates" in one(features({"": self.spread(0.6)}, name="income")).title

    def test_of_few_features_more_is_wanted(self) -> None:
        assert kinds(features({"": self.spread(0.45, 4)})) == []
        assert kinds(features({"": self.spread(0.70, 4)})) == ["dominant_feature"]
        assert kinds(features({"": self.spread(0.95, 2)})) == []

    def test_not_without_distance_to_the_next(self) -> None:
        assert kinds(features({"": {0: 0.5, 1: 0.3} | dict.fromkeys(range(2, 12), 0.02)})) == []

    def test_in_one_class_only(self) -> None:
        found = one(features({"a": self.spread(0.6), "b": self.spread(0.1)}, "label"))
        assert (found.slice, found.value) == ("label", "a")

    def test_what_holds_of_all_rows_is_not_said_again_of_a_class(self) -> None:
        random = np.random.default_rng(0)
        values = random.normal(size=(ROWS, 10)) * np.array([40] + [1] * 9)
        found = findings(audit(Maps({"label": [str(row % 2) for row in range(ROWS)]}, {"x": values})))
        assert [(finding.kind, finding.slice) for finding in found] == [("dominant_feature", "all")]

    def test_no_pixel_is_called_a_feature(self) -> None:
        pixels = np.random.default_rng(0).normal(size=(ROWS, 8, 8, 1))
        pixels[:, 4, 4] = 500
        assert kinds(audit(Maps({"label": ["a"] * ROWS}, {"image": pixels}))) == []


class TestLabelLeak:
    def of(
        self, quantiles: Mapping[str, Mapping[str, float]], target: Any = "label", share: float = 0.3
    ) -> AuditTables:
        """Of ten features, the first has this share, and by label these quantiles."""
        shares = {0: share} | dict.fromkeys(range(1, 10), (1 - share) / 9)
        alike = {"input": "x", "rows": 150, "variance": 0.1, "share_variance": 0.001}
        rows = [alike | {"slice": "all", "value": "", "position": at, "share_mean": one} for at, one in shares.items()]
        blank = {"slice": "label", "position": 0, "share_mean": share}
        labels = [alike | blank | {"value": value} | dict(known) for value, known in quantiles.items()]
        return tables({"run": {"target": target}}, slices=in_slices("label", list(quantiles)), features=rows + labels)

    def test_the_strongest_feature_that_is_always_right(self) -> None:
        found = one(self.of({"0": {"p01": 0.1}, "1": {"p01": 0.2}}))
        assert (found.kind, found.severity, found.features, found.slice) == ("label_leak", "high", (0,), "all")
        wilson = stats.binomtest(297, 300).proportion_ci(1 - 0.05 / 9 / 20, method="wilson")
        assert found.interval == pytest.approx((wilson.low, wilson.high), abs=1e-12)

    def test_of_one_output_it_speaks_for_one_class_and_against_the_other(self) -> None:
        both = {"0": {"p99": -0.1, "p01": -1.0}, "1": {"p01": 0.2, "p99": 1.0}}
        assert kinds(self.of(both, None)) == ["label_leak"]
        assert kinds(self.of({"0": {"p01": 0.1}, "1": {"p01": 0.2}}, None)) == []
        assert kinds(self.of(both, "label")) == []

    @pytest.mark.parametrize(
        ("quantiles", "share"),
        [
            ({"0": {"p01": 0.1}, "1": {"p01": -0.1, "p05": -0.01}}, 0.3),
            ({"0": {"p01": -0.1, "p05": 0.1}, "1": {"p01": -0.1, "p05": 0.1}}, 0.3),
            ({"0": {"p01": 0.1}, "1": {"p01": 0.1}}, 0.1),
            ({"0": {"p01": 0.1}}, 0.3),
        ],
        ids=["not in one class", "in 95 % of 300 rows: perhaps in 90 %", "not more than its even part", "one class"],
    )
    def test_what_is_no_leak(self, quantiles: Mapping[str, Mapping[str, float]], share: float) -> None:
        assert kinds(self.of(quantiles, share=share)) == []
