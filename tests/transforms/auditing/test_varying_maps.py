"""Maps of varying length with their tokens, the strongest values alone, rounded ones and pooled ones, and slices that
are folded: each as a plain computation over all rows finds it."""

import math

import numpy as np
import plain_audit
import pyarrow as pa
import pytest
import whole_audits
from synthetic_parts import columns_of, part

from transforms.auditing.audit_outputs import tables_of
from transforms.auditing.audit_plan import TOKEN_BYTES
from transforms.auditing.audit_tables import AuditTables

# Sums of some hundred float64 values are off by far less; see test_aggregates.py.
EXACT = 1e-9
ROWS, LONGEST = 150, 24
CLASSES = ("cat", "dog", "eel", "fox", "gnu")
WORDS = np.array([*"abcdefghij", "(other)", "the"])


def texts(step: int = 1, **output: object) -> pa.Table:
    """Rows of up to 24 tokens, `step` values each, beside a table; labels are words, some empty, one no number."""
    draw = np.random.default_rng(7)
    lengths = draw.integers(0, LONGEST + 1, ROWS)
    lengths[3], lengths[4] = LONGEST, 0
    shape = (LONGEST,) if step == 1 else (LONGEST, step)
    maps = {"text": draw.normal(size=(ROWS, *shape)), "table": draw.normal(size=(ROWS, 3))}
    maps["text"][np.arange(LONGEST) >= lengths[:, np.newaxis]] = 0
    maps["text"][5] = 0
    maps["table"][8] = np.nan
    tokens = [[None if word == "j" else str(word) for word in draw.choice(WORDS, size)] for size in lengths]
    predicted = draw.integers(0, 6, ROWS)  # 5 has no name
    label = [CLASSES[min(one, 4)] if draw.random() < 0.7 else "cat" for one in predicted]
    carried = {
        "label": pa.array([None if row == 6 else name for row, name in enumerate(label)]),
        "tokens": pa.array(tokens, pa.list_(pa.string())),
        "site": pa.array(draw.choice(["north", "south"], ROWS)),
    }
    columns = columns_of({"text": (None, *shape[1:]), "table": (3,)}, **output)
    status = ["nonfinite" if row == 8 else "ok" for row in range(ROWS)]
    maps = {name: values.astype(np.float32) for name, values in maps.items()}
    return part(maps, columns, carried, lengths=lengths, predicted=predicted, status=status)


def dense(table: pa.Table, name: str, size: int) -> np.ndarray:
    """float64 [rows, size]; NaN beyond a row's own values."""
    found = np.full((len(table), size), np.nan)
    indices = table[f"index_{name}"].to_pylist() if f"index_{name}" in table.column_names else None
    for row, values in enumerate(table[f"attribution_{name}"].to_pylist()):
        if indices is not None:
            found[row] = 0
        found[row, indices[row] if indices else slice(len(np.ravel(values)))] = np.ravel(values)
    return found


def slices(table: pa.Table, most: int = 1000) -> plain_audit.Slices:
    """Those of the rows, all but so many of a kind together."""
    found: plain_audit.Slices = {}
    every = plain_audit.slices_of(table, ("site",), CLASSES)
    for kind in dict.fromkeys(kind for kind, _ in every):
        values = sorted((value for own, value in every if own == kind), key=lambda value: (len(value), value))
        for place, value in enumerate(values):
            name = kind, value if place < most else "(other)"
            found[name] = found.get(name, np.zeros(len(table), bool)) | every[kind, value]
    return found


def near(found: float | None, expected: float | None) -> bool:
    """To 1e-9; None is itself."""
    if found is None or expected is None:
        return found is expected
    return math.isclose(found, expected, rel_tol=EXACT, abs_tol=EXACT)


