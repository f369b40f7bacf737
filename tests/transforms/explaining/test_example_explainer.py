"""Single examples get what they would get in a batch of their own, whatever stands beside them."""

from __future__ import annotations

import dataclasses
import pickle
from collections.abc import Callable
from typing import Any

import datasets
import numpy as np
import pytest
import tensorflow as tf

from transforms.attribution.config import AttributionConfig, ModelConfig
from transforms.attribution.engine.kernel import Kernel
from transforms.attribution.explainer import Explainer
from transforms.errors import Fault
from transforms.explaining.example_explainer import ExampleExplainer
from transforms.loose_examples import Attribution, Example, example_bytes

STEPS = 8
ROWS = datasets.rows()
X, LABELS, IDS = ROWS["pixels"], ROWS["label"], ROWS["name"]
# a gradient of `keras_classifier` adds three terms of at most 1 (Glorot: no weight is over √(6/7) or 1); it has about
# 16 roundings behind it, and STEPS of it are added
TOLERANCE = (STEPS + 16) * 2.0**-23 * 3 * np.abs(X)

Explained = Callable[..., Explainer]


@pytest.fixture(scope="module")
def explainer_of(build: Any) -> Explained:
    """explainer_of(make, **attribution) → an Explainer of that model."""

    def made(make: Any, **attribution: Any) -> Explainer:
        built = build(make)
        fields = {"steps": STEPS} | built.attribution | attribution
        return Explainer.load(ModelConfig(**built.model), AttributionConfig(**fields))

    return made


@pytest.fixture(scope="module")
def classifier(explainer_of: Explained) -> Explainer:
    return explainer_of(datasets.keras_classifier)


def labelled(row: int) -> Example:
    return Example(X[row], label=int(LABELS[row]), row_id=IDS[row])


def test_an_attribution_is_a_row_of_the_explanation(classifier: Explainer) -> None:
    whole = classifier.explain({"x": X}, LABELS, row_ids=IDS)
    found = ExampleExplainer(classifier).explain([labelled(row) for row in range(len(X))])
    for row, one in enumerate(found):
        assert isinstance(one, Attribution)
        for field in dataclasses.fields(Attribution):
            expected = getattr(whole, field.name)
            if field.name == "attributions":
                np.testing.assert_array_equal(one.attributions["x"], expected["x"][row])
            else:
                assert getattr(one, field.name) == (None if expected is None else expected[row]), field.name


def test_what_it_takes_and_gives_can_be_pickled(classifier: Explainer) -> None:
    example = pickle.loads(pickle.dumps(labelled(3)))  # noqa: S301 -- our own bytes
    (found,) = ExampleExplainer(classifier).explain([example])
    again = pickle.loads(pickle.dumps(found))  # noqa: S301 -- our own bytes
    plain, sent = dataclasses.asdict(found), dataclasses.asdict(again)  # type: ignore[call-overload]
    np.testing.assert_array_equal(sent.pop("attributions")["x"], plain.pop("attributions")["x"])
    assert sent == plain


FAULTY = {
    "no inputs": ({}, "E_INPUT_SHAPE"),
    "another shape": (Example(X[0][:3], 1), "E_INPUT_SHAPE"),
    "another name": ({"x": X[0], "z": X[0]}, "E_INPUT_NAME"),
    "text": (Example(np.array(list("abcd")), 1), "E_INPUT_DTYPE"),
    "ragged": (Example([[1.0], [1.0, 2.0]], 1), "E_INPUT_SHAPE"),
    "nothing": (Example(None, 1), "E_INPUT_SHAPE"),
    "no label": (X[0], "E_TARGET_LABELS"),
    "half a label": (Example(X[0], 0.5), "E_TARGET_LABELS"),  # type: ignore[arg-type]
    "a label that is no class": (Example(X[0], datasets.CLASSES), "E_TARGET_RANGE"),
    "a label below the classes": (Example(X[0], -1), "E_TARGET_RANGE"),
    "a baseline of another shape": (Example(X[0], 1, baselines=[0.0, 1.0]), "E_BASELINE_SHAPE"),
    "a baseline of text": (Example(X[0], 1, baselines=list("abcd")), "E_BASELINE_DTYPE"),
    "a baseline of no input": (Example(X[0], 1, baselines={"z": X[0]}), "E_INPUT_NAME"),
}


def test_faulty_examples_cost_the_others_nothing(classifier: Explainer) -> None:
    good = [labelled(row) for row in range(len(FAULTY))]
    alone = ExampleExplainer(classifier).explain(good)
    mixed = [one for pair in zip(good, (example for example, _ in FAULTY.values()), strict=True) for one in pair]
    found = ExampleExplainer(classifier).explain(mixed)
    assert {kind: fault.code for kind, fault in zip(FAULTY, found[1::2], strict=True) if isinstance(fault, Fault)} == {
        kind: code for kind, (_, code) in FAULTY.items()
    }
    for row, (one, other) in enumerate(zip(found[::2], alone, strict=True)):
        assert isinstance(one, Attribution) and isinstance(other, Attribution)
        np.testing.assert_allclose(one.attributions["x"], other.attributions["x"], rtol=0, atol=TOLERANCE[row].max())


def test_an_example_that_is_not_finite_says_so_and_stays_alone(classifier: Explainer) -> None:
    single = ExampleExplainer(classifier)
    broken = np.array([1, np.nan, 0, 0], np.float32)
    found = single.explain([labelled(0), Example(broken, 1), labelled(1)])
    assert [one.status for one in found] == ["ok", "nonfinite", "ok"]  # type: ignore[union-attr]
    for row, one in zip((0, 1), found[::2], strict=True):
        (alone,) = single.explain([labelled(row)])
        np.testing.assert_allclose(one.attributions["x"], alone.attributions["x"], rtol=0, atol=TOLERANCE[row].max())  # type: ignore[union-attr]


