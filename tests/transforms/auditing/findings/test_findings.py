"""Every kind of finding: found where a table is made to hold it, with its numbers; silent just short of it, and on rows
that differ by chance only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import audited
import numpy as np
import pytest
from audited import Maps, audit, tables
from scipy import stats

from transforms.auditing.audit_tables import AuditTables
from transforms.auditing.findings.finding import SEVERITIES, Finding
from transforms.auditing.findings.ranking import MOST_OF_A_KIND, findings

ROWS = 200
REGION = {"input": "image", "rows": ROWS, "share_variance": 0.01}
TOKEN = {"input": "text", "rows": ROWS, "share_variance": 0.01}
FEATURE = {"input": "x", "rows": ROWS, "variance": 0.01, "share_variance": 0.001, "mean_abs": 0.1, "mean": 0.0}


def kinds(audit: AuditTables) -> list[str]:
    return [finding.kind for finding in findings(audit)]


def one(audit: AuditTables) -> Finding:
    """The only finding."""
    (found,) = findings(audit)
    assert found.rank == 1 and found.confidence == 0.95 and found.strength >= 1
    assert found.interval[0] < next(iter(found.evidence.values())) < found.interval[1]
    return found


def in_slices(slice_name: str, values: Sequence[str], rows: int = ROWS, **more: Any) -> list[dict[str, Any]]:
    """Rows of slices.parquet, and that of all."""
    counts = {"rows": rows, "ok": rows, "unconverged": 0, "flat": 0, "nonfinite": 0}
    whole = counts | {"slice": "all", "value": "", "rows": rows * len(values), "ok": rows * len(values)}
    return [whole] + [counts | {"slice": slice_name, "value": value} | more for value in values]


def by_value(
    slice_name: str, cell: Mapping[str, Any], shares: Mapping[str, Mapping[Any, float]], key: str
) -> list[Any]:
    """Rows of a table: by value, by part, the mean share."""
    where = {"slice": slice_name}
    return [
        where | cell | {"value": value, key: part, "share_mean": mean, "area_share": 1 / 16}
        for value, parts in shares.items()
        for part, mean in parts.items()
    ]


def regions(shares: Mapping[str, Mapping[Any, float]], slice_name: str = "label", **cell: Any) -> AuditTables:
    rows = by_value(slice_name, REGION | cell, shares, "region")
    return tables({}, slices=in_slices(slice_name, list(shares)), regions=rows)


def tokens(shares: Mapping[str, Mapping[Any, float]]) -> AuditTables:
    rows = [
        {name: one for name, one in row.items() if name != "area_share"}
        for row in by_value("label", TOKEN, shares, "token")
    ]
    return tables({}, slices=in_slices("label", list(shares)), tokens=rows)


def features(shares: Mapping[str, Mapping[Any, float]], slice_name: str = "all", **cell: Any) -> AuditTables:
    rows = by_value(slice_name, FEATURE | cell, shares, "position")
    rows = [{name: one for name, one in row.items() if name != "area_share"} for row in rows]
    return tables({}, slices=in_slices(slice_name, list(shares)), features=rows)


def signed(means: Mapping[str, float], slice_name: str = "keep:site", rows: int = ROWS) -> AuditTables:
    """Two features, of which the first has these means; Σ mean |A| is 1."""
    cells = [
        FEATURE
        | {"slice": slice_name, "value": value, "position": position, "mean": mean, "mean_abs": 0.5, "rows": rows}
        for value, first in means.items()
        for position, mean in ((0, first), (1, 0.0))
    ]
    return tables({}, slices=in_slices(slice_name, list(means)), features=cells)


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


class TestUnfitRows:
    def of(self, **counts: int) -> AuditTables:
        (whole, *_) = in_slices("all", [""], 10_000)
        return tables({}, slices=[whole | counts])

    @pytest.mark.parametrize(
        ("counts", "kind", "severity"),
        [
            ({"unconverged": 200}, "unconverged_rows", "low"),
            ({"unconverged": 1000}, "unconverged_rows", "medium"),
            ({"unconverged": 3000}, "unconverged_rows", "high"),
            ({"flat": 1000}, "flat_rows", "low"),
            ({"flat": 6000}, "flat_rows", "high"),
            ({"nonfinite": 1}, "nonfinite_rows", "low"),
            ({"nonfinite": 500}, "nonfinite_rows", "high"),
        ],
    )
    def test_a_share_of_rows(self, counts: dict[str, int], kind: str, severity: str) -> None:
        found = one(self.of(**counts))
        assert (found.kind, found.severity) == (kind, severity)
        assert found.evidence["share"] == next(iter(counts.values())) / 10_000

    @pytest.mark.parametrize("counts", [{"unconverged": 110}, {"flat": 520}, {}], ids=str)
    def test_a_share_that_may_be_chance_is_none(self, counts: dict[str, int]) -> None:
        assert kinds(self.of(**counts)) == []


class TestWrongRows:
    def of(self, shares: Mapping[str, float], rows: Mapping[str, int] | None = None) -> AuditTables:
        cells = [
            row | {"rows": (rows or {}).get(row["value"], ROWS)}
            for row in by_value(
                "label,correct", REGION, {value: {"cell_0_0": at} for value, at in shares.items()}, "region"
            )
        ]
        return tables({}, slices=in_slices("label,correct", list(shares)), regions=cells)

    def test_wrong_rows_of_a_class(self) -> None:
        found = one(self.of({"3,right": 0.1, "3,wrong": 0.4}))
        assert (found.kind, found.slice, found.value) == ("wrong_rows_differ", "label,correct", "3,wrong")
        assert found.evidence["difference"] == pytest.approx(0.3, abs=1e-15)

    def test_less_of_the_map_is_a_difference_too(self) -> None:
        found = one(self.of({"3,right": 0.4, "3,wrong": 0.1}))
        assert found.interval[0] < -0.3 < found.interval[1] < -0.05

    def test_few_wrong_rows_of_many_classes_are_compared_together(self) -> None:
        values = {f"{label},{which}": share for label in range(6) for which, share in (("right", 0.1), ("wrong", 0.5))}
        found = one(self.of(values, {value: 10 for value in values if value.endswith("wrong")}))
        assert (found.slice, found.value, found.rows) == ("correct", "wrong", 60)

    def test_a_class_that_errs_more_is_no_difference(self) -> None:
        """The rows of class 1 have more in the cell, right or wrong, and most of the wrong ones."""
        shares = {"0,right": 0.1, "0,wrong": 0.1, "1,right": 0.5, "1,wrong": 0.5}
        assert kinds(self.of(shares, {"0,right": 900, "1,wrong": 900})) == []


class TestOppositeUse:
    def test_for_in_one_group_and_against_in_another(self) -> None:
        found = one(signed({"A": 0.3, "B": -0.2, "C": 0.0}))
        assert (found.kind, found.slice, found.value) == ("opposite_use", "keep:site", "A")
        assert found.evidence["difference"] == pytest.approx(0.5, abs=1e-15)
        assert "whose site is 'A', and against it in rows whose site is 'B'" in found.title

    @pytest.mark.parametrize(
        "means", [{"A": 0.3, "B": 0.2}, {"A": 0.3, "B": -0.04}, {"A": 0.3, "(other)": -0.3}], ids=str
    )
    def test_not_on_one_side_nor_by_a_little(self, means: dict[str, float]) -> None:
        assert kinds(signed(means)) == []

    def test_labels_are_opposites_of_themselves(self) -> None:
        assert kinds(signed({"A": 0.3, "B": -0.3}, "label")) == []

    def test_not_of_a_few_rows(self) -> None:
        assert kinds(signed({"A": 0.3, "B": -0.3}, rows=20)) == []


class TestSources:
    def test_a_file_whose_maps_are_others(self) -> None:
        found = one(features({"a.parquet": {0: 0.1}, "b.parquet": {0: 0.1}, "c.parquet": {0: 0.4}}, "source_file"))
        assert (found.kind, found.value, found.features) == ("source_differs", "c.parquet", (0,))
        assert found.evidence["difference"] == pytest.approx(0.3, abs=1e-15)

    def test_of_two_files_one_is_the_odd_one(self) -> None:
        assert one(features({"a.parquet": {0: 0.1}, "b.parquet": {0: 0.4}}, "source_file")).kind == "source_differs"

    def test_by_a_little_they_all_differ(self) -> None:
        assert kinds(features({"a.parquet": {0: 0.1}, "b.parquet": {0: 0.19}}, "source_file")) == []

    def test_many_that_differ_do_not_hide_the_rest(self) -> None:
        shares = {f"{name}.parquet": {0: 0.9 * (name % 2)} for name in range(3 * MOST_OF_A_KIND)}
        assert len(findings(features(shares, "source_file"))) == MOST_OF_A_KIND


class TestConfidentBaseline:
    def of(self, outputs: Sequence[float], reached: float = 9.0, **about: Any) -> AuditTables:
        rows = in_slices("label", [str(label) for label in range(len(outputs))])
        for row, output in zip(rows[1:], outputs, strict=True):
            row |= {"baseline_output_mean": output, "baseline_output_variance": 0.0, "output_mean": reached}
        return tables({"run": {"target": "label"}, "classes": None} | about, slices=rows)

    def test_of_logits_the_softmax_is_taken(self) -> None:
        audit = self.of([2.0, 0.0, 0.0])
        (found,) = findings(audit)
        probability = np.exp(2) / (np.exp(2) + 2)
        assert (found.kind, found.severity, found.value) == ("confident_baseline", "low", "0")
        # a baseline that is the same for every row leaves nothing to chance
        assert (*found.interval, found.evidence["probability"]) == pytest.approx([probability] * 3, rel=1e-14)

    def test_probabilities_are_taken_as_they_are(self) -> None:
        (found,) = findings(self.of([0.95, 0.03, 0.02], reached=0.9))
        assert (found.severity, found.evidence["probability"]) == ("medium", 0.95)

    @pytest.mark.parametrize(
        ("outputs", "about"),
        [
            ([0.1, 0.0, -0.1], {}),
            ([0.9, 0.0], {}),
            ([2.0, 0.0, 0.0], {"run": {"target": 0}}),
            ([2.0, 0.0, 0.0], {"classes": ["a", "b", "c", "d"]}),
        ],
        ids=["undecided", "of two, not three times", "one entry explained", "a class without rows"],
    )
    def test_what_is_none_or_cannot_be_told(self, outputs: list[float], about: dict[str, Any]) -> None:
        assert kinds(self.of(outputs, **about)) == []


def test_the_order_is_by_severity_then_by_how_far_beyond_the_threshold() -> None:
    random = np.random.default_rng(2)
    label = random.integers(0, 3, 600)
    pixels, table = random.normal(size=(600, 8, 8, 1)), random.normal(size=(600, 10)) * 1e-3
    pixels[label == 1, 0, 0], pixels[label == 2, 7, 7] = 200, 60
    status = ["unconverged"] * 60 + ["nonfinite"] + ["ok"] * 539
    found = findings(audit(Maps({"label": list(map(str, label))}, {"image": pixels, "x": table}, status=status)))
    assert [finding.rank for finding in found] == list(range(1, len(found) + 1)) and len(found) >= 4
    order = [(SEVERITIES.index(finding.severity), -finding.strength) for finding in found]
    assert order == sorted(order)
    assert [finding.value for finding in found[:2]] == ["1", "2"]
    assert len({finding.id for finding in found}) == len(found)


def test_a_finding_is_plain_json_and_its_id_is_safe_in_a_link() -> None:
    import json

    audit = tokens({"1": {"<script>/../": 0.4}, "0": {"bad": 0.1}})
    found = one(audit)
    assert json.loads(json.dumps(found.to_dict(), allow_nan=False)) == found.to_dict()
    assert found.id.replace("-", "").replace("_", "").isalnum() and found.id == one(audit).id


def test_a_class_is_called_by_its_name() -> None:
    """Labels are numbers of the output's entries, which the model may name; one without a name keeps its number."""
    shares = {"0": {"film": 0.5, "dull": 0.01}, "1": {"film": 0.01, "dull": 0.01}}
    plain = tokens(shares)
    assert one(plain).title.endswith("in rows of class '0'")
    for names, said in ((["bad", "good"], "'bad' (0)"), (["0", "good"], "'0'"), ([], "'0'")):
        found = one(AuditTables(plain.tables, {"classes": names}))
        assert found.title.endswith(f"in rows of class {said}")
        assert found.value == "0"


