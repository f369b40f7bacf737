"""examples/text: real reviews, explained word by word at the embedding."""

from __future__ import annotations

import collections
import html
import json
import pathlib
import re
from collections.abc import Callable

import datasets
import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

OFTEN = 5  # rows that a word must be in: one sentence tells little of a word


@pytest.fixture(scope="module")
def folder(example: Callable[..., pathlib.Path]) -> pathlib.Path:
    """As its user runs it, the audit with it."""
    return example("text", audited=True)


@pytest.fixture(scope="module")
def rows(folder: pathlib.Path) -> pa.Table:
    return datasets.read(folder / "out")


@pytest.fixture(scope="module")
def toward_good(rows: pa.Table) -> dict[str, float]:
    """By word that occurs often, the mean of what it says for `good`."""
    said = collections.defaultdict[str, list[float]](list)
    columns = (rows[name].to_pylist() for name in ("tokens", "attribution_embedding", "target"))
    for words, values, target in zip(*columns, strict=True):
        for word, value in zip(words, values, strict=True):
            said[word].append(value if target else -value)
    return {word: float(np.mean(values)) for word, values in said.items() if len(values) >= OFTEN}


def test_the_recipe_for_words(folder: pathlib.Path, rows: pa.Table, monkeypatch: pytest.MonkeyPatch) -> None:
    """The query of docs/recipes.md gives the means of each word and target."""
    monkeypatch.chdir(folder)
    recipes = (pathlib.Path(__file__).parents[2] / "docs/recipes.md").read_text(encoding="utf-8")
    said = collections.defaultdict[tuple[int, str], list[float]](list)
    columns = (rows[name].to_pylist() for name in ("tokens", "attribution_embedding", "target"))
    for words, values, target in zip(*columns, strict=True):
        for word, value in zip(words, values, strict=True):
            said[target, word].append(value)
    found = duckdb.sql(re.findall(r"```sql\n(.*?)```", recipes, re.S)[-1]).fetchall()
    assert {row[:2] for row in found} == {key for key, values in said.items() if len(values) >= OFTEN}
    for target, word, times, mean in found:
        assert times == len(said[target, word])
        assert mean == pytest.approx(np.mean(said[target, word]), rel=1e-9, abs=1e-12)


def test_the_model_is_worth_explaining(rows: pa.Table) -> None:
    """These sentences were held out; the larger class has 52 % of them."""
    right = rows["target"].to_numpy() == rows["label"].to_numpy()
    assert len(right) > 500
    assert right.mean() > 0.7


def test_every_word_has_a_number(rows: pa.Table) -> None:
    counts = [len(words) for words in rows["tokens"].to_pylist()]
    assert len(set(counts)) > 20
    assert [len(values) for values in rows["attribution_embedding"].to_pylist()] == counts


def test_words_speak_for_what_they_mean(toward_good: dict[str, float]) -> None:
    """Words whose meaning nobody doubts; each occurs often in such reviews."""
    good = {"great", "good", "best", "love", "excellent", "easy", "funny", "perfect"} & set(toward_good)
    bad = {"bad", "worst", "dull", "boring", "poor", "problem", "problems", "never"} & set(toward_good)
    assert len(good) >= 4
    assert len(bad) >= 4
    assert min(toward_good[word] for word in good) > 0 > max(toward_good[word] for word in bad)


def test_the_strongest_words_are_words_of_praise_and_blame(toward_good: dict[str, float]) -> None:
    ranked = sorted(toward_good, key=lambda word: toward_good[word])
    blame = {"horrible", "worst", "tedious", "mess", "banal", "lack", "lacks", "fails", "pretentious", "missing"}
    praise = {"terrific", "entertaining", "excellent", "enjoyable", "powerful", "enjoy", "wonderful", "hilarious"}
    assert len(blame & set(ranked[:20])) >= 4
    assert len(praise & set(ranked[-20:])) >= 4


def test_the_audit_finds_no_shortcut(folder: pathlib.Path) -> None:
    """Thousands of words share the work: none has a tenth of a class's attribution. That the baseline, a text of no
    words, is taken for bad is so: the model says bad where nothing is praised."""
    about = json.loads((folder / "out/_audit/audit.json").read_text(encoding="utf-8"))
    found = {finding["kind"]: finding for finding in about["findings"]}
    assert not found.keys() & {"token_shortcut", "dominant_feature", "label_leak", "nonfinite_rows"}
    assert "'bad' (0)" in found["confident_baseline"]["title"]
    assert about["inputs"]["embedding"]["tokens"] == "tokens"


def test_the_audit_s_tokens_tell_praise_from_blame(folder: pathlib.Path) -> None:
    """Where the model says good, what speaks for it most in sum are words of praise, and so for bad."""
    table = pq.read_table(folder / "out/_audit/tokens.parquet", filters=[("slice", "=", "predicted")]).to_pylist()
    said: dict[str, list[str]] = {"0": [], "1": []}
    for row in sorted(table, key=lambda row: -row["mean"] * row["occurrences"]):
        said[row["value"]].append(row["token"])
    assert len({"great", "wonderful", "excellent", "funny", "best", "love", "enjoy", "fun"} & set(said["1"][:30])) >= 4
    blame = {"horrible", "mess", "tedious", "bad", "lack", "worst", "banal", "lacks", "pointless", "not", "too"}
    assert len(blame & set(said["0"][:30])) >= 4
    assert not {"great", "excellent", "wonderful"} & set(said["0"][:100])


def test_the_report_shows_the_words_and_names_the_classes(folder: pathlib.Path) -> None:
    page = html.unescape((folder / "out/_audit/report.html").read_text(encoding="utf-8"))
    assert "<bdi>0 · bad</bdi>" in page and "<bdi>1 · good</bdi>" in page
    assert page.count('<p class="tokens"') >= 20
    assert "could not be read" not in page
    # the column `score` that is kept is not the score by which rows are chosen: those of worst rows are not negative
    assert not re.search(r"worst, score \N{MINUS SIGN}", page)
    kept = pq.read_table(folder / "out/_audit/rows.parquet")
    assert (
        min(kept["keep:score"].to_pylist())
        < 0
        <= min(kept.filter(pa.compute.equal(kept["kind"], "worst"))["score"].to_pylist())
    )
