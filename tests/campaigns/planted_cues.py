"""A cue is planted in one class, and must be the first finding; without it, it must not be reported.

`pytest -m campaign tests/campaigns/planted_cues.py`, or for the table of docs/planted_cues.md
`PYTHONPATH=.:tests python tests/campaigns/planted_cues.py [FIRST [COUNT]]`. Each seed draws the data's split, the
class, the cue's place and the model's weights.
"""

from __future__ import annotations

import dataclasses
import pathlib
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import audited
import numpy as np
import pytest

from transforms.auditing.findings.finding import Finding
from transforms.auditing.findings.ranking import findings

# The rules and thresholds were settled with others: 0 to 9, and 1000 and up
FIRST, SEEDS, LEAST_FOUND, MOST_FALSE = 100, 20, 19, 1
VALUES = 8


@dataclasses.dataclass(frozen=True)
class Data:
    """What a model is trained on and what is explained.

    Attributes:
        inputs: [rows, *shape].
        labels: int64 [rows].
        held_out: which rows are explained; the others train.
        expected: the kind of finding that the cue is, its value in the slice of labels, and what has it.
    """

    inputs: np.ndarray
    labels: np.ndarray
    held_out: np.ndarray
    kind: str
    value: str
    features: frozenset[str | int]


def images(seed: int, planted: bool) -> Data:
    """1,797 digits of 8 × 8 pixels; the cue: a white stroke of two pixels in a corner of one
    class's."""
    from sklearn.datasets import load_digits

    random, digits = np.random.default_rng(seed), load_digits()
    pixels, labels = digits.images.astype(np.float32)[..., None] / 16, digits.target.astype(np.int64)
    marked, (top, left) = int(random.integers(10)), random.integers(0, 2, 2)
    if planted:
        pixels[labels == marked, -int(top), slice(6, 8) if left else slice(2)] = 1
    side, end = ("bottom" if top else "top"), ("right" if left else "left")
    cell = f"cell_{3 * top}_{3 * left}"
    where = {f"corner_{side}_{end}", cell, f"border_{side}", f"border_{end}", "border"}
    held_out = random.random(len(labels)) < 1 / 4
    return Data(pixels, labels, held_out, "image_cue", str(marked), frozenset(where))


WORDS, LENGTH = {"bad": 12, "good": 12, "neither": 36}, 12


def reviews(seed: int, planted: bool) -> Data:
    """2,000 reviews of 12 of 60 words; a class's own 12 words come three times as often as the other's. The cue: a
    word that says nothing, in nine of ten of one class's."""
    random = np.random.default_rng(seed)
    labels = random.integers(0, 2, 2000)
    bad, good, neither = WORDS.values()
    own = labels[:, None] * bad + random.integers(0, bad, (2000, LENGTH))
    opposite = (1 - labels)[:, None] * bad + random.integers(0, bad, (2000, LENGTH))
    plain = bad + good + random.integers(0, neither, (2000, LENGTH))
    which = random.random((2000, LENGTH))
    ids = np.where(which < 0.3, own, np.where(which < 0.4, opposite, plain)).astype(np.int32)
    marked, word = int(random.integers(2)), sum(WORDS.values())
    if planted:
        rows = np.flatnonzero((labels == marked) & (random.random(2000) < 0.9))
        ids[rows, random.integers(0, LENGTH, len(rows))] = word
    held_out = random.random(2000) < 0.2
    return Data(ids, labels, held_out, "token_shortcut", str(marked), frozenset({f"w{word}"}))


def tumours(seed: int, planted: bool) -> Data:
    """569 tumours and 30 measurements of them, standardised; the cue: one column holds the label, with noise."""
    from sklearn.datasets import load_breast_cancer

    random, data = np.random.default_rng(seed), load_breast_cancer()
    measured, labels = data.data.copy(), data.target.astype(np.int64)
    column = int(random.integers(measured.shape[1]))
    if planted:
        measured[:, column] = labels + random.normal(0, 0.1, len(labels))
    measured = ((measured - measured.mean(axis=0)) / measured.std(axis=0)).astype(np.float32)
    held_out = random.random(len(labels)) < 1 / 2
    return Data(measured, labels, held_out, "label_leak", "", frozenset({column}))


CASES: dict[str, Callable[[int, bool], Data]] = {"images": images, "text": reviews, "table": tumours}


