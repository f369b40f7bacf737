"""examples/text: real reviews, explained word by word at the embedding."""

from __future__ import annotations

import collections
import pathlib
import re
from collections.abc import Callable

import datasets
import duckdb
import numpy as np
import pyarrow as pa
import pytest

OFTEN = 5  # rows that a word must be in: one sentence tells little of a word


@pytest.fixture(scope="module")
def rows(example: Callable[[str], pathlib.Path]) -> pa.Table:
    return datasets.read(example("text") / "out")


@pytest.fixture(scope="module")
def toward_good(rows: pa.Table) -> dict[str, float]:
    """By word that occurs often, the mean of what it says for `good`."""
    said = collections.defaultdict[str, list[float]](list)
    columns = (rows[name].to_pylist() for name in ("tokens", "attribution_embedding", "target"))
    for words, values, target in zip(*columns, strict=True):
        for word, value in zip(words, values, strict=True):
            said[word].append(value if target else -value)
    return {word: float(np.mean(values)) for word, values in said.items() if len(values) >= OFTEN}


def test_the_recipe_for_words(
    example: Callable[[str], pathlib.Path], rows: pa.Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The query of docs/recipes.md gives the means of each word and target."""
    monkeypatch.chdir(example("text"))
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
