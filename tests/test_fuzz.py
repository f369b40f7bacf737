"""Spoilt files of every kind, a few of each: the short form of `campaigns.fuzz`; and that it would find a finding."""

from __future__ import annotations

import json
import pathlib
import random
from typing import Any

import pytest
import yaml
from campaigns import fuzz_process, fuzz_targets
from campaigns.fuzz_corpus import put, write_corpus
from campaigns.fuzz_mutations import spoilt
from campaigns.fuzz_process import Finding, attempt, mutant, watched
from campaigns.fuzz_targets import TARGETS, built
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

INPUTS = 30


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    folder = tmp_path_factory.mktemp("corpus") / "seeds"
    write_corpus(folder)
    return folder


@pytest.mark.parametrize("name", TARGETS)
def test_spoilt_files_answer_with_an_error_of_ours_or_what_was_written(
    corpus: pathlib.Path, tmp_path: pathlib.Path, name: str
) -> None:
    target, seeds, run = built(name, corpus, tmp_path)
    whole = {run(seed, number) for number, seed in enumerate(seeds)}
    ends = set()
    for index in range(INPUTS):
        data, seed = mutant(seeds, target.mutate, name, index)
        ends.add(attempt(run, data, seed, tmp_path / f"found-{index}"))
    assert not [end for end in ends if end.startswith(fuzz_process.FOUND)]
    assert ends - whole, "nothing was refused: the inputs are not spoilt"


@settings(max_examples=25, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
@pytest.mark.parametrize("name", ["config", "run_json"])
def test_any_json_in_the_place_of_a_value(corpus: pathlib.Path, tmp_path: pathlib.Path, name: str, data: Any) -> None:
    """As above, but drawn by hypothesis, which shrinks what it finds."""
    folder = tmp_path / "own"
    if not folder.exists():
        folder.mkdir()
        RUNS[tmp_path, name] = built(name, corpus, folder)
    _, seeds, run = RUNS[tmp_path, name]
    value = yaml.safe_load(data.draw(st.sampled_from(seeds)))
    parent, key = data.draw(st.sampled_from(list(places(value))))
    parent[key] = data.draw(JSON)
    run(json.dumps(value).encode(), 0)


RUNS: dict[Any, Any] = {}
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
JSON = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner))


def places(value: Any) -> Any:
    """Every (container, key) in a JSON value."""
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, held in pairs:
        yield value, key
        yield from places(held)


def test_a_crash_a_hang_memory_and_an_exception_are_findings(tmp_path: pathlib.Path) -> None:
    """In a process of its own, which is started again behind each of them."""
    ends = {
        b"fine": "",
        b"crash": "crash by SIGSEGV",
        b"hang": "hang",
        b"memory": "MemoryError:",
        b"raise": "RuntimeError: no error of ours",
    }
    put(tmp_path, "canary", *ends)
    kinds = [mutant(list(ends), fuzz_targets.CANARY.mutate, "canary", index)[0] for index in range(10_000)]
    first = next(at for at in range(len(kinds)) if set(kinds[at : at + len(ends)]) == set(ends))
    indices = range(first, first + len(ends))
    report = watched("canary", tmp_path, indices, silent_s=2.0)
    assert list(report.findings) == [Finding("canary", at, ends[kinds[at]]) for at in indices if ends[kinds[at]]]
    assert report.outcomes == {"read": 1}


def test_most_inputs_are_spoilt() -> None:
    seed = bytes(range(256)) * 3
    ways = {spoilt(seed, random.Random(number)) for number in range(200)}
    assert len(ways - {seed}) > 190
