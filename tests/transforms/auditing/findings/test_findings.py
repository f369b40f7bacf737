"""Every other kind of finding: found where a table is made to hold it, with its numbers; silent just short of it, and
on rows that differ by chance only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import audited
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
    signed,
    tokens,
)

from transforms.auditing.audit_tables import AuditTables
from transforms.auditing.findings.finding import SEVERITIES
from transforms.auditing.findings.ranking import MOST_OF_A_KIND, findings


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