def check_features(
    table: pa.Table, audit: AuditTables, sizes: dict[str, int], strongest: dict[str, int], most: int = 1000
) -> None:
    """`features` is what comes of the rows."""
    lines = {(one["slice"], one["value"], one["input"], one["position"]): one for one in audit["features"].to_pylist()}
    maps = {name: dense(table, name, size) for name, size in sizes.items()}
    finite = np.array(table["status"].to_pylist()) != "nonfinite"
    with np.errstate(invalid="ignore"):
        total = sum(np.nan_to_num(np.abs(one)).sum(axis=1) for one in maps.values())
    seen = 0
    for name, values in maps.items():
        hits = plain_audit.strongest(np.abs(values), strongest[name])
        shares = np.nan_to_num(np.abs(values)) / np.where(total > 0, total, 1)[:, np.newaxis]
        for (kind, value), mask in slices(table, most).items():
            for position in range(values.shape[1]):
                chosen = mask & finite & ~np.isnan(values[:, position])
                line = lines.get((kind, value, name, position))
                if not chosen.any():
                    assert line is None
                    continue
                assert line is not None, (kind, value, name, position)
                seen, own = seen + 1, values[chosen, position]
                assert (line["rows"], line["min"], line["max"]) == (len(own), own.min(), own.max())
                expected = {
                    "mean": own.mean(),
                    "mean_abs": np.abs(own).mean(),
                    "top_share": hits[chosen, position].mean(),
                }
                expected["share_mean"] = shares[chosen, position].mean()
                for column, spread in (("variance", own), ("share_variance", shares[chosen, position])):
                    expected[column] = spread.var(ddof=1) if len(own) > 1 else None
                for column, number in expected.items():
                    assert near(line[column], number), (kind, value, position, column)
    assert seen == len(lines)


