"""What is aggregated is what a plain computation over all rows at once finds, however the rows are cut and merged."""

from collections import Counter

import numpy as np
import plain_audit
import pyarrow as pa
import pytest
import whole_audits

from transforms.auditing.audit_outputs import tables_of
from transforms.auditing.audit_plan import AuditPlan
from transforms.auditing.audit_tables import QUANTILES, AuditTables

# Sums of 300 float64 values are off by at most 300 × 2^-53 = 3e-14 of the sum of their magnitudes, and the variance of
# a position whose mean is 1,000 times its spread by that times 1e6 of itself were it not shifted; shifted, it is exact
# to the same 3e-14.
EXACT = 1e-9
SHAPE = {"image": (9, 8, 2), "table": (4,)}
# a tenth of the positions, at most five
STRONGEST = {"image": 5, "table": 1}


@pytest.fixture(scope="module")
def audit(rows: pa.Table) -> AuditTables:
    return whole_audits.audited(rows)


@pytest.fixture(scope="module")
def plan(rows: pa.Table) -> AuditPlan:
    return whole_audits.planned([rows])


def line(table: pa.Table, **values: object) -> list[dict]:
    return [row for row in table.to_pylist() if all(row[name] == value for name, value in values.items())]


def test_slices_are_those_of_the_rows(rows: pa.Table, audit: AuditTables) -> None:
    found = {(row["slice"], row["value"]): row for row in audit["slices"].to_pylist()}
    expected = plain_audit.slices_of(rows)
    assert {name: row["rows"] for name, row in found.items()} == {name: mask.sum() for name, mask in expected.items()}
    for name, mask in expected.items():
        statuses = Counter(rows.filter(pa.array(mask))["status"].to_pylist())
        assert {status: found[name][status] for status in statuses} == statuses