@pytest.mark.parametrize("target", ["label", {"top_k": 2}])
def test_an_example_too_large_for_the_memory_is_a_fault(
    explainer_of: Explained, monkeypatch: pytest.MonkeyPatch, target: Any
) -> None:
    mark, real = 1234.5, Kernel.forward

    def forward(kernel: Kernel, fed: Any) -> Any:
        if (np.asarray(fed[0]) == mark).any():
            raise tf.errors.ResourceExhaustedError(None, None, "OOM when allocating tensor")
        return real(kernel, fed)

    monkeypatch.setattr(Kernel, "forward", forward)
    single = ExampleExplainer(explainer_of(datasets.keras_classifier, target=target, hoist=False))
    large = Example(np.array([mark, 0, 0, 0], np.float32), 1)
    found = single.explain([labelled(0), large, labelled(1)])
    assert [one.code if isinstance(one, Fault) else "" for one in found] == ["", "E_OUT_OF_MEMORY", ""]


def test_examples_of_several_shapes_are_explained_each_in_its_own(tmp_path: Any, explainer_of: Explained) -> None:
    module = tf.Module()
    spec = [tf.TensorSpec((None, None), "float32", "x")]
    module.run = tf.function(lambda x: {"y": tf.reduce_sum(x**2, axis=1)}, input_signature=spec, autograph=False)
    tf.saved_model.save(module, str(tmp_path / "open"), module.run)
    config = AttributionConfig(steps=STEPS, baseline={"constant": [0.5, 0.25]})
    explainer = ExampleExplainer(Explainer.load(ModelConfig(path=str(tmp_path / "open")), config))
    rows = [X[0, :2], X[1, :3], X[2, :2], X[3, :4]]
    starts = [np.array([0.5, 0.25]), None, np.array([0.5, 0.25]), X[4]]
    examples = [*rows[:3], Example(rows[3], baselines=starts[3])]
    found = explainer.explain(examples)
    assert isinstance(found[1], Fault) and found[1].code == "E_BASELINE_SHAPE"
    for row in (0, 2, 3):
        exact = rows[row].astype(np.float64) ** 2 - starts[row].astype(np.float64) ** 2
        # Gauss-Legendre is exact for x²: what is left is rounding, of gradients of at most 2 |x| or 2 |x′|, and of sums
        scale = 2 * np.maximum(np.abs(rows[row]), np.abs(starts[row])) * np.abs(rows[row] - starts[row])
        assert np.all(np.abs(found[row].attributions["x"] - exact) <= (STEPS + 16) * 2.0**-23 * scale)


def test_several_targets_give_an_attribution_each(explainer_of: Explained) -> None:
    explainer = explainer_of(datasets.keras_classifier, target={"top_k": 2})
    whole = explainer.explain({"x": X[:3]})
    found = ExampleExplainer(explainer).explain([{"x": row} for row in X[:3]])
    assert [len(one) for one in found] == [2, 2, 2]  # type: ignore[arg-type]
    flat = [entry for one in found for entry in one]  # type: ignore[union-attr]
    assert [entry.target for entry in flat] == whole.target.tolist()  # type: ignore[union-attr]
    assert [entry.target_rank for entry in flat] == [0, 1] * 3


def test_draws_follow_the_id_and_without_one_the_inputs(explainer_of: Explained) -> None:
    noise = {"kind": "smoothgrad", "draws": 2, "sigma": 0.5}
    explainer = explainer_of(datasets.keras_classifier, noise=noise)
    named = explainer.explain({"x": X[:4]}, LABELS[:4], row_ids=IDS[:4]).attributions["x"]
    single = ExampleExplainer(explainer)

    def explained(order: list[int], named: bool) -> np.ndarray:
        examples = [labelled(row) if named else Example(X[row], int(LABELS[row])) for row in order]
        return np.stack([one.attributions["x"] for one in single.explain(examples)])  # type: ignore[union-attr]

    # noise of σ = 0.5 carries a row at most about 3σ further from 0
    bound = (STEPS + 16) * 2.0**-23 * 3 * (np.abs(X).max() + 3)
    np.testing.assert_allclose(explained([0, 1, 2, 3], named=True), named, rtol=0, atol=bound)
    by_content = explained([0, 1, 2, 3], named=False)
    np.testing.assert_allclose(explained([3, 1], named=False), by_content[[3, 1]], rtol=0, atol=bound)
    assert np.abs(by_content - named).max() > 100 * bound  # other ids draw something else


def test_a_missing_baseline_is_a_fault_of_its_example(explainer_of: Explained) -> None:
    single = ExampleExplainer(explainer_of(datasets.linear, baseline={"column": "start"}))
    found = single.explain([Example(X[0], baselines=X[1]), Example(X[0])])
    assert isinstance(found[0], Attribution)
    assert isinstance(found[1], Fault) and found[1].code == "E_BASELINE_MISSING"


@pytest.mark.parametrize(
    ("example", "size"),
    [(X[0], 16), ({"x": X[0], "age": np.zeros(1, np.float64)}, 24), (Example({"x": X[0]}, 1, baselines=X[0]), 32)],
)
def test_bytes_of_an_example(example: Any, size: int) -> None:
    assert example_bytes(example) == size