def plain_tokens(table: pa.Table, step: int, known: set[str] | None = None) -> dict[tuple[str, str, str], dict]:
    """The lines of `tokens`, row by row.

    Args:
        known: tokens that are told apart; None: all.
    """
    found = {}
    finite = [status != "nonfinite" for status in table["status"].to_pylist()]
    words = [["(null)" if one is None else one for one in row] for row in table["tokens"].to_pylist()]
    words = [[one if known is None or one in known else "(other)" for one in row] for row in words]
    values = [np.reshape(row, (-1, step)).sum(axis=1) for row in map(np.float64, table["attribution_text"].to_pylist())]
    total = [np.abs(np.float64(row)).sum() for row in table["attribution_text"].to_pylist()]
    total = [
        one + np.abs(np.float64(row)).sum()
        for one, row in zip(total, table["attribution_table"].to_pylist(), strict=True)
    ]
    strong = []
    for row in values:
        first = sorted(range(len(row)), key=lambda place: (-abs(row[place]), place))[: min(5, -(-len(row) // 10))]
        strong.append([place in first and row[place] != 0 for place in range(len(row))])
    for name, mask in slices(table).items():
        rows = [row for row in np.flatnonzero(mask) if finite[row]]
        for token in {word for row in rows for word in words[row]}:
            at = [(row, place) for row in rows for place, word in enumerate(words[row]) if word == token]
            own = np.array([values[row][place] for row, place in at])
            share = [sum(abs(values[row][p]) for r, p in at if r == row) / (total[row] or 1) for row in rows]
            found[(*name, token)] = {
                "rows": len({row for row, _ in at}),
                "occurrences": len(at),
                "mean": own.mean(),
                "mean_abs": np.abs(own).mean(),
                "variance": own.var(ddof=1) if len(own) > 1 else None,
                "top_share": np.mean([strong[row][place] for row, place in at]),
                "share_mean": np.mean(share),
                "share_variance": np.var(share, ddof=1) if len(share) > 1 else None,
            }
    return found


@pytest.mark.parametrize(("step", "dtype"), [(1, "float32"), (2, "float32"), (1, "float16")])
def test_lengths_of_their_own(step: int, dtype: str) -> None:
    table = texts(step, dtype=dtype)
    audit = whole_audits.audited(table, classes=CLASSES)
    sizes = {"text": LONGEST * step, "table": 3}
    check_features(table, audit, sizes, {"text": -(-LONGEST * step // 10), "table": 1})
    check_tokens(audit, plain_tokens(table, step))


def check_tokens(audit: AuditTables, expected: dict[tuple[str, str, str], dict]) -> None:
    found = {(one["slice"], one["value"], one["token"]): one for one in audit["tokens"].to_pylist()}
    assert set(found) == set(expected) and len(found) == len(audit["tokens"])
    for name, line in expected.items():
        for column, number in line.items():
            assert near(found[name][column], number), (name, column)


def test_rarer_tokens_are_together() -> None:
    table = texts()
    room = TOKEN_BYTES * len(slices(table)) * 4
    audit = whole_audits.audited(table, whole_audits.Limits(token_bytes=room), CLASSES)
    finite = [row for row in table.to_pylist() if row["status"] != "nonfinite"]
    every = ["(null)" if word is None else word for row in finite for word in row["tokens"] if word != "(other)"]
    frequent = sorted(set(every), key=lambda word: (-every.count(word), len(word), word))[:4]
    check_tokens(audit, plain_tokens(table, 1, set(frequent)))
    assert "text: the 4 most frequent tokens of tokens are told apart, the others are (other)" in audit.about["limits"]


@pytest.mark.parametrize("seed", [0, 1])
def test_texts_in_any_pieces(seed: int) -> None:
    table, draw = texts(), np.random.default_rng(seed)
    tables = whole_audits.pieces(table, draw.integers(0, ROWS + 1, 4).tolist())
    plan = whole_audits.planned(tables, whole_audits.Limits(chunk_values=[LONGEST * 7, 2**18][seed]), CLASSES)
    found = AuditTables.of(tables_of(whole_audits.aggregated(tables, plan, [3, 1])), {})
    check_tokens(found, plain_tokens(table, 1))
    check_features(table, found, {"text": LONGEST, "table": 3}, {"text": 3, "table": 1})


def test_words_that_are_not_the_map_s_make_no_tokens() -> None:
    table = texts()
    short = pa.array([row[:-1] for row in table["tokens"].to_pylist()], pa.list_(pa.string()))
    table = table.set_column(table.schema.get_field_index("tokens"), "tokens", short)
    assert len(whole_audits.audited(table, classes=CLASSES)["tokens"]) == 0


def test_words_of_large_lists() -> None:
    table = texts()
    large = table["tokens"].cast(pa.large_list(pa.large_string()))
    table = table.set_column(table.schema.get_field_index("tokens"), "tokens", large)
    check_tokens(whole_audits.audited(table, classes=CLASSES), plain_tokens(table, 1))


def test_no_row_has_a_token() -> None:
    table = texts().filter(pa.array(np.arange(ROWS) == 4))
    audit = whole_audits.audited(table, classes=CLASSES)
    assert len(audit["tokens"]) == 0 and set(audit["features"]["input"].to_pylist()) == {"table"}


def test_the_strongest_values_of_texts() -> None:
    """Their places are known, what a row's length is, is not: those left out count as 0."""
    table = texts(top=4)
    audit = whole_audits.audited(table, classes=CLASSES)
    longest = max(max(row, default=-1) for row in table["index_text"].to_pylist()) + 1
    check_features(table, audit, {"text": longest, "table": 3}, {"text": -(-longest // 10), "table": 1})
    assert len(audit["tokens"]) == 0
    assert "text: only the strongest values of each row were kept; the others count as 0" in audit.about["limits"]


def images(shape: tuple[int, ...], **output: object) -> pa.Table:
    draw = np.random.default_rng(3)
    maps = {"image": draw.normal(size=(60, *shape)).astype(np.float32)}
    predicted = draw.integers(0, 5, 60)
    carried = {
        "label": pa.array([CLASSES[one] for one in draw.integers(0, 5, 60)]),
        "site": pa.array(draw.choice(["north", "south"], 60)),
    }
    ranked = {"target_rank": np.arange(60) % 2, "target": np.arange(60) % 2} if output.pop("ranked", False) else {}
    names = [f"row {row // 2}" for row in range(60)] if ranked else [f"row {row // 3}" for row in range(60)]
    others = {"target": np.zeros(60, int), "predicted": predicted, "row_id": names, "status": ["ok"] * 60} | ranked
    return part(maps, columns_of({"image": shape}, **output), carried, **others)


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_the_strongest_values_of_images(dtype: str) -> None:
    """An image stays one, with its regions and all its positions."""
    table = images((8, 9), top=6, dtype=dtype)
    audit = whole_audits.audited(table, classes=CLASSES)
    check_features(table, audit, {"image": 72}, {"image": 5})
    maps, masks, found = np.abs(dense(table, "image", 72)), plain_audit.region_masks(8, 9), slices(table)
    for row in audit["regions"].to_pylist():
        share = maps[:, masks[row["region"]].ravel()].sum(axis=1) / maps.sum(axis=1)
        assert near(row["share_mean"], share[found[row["slice"], row["value"]]].mean())
    assert {row["region"] for row in audit["regions"].to_pylist()} == set(masks)


@pytest.mark.parametrize("most", [1, 3])
def test_folded_slices_and_their_rows(most: int) -> None:
    """Labels beyond the first have a mean of their own together."""
    table = images((3,))
    audit = whole_audits.audited(table, whole_audits.Limits(values=most), CLASSES)
    check_features(table, audit, {"image": 3}, {"image": 1}, most)
    assert f"label has more than {most} values; those after the first are in the slice (other)" in audit.about["limits"]
    fold = np.array([one if CLASSES.index(one) < most else "(other)" for one in table["label"].to_pylist()])
    shown = [str(one) if one < most else "(other)" for one in table["predicted"].to_pylist()]
    pairs = list(zip(fold.tolist(), shown, strict=True))
    found = {(row["label"], row["predicted"]): row["rows"] for row in audit["confusion"].to_pylist()}
    assert found == {pair: pairs.count(pair) for pair in pairs}
    maps = dense(table, "image", 3)
    mean = np.stack([maps[fold == one].mean(axis=0) for one in fold])
    cosine = (maps * mean).sum(axis=1) / np.linalg.norm(maps, axis=1) / np.linalg.norm(mean, axis=1)
    for name, mask in slices(table, most).items():
        if name[0] in ("all", "label", "correct", "label,correct"):
            lines = [row for row in audit["rows"].to_pylist() if (row["slice"], row["value"]) == name]
            lines = [row["source_row"] for row in lines if row["kind"] == "atypical"]
            assert lines == sorted(np.flatnonzero(mask), key=lambda row: cosine[row])[:5]


def test_pooled_grids_hold_the_sums() -> None:
    """Of 20 × 18 pixels with two channels, in slices, over 16 × 16 cells; `all` stays whole."""
    table = images((20, 18, 2))
    audit = whole_audits.audited(table, whole_audits.Limits(moment_bytes=0), CLASSES)
    maps = dense(table, "image", 720).reshape(60, 20, 18, 2)
    cell = np.arange(20)[:, None] * 16 // 20 * 16 + np.arange(18) * 16 // 18
    pooled = np.stack([maps[:, cell == one].sum(axis=(1, 2)) for one in range(256)], axis=1)
    lines = audit["features"].to_pylist()
    for name, mask in slices(table).items():
        values = maps.reshape(60, 720) if name[0] == "all" else pooled[mask]
        means = [line["mean"] for line in lines if (line["slice"], line["value"]) == name]
        np.testing.assert_allclose(means, values.mean(axis=0), rtol=EXACT, atol=EXACT)
        assert sum(means) == pytest.approx(maps[mask].sum(axis=(1, 2, 3)).mean(), rel=EXACT, abs=EXACT)


def test_several_targets_of_an_example() -> None:
    table = images((3,), ranked=True)
    audit = whole_audits.audited(table, classes=CLASSES)
    ranks = {row["value"]: row["rows"] for row in audit["slices"].to_pylist() if row["slice"] == "target_rank"}
    assert ranks == {"0": 30, "1": 30} and len(audit["duplicates"]) == 0
    assert "an example has several targets; each of its rows counts as one" in audit.about["limits"]


def test_more_duplicates_than_are_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those listed come first by name of those looked for; all are counted."""
    table = images((3,))
    monkeypatch.setattr("transforms.auditing.audit_outputs.REPEATED_ROWS", 7)
    plan = whole_audits.planned([table.slice(0, 31), table.slice(31)])
    found = AuditTables.of(tables_of(whole_audits.aggregated([table.slice(0, 31), table.slice(31)], plan)), {})
    first = sorted({*table["row_id"].to_pylist()}, key=lambda name: (len(name), name))[:7]
    assert found["duplicates"].to_pylist() == [{"row_id": name, "target": 0, "rows": 3} for name in first]
    assert plan.duplicates == {"repeated": 20, "sampled": 1.0}


@pytest.mark.parametrize("kind", [pa.uint64(), pa.bool_(), pa.dictionary(pa.int8(), pa.string())])
def test_labels_of_other_types(kind: pa.DataType) -> None:
    table = images((3,)).drop_columns("label")
    words = pa.types.is_dictionary(kind)
    values = [True, False] if pa.types.is_boolean(kind) else ["dog", "eel"] if words else [2**64 - 1, 1]
    label = pa.array(values * 30, pa.string() if words else kind).cast(kind)
    audit = whole_audits.audited(table.append_column("label", label), classes=CLASSES)
    meant = [CLASSES.index(one) for one in values] if words else [int(one) for one in values]
    right = sum(one == own for one, own in zip(table["predicted"].to_pylist(), meant * 30, strict=True))
    found = {row["value"]: row["rows"] for row in audit["slices"].to_pylist() if row["slice"] == "correct"}
    assert found == {"right": right, "wrong": 60 - right}