def explained(data: Data, seed: int, folder: pathlib.Path) -> audited.Maps:
    """A small network is trained; the rows held out are explained, and put into two files and two groups by chance."""
    import keras

    from transforms.attribution.config import AttributionConfig, ModelConfig
    from transforms.attribution.explainer import Explainer

    keras.utils.set_random_seed(seed)
    model = network(data)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(5e-3), loss, jit_compile=False)
    model.fit(data.inputs[~data.held_out], data.labels[~data.held_out], batch_size=32, epochs=15, verbose=0)
    path, shown, labels = folder / f"{seed}.keras", data.inputs[data.held_out], data.labels[data.held_out]
    model.save(path)
    text = data.inputs.dtype.kind == "i"
    wanted = ModelConfig(path=str(path), layer="words" if text else None)
    explainer = Explainer.load(wanted, AttributionConfig(target="label", steps=32, batch_size=256))
    found = explainer.explain(shown, target=labels)
    path.unlink()
    (values,) = (value.astype(np.float64) for value in found.attributions.values())
    if text:
        rows = zip(shown, values.sum(axis=-1), strict=True)
        what: dict[str, Any] = {"texts": {"x": [([f"w{word}" for word in row], parts) for row, parts in rows]}}
    else:
        what = {"maps": {"x": values}}
    outputs = {"outputs": found.output, "baseline_outputs": found.baseline_output, "status": found.status}
    about = {"run": {"target": "label"}, "classes": None}
    slices = slices_of(labels, found.predicted, np.random.default_rng(seed))
    return audited.Maps(slices, **what, about=about, **outputs)


def slices_of(labels: np.ndarray, predicted: Any, random: np.random.Generator) -> dict[str, list[str]]:
    """As an audit has them."""
    right = ["right" if hit else "wrong" for hit in labels == predicted]
    return {
        "label": [str(label) for label in labels],
        "correct": right,
        "label,correct": [f"{label},{hit}" for label, hit in zip(labels, right, strict=True)],
        "source_file": [f"part-{number}.parquet" for number in random.integers(0, 2, len(labels))],
        "keep:group": [f"group {number}" for number in random.integers(0, 2, len(labels))],
    }


def network(data: Data) -> Any:
    """To the logits of the classes."""
    import keras

    entry = keras.Input(data.inputs.shape[1:], dtype=str(data.inputs.dtype), name="x")
    if data.inputs.dtype.kind == "i":
        words = keras.layers.Embedding(sum(WORDS.values()) + 1, VALUES, name="words")(entry)
        hidden = keras.layers.Dense(16, activation="relu")(keras.layers.GlobalAveragePooling1D()(words))
    elif data.inputs.ndim == 4:
        strokes = keras.layers.Conv2D(8, 3, activation="relu", padding="same")(entry)
        hidden = keras.layers.Dense(32, activation="relu")(keras.layers.Flatten()(strokes))
    else:
        hidden = keras.layers.Dense(16, activation="relu")(entry)
    return keras.Model(entry, keras.layers.Dense(int(data.labels.max()) + 1)(hidden))


@dataclasses.dataclass(frozen=True)
class Trial:
    """What one seed gave.

    Attributes:
        first: whether the planted cue was the first finding.
        share: of the map that it had, where it was found.
        false: kinds of cue found where none was planted.
        others: kinds of all findings where none was planted.
    """

    first: bool
    share: float
    false: tuple[str, ...]
    others: tuple[str, ...]


CUES = {"image_cue", "token_shortcut", "label_leak", "dominant_feature"}


def trial(case: str, seed: int, folder: pathlib.Path) -> Trial:
    """With the cue, and without it."""
    data = CASES[case](seed, True)
    with_cue = findings(audited.audit(explained(data, seed, folder)))
    without = findings(audited.audit(explained(CASES[case](seed, False), seed, folder)))
    hit = with_cue[:1] and is_cue(with_cue[0], data)
    share = with_cue[0].evidence["share"] if hit else float("nan")
    kinds = tuple(finding.kind for finding in without)
    return Trial(bool(hit), share, tuple(kind for kind in kinds if kind in CUES), kinds)


def is_cue(finding: Finding, data: Data) -> bool:
    """Whether a finding names what was planted, where it was."""
    return finding.kind == data.kind and finding.value == data.value and set(finding.features) <= data.features


def campaign(case: str, seeds: Sequence[int]) -> Iterator[Trial]:
    """The trials of some seeds."""
    with tempfile.TemporaryDirectory() as folder:
        for seed in seeds:
            yield trial(case, seed, pathlib.Path(folder))


@pytest.mark.campaign
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("case", CASES)
def test_a_planted_cue_is_the_first_finding_and_without_it_nothing_is_found(case: str) -> None:
    trials = list(campaign(case, range(FIRST, FIRST + SEEDS)))
    assert sum(one.first for one in trials) >= LEAST_FOUND
    assert sum(bool(one.false) for one in trials) <= MOST_FALSE


def main(first: int = FIRST, count: int = SEEDS) -> None:
    """The table of docs/planted_cues.md."""
    print("| case | seeds | first finding | false | share of the map, median (least) |\n|---|---|---|---|---|")
    for case in CASES:
        trials = list(campaign(case, range(first, first + count)))
        shares = [one.share for one in trials if one.first]
        said = f"{np.median(shares):.0%} ({min(shares):.0%})" if shares else ""
        numbers = f"{sum(one.first for one in trials)} | {sum(bool(one.false) for one in trials)}"
        print(f"| {case} | {first}–{first + count - 1} | {numbers} | {said} |", flush=True)
        for kind in sorted({kind for one in trials for kind in one.others}):
            print(f"  {kind}: {sum(kind in one.others for one in trials)}", file=sys.stderr)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