def test_no_rows_say_nothing() -> None:
    assert findings(tables({})) == []


DRAWS = {
    "even": lambda random: random.normal(size=(240, 8, 8)),
    "one bright cell": lambda random: (
        random.normal(size=(240, 8, 8)) * np.where(np.arange(64) < 2, 30, 1).reshape(8, 8)
    ),
    "sparse": lambda random: random.exponential(size=(240, 8, 8)) * (random.random((240, 8, 8)) < 0.05),
}


@pytest.mark.parametrize("kind", ["image", "table", "text"])
@pytest.mark.parametrize("draw", DRAWS.values(), ids=DRAWS)
def test_rows_that_differ_by_chance_only_give_no_finding(kind: str, draw: Any) -> None:
    """Twelve audits: were the rate 0.05, four or more would have findings with a chance of 2e-3."""
    false = 0
    for seed in range(12):
        random = np.random.default_rng(seed)
        values, cut = draw(random), random.integers(0, 3, (4, 240))
        right = ["right" if hit else "wrong" for hit in cut[3]]
        label = [str(one) for one in cut[0]]
        slices = {"label": label, "source_file": list(map(str, cut[1])), "keep:site": list(map(str, cut[2]))}
        slices["label,correct"] = [f"{one},{hit}" for one, hit in zip(label, right, strict=True)]
        false += bool(findings(audit(null_maps(kind, values, slices))))
    assert false <= 3


def null_maps(kind: str, values: np.ndarray, slices: dict[str, list[str]]) -> audited.Maps:
    """The same draws as maps of images, features of a table with twelve of about one size, or words of texts."""
    if kind == "image":
        return Maps(slices, {"image": values[..., None]})
    flat = values.reshape(len(values), -1)
    if kind == "table":
        return Maps(slices, {"x": flat[:, 4:16]})
    words = [f"w{position}" for position in range(flat.shape[1])]
    return Maps(slices, texts={"text": [(words, row) for row in flat]})