def test_measures_of_slices(rows: pa.Table, audit: AuditTables) -> None:
    for name, mask in plain_audit.slices_of(rows).items():
        (found,) = line(audit["slices"], slice=name[0], value=name[1])
        some = rows.filter(pa.array(mask))
        output = some["output"].to_numpy().astype(np.float64)
        finite = output[np.isfinite(output)]
        if len(finite) > 1:
            assert found["output_mean"] == pytest.approx(finite.mean(), rel=EXACT, abs=EXACT)
            assert found["output_variance"] == pytest.approx(finite.var(ddof=1), rel=EXACT)
        steps = np.sort(some["steps"].to_numpy())
        assert found["steps_max"] == steps[-1]
        assert found["steps_mean"] == pytest.approx(steps.mean(), rel=EXACT)
        # 2^5 buckets to an octave
        assert found["steps_p50"] == pytest.approx(steps[(len(steps) - 1) // 2], rel=1 / 65)


@pytest.mark.parametrize("name", ["image", "table"])
def test_features_equal_the_plain_computation(rows: pa.Table, audit: AuditTables, name: str) -> None:
    maps = {one: plain_audit.maps_of(rows, one) for one in SHAPE}
    total = sum(np.abs(one).sum(axis=1) for one in maps.values())
    shares = np.abs(maps[name]) / np.where(total > 0, total, 1)[:, np.newaxis]
    finite = np.array(rows["status"].to_pylist()) != "nonfinite"
    of_input = audit["features"].filter(pa.compute.equal(audit["features"]["input"], name))
    for (kind, value), mask in plain_audit.slices_of(rows).items():
        table = of_input.filter(
            pa.compute.and_(*(pa.compute.equal(of_input[c], v) for c, v in (("slice", kind), ("value", value))))
        )
        chosen = mask & finite
        if not chosen.any():
            assert len(table) == 0
            continue
        expected = plain_audit.features(maps[name][chosen], shares[chosen], STRONGEST[name])
        assert table["position"].to_pylist() == list(range(int(np.prod(SHAPE[name]))))
        for column, values in expected.items():
            found = table[column].to_numpy().astype(np.float64)
            size = expected["mean_abs"] if column == "mean" else values
            np.testing.assert_allclose(
                found, values, rtol=EXACT, atol=EXACT * np.max(np.nan_to_num(size)), err_msg=column
            )


@pytest.mark.parametrize(
    ("most_bytes", "all_bytes", "error", "slices"),
    [(2**25, 0, 1 / 65, True), (2**24, 0, 1 / 33, True), (2**23, 0, 1 / 129, False), (2**10, 2**20, 1 / 33, False)],
)
def test_quantiles_are_within_the_error_that_is_stated(
    rows: pa.Table, most_bytes: int, all_bytes: int, error: float, slices: bool
) -> None:
    """In less memory they are coarser, then only those of all rows are left."""
    audit = whole_audits.audited(rows, whole_audits.Limits(sketch_bytes=most_bytes, all_bytes=all_bytes))
    assert any(f"image: quantiles are off by at most {error:.2%}" in said for said in audit.about["limits"])
    assert ("image: there are quantiles of the slice `all` only" in audit.about["limits"]) != slices
    finite = np.array(rows["status"].to_pylist()) != "nonfinite"
    maps = plain_audit.maps_of(rows, "image")
    for (kind, value), mask in plain_audit.slices_of(rows).items():
        chosen = mask & finite
        table = pa.Table.from_pylist(line(audit["features"], slice=kind, value=value, input="image"))
        if len(table) and not slices and kind != "all":
            assert table["p50"].null_count == len(table)
        elif len(table):
            for column, share in QUANTILES.items():
                exact = np.quantile(maps[chosen], share, axis=0, method="lower")
                allowed = error * np.abs(exact) + np.abs(maps[finite]).max(axis=0) * 2.0**-15
                assert (np.abs(table[column].to_numpy() - exact) <= allowed).all()


def test_without_room_there_are_no_quantiles(rows: pa.Table) -> None:
    audit = whole_audits.audited(rows, whole_audits.Limits(sketch_bytes=0, all_bytes=0))
    assert audit["features"]["p50"].null_count == len(audit["features"])
    assert "table: there are no quantiles, for maps are large" in audit.about["limits"]


def test_regions_equal_the_plain_computation(rows: pa.Table, audit: AuditTables) -> None:
    height, width, channels = SHAPE["image"]
    sizes = np.abs(plain_audit.maps_of(rows, "image"))
    finite = np.array(rows["status"].to_pylist()) != "nonfinite"
    pixels = sizes.reshape(-1, height, width, channels).sum(axis=3)
    total = np.where(sizes.sum(axis=1) > 0, sizes.sum(axis=1), 1)
    slices, masks = plain_audit.slices_of(rows), plain_audit.region_masks(height, width)
    seen = set()
    for row in audit["regions"].to_pylist():
        chosen = slices[row["slice"], row["value"]] & finite
        share = (pixels[:, masks[row["region"]]].sum(axis=1) / total)[chosen]
        assert row["rows"] == chosen.sum()
        assert row["area_share"] == pytest.approx(masks[row["region"]].mean(), rel=EXACT)
        assert row["share_mean"] == pytest.approx(share.mean(), rel=EXACT, abs=EXACT)
        assert (row["share_variance"] is None) == (len(share) == 1)
        if len(share) > 1:
            assert row["share_variance"] == pytest.approx(share.var(ddof=1), rel=EXACT, abs=EXACT)
        seen.add(row["region"])
    assert seen == set(masks)


def test_confusion_histograms_and_duplicates(rows: pa.Table, audit: AuditTables) -> None:
    pairs = Counter(
        (plain_audit.text(row["label"]), plain_audit.text(row["predicted"]))
        for row in rows.select(["label", "predicted"]).to_pylist()
        if row["predicted"] is not None
    )
    assert {(row["label"], row["predicted"]): row["rows"] for row in audit["confusion"].to_pylist()} == pairs
    assert audit["duplicates"].to_pylist() == [{"row_id": "row 76", "target": 0, "rows": 2}]
    for measure in ("relative_delta", "error_estimate", "steps", "blind_share", "output"):
        values = rows[measure].drop_null().to_numpy().astype(np.float64)
        values = values[np.isfinite(values)]
        bins = line(audit["histograms"], slice="all", value="", measure=measure)
        assert sum(one["rows"] for one in bins) == len(values)
        for one in bins:
            last = one["high"] >= values.max()
            inside = (values >= one["low"]) & ((values < one["high"]) | (last & (values <= one["high"])))
            # an edge of equal bins is a float64, the value a float32: it may fall on either side
            edge = np.isclose(values, one["low"], rtol=2**-22) | np.isclose(values, one["high"], rtol=2**-22)
            assert inside.sum() - edge.sum() <= one["rows"] <= inside.sum() + edge.sum()


def test_the_rows_to_look_at(rows: pa.Table, audit: AuditTables) -> None:
    finite = np.array(rows["status"].to_pylist()) != "nonfinite"
    maps = np.concatenate([plain_audit.maps_of(rows, name) for name in SHAPE], axis=1)
    label = np.array([plain_audit.text(one) for one in rows["label"].to_pylist()])
    mean = np.stack([maps[finite & (label == one)].mean(axis=0) for one in label])
    with np.errstate(invalid="ignore"):
        cosine = (maps * mean).sum(axis=1) / np.linalg.norm(maps, axis=1) / np.linalg.norm(mean, axis=1)
    sound = np.max([np.nan_to_num(rows[name].to_numpy()) for name in ("relative_delta", "error_estimate")], axis=0)
    scores = {"worst": np.where(finite, sound, np.inf), "atypical": 1 - cosine, "typical": cosine - 1}
    names = np.array(rows["row_id"].to_pylist())
    for (kind, value), mask in plain_audit.slices_of(rows).items():
        for what, score in scores.items():
            found = line(audit["rows"], slice=kind, value=value, kind=what)
            if kind not in ("all", "label", "correct", "label,correct"):
                assert not found
                continue
            places = [row for row in np.flatnonzero(mask) if not np.isnan(score[row])]
            first = sorted(places, key=lambda row: (-score[row], row))[:5]
            assert [row["row_id"] for row in found] == names[first].tolist(), (kind, value, what)
            assert [row["rank"] for row in found] == list(range(len(first)))
            np.testing.assert_allclose([row["score"] for row in found], np.abs(score[first]), rtol=1e-6, atol=1e-12)
    (row,) = line(audit["rows"], slice="all", kind="worst", rank=0)
    assert row["row_id"] == "row 20" and row["status"] == "nonfinite" and len(row["attribution_image"]) == 144


@pytest.mark.parametrize("seed", range(3))
def test_any_sharding_and_order_of_merging_gives_the_same(rows: pa.Table, audit: AuditTables, seed: int) -> None:
    draw = np.random.default_rng(seed)
    cuts, order = draw.integers(0, len(rows) + 1, draw.integers(1, 6)), draw.integers(0, 100, 4)
    tables = whole_audits.pieces(rows, cuts.tolist())
    # of an image of 144 values: some rows at once, or all
    plan = whole_audits.planned(tables, whole_audits.Limits(chunk_values=[144 * 50, 144 * 7, 2**18][seed % 3]))
    found = AuditTables.of(tables_of(whole_audits.aggregated(tables, plan, order.tolist())), {})
    for name, table in audit.tables.items():
        same(found[name], table, name)


def same(found: pa.Table, expected: pa.Table, name: str) -> None:
    """Words and counts equal, numbers to 1e-9 of the largest of their column."""
    assert found.schema == expected.schema and len(found) == len(expected), name
    for column in expected.column_names:
        mine, theirs = found[column], expected[column]
        if pa.types.is_float64(theirs.type):
            # a difference of nearly equal sums is known to their size
            np.testing.assert_allclose(mine.to_numpy(), theirs.to_numpy(), rtol=EXACT, atol=EXACT, err_msg=column)
        else:  # as text, in which a NaN of a list is itself
            assert str(mine.to_pylist()) == str(theirs.to_pylist()), (name, column)


def test_a_kept_column_called_as_one_of_the_table_s_own_stands_beside_it(rows: pa.Table, audit: AuditTables) -> None:
    renamed = rows.rename_columns(["score" if name == "age" else name for name in rows.column_names])
    found = whole_audits.audited(renamed)["rows"]
    assert found["keep:score"].equals(audit["rows"]["age"])
    assert found["score"].equals(audit["rows"]["score"])
