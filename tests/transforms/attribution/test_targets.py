"""Which entry of the output is explained: label, predicted, an index, none; and what is refused."""

import numpy as np
import pytest
from models import EPS, linear, mlp
from pydantic import ValidationError

from transforms.attribution import targets
from transforms.attribution.config import AttributionConfig
from transforms.attribution.explainer import Explainer
from transforms.attribution.target_config import TopK
from transforms.errors import UsageError

N = 6
SPEC = {"x": ([None, N], "float32")}


def rows(count=8):
    return np.random.default_rng(4).normal(size=(count, N)).astype(np.float32)


def test_label_takes_each_rows_own_entry(model_of, explainer):
    model = model_of(mlp, **SPEC)
    fixed = [explainer(model, steps=5, target=index).explain(rows()) for index in range(3)]
    labels = [2, 0, 1, 1, 0, 2, 2, 0]
    found = explainer(model, steps=5, target="label").explain(rows(), target=labels)
    assert found.target.tolist() == labels and found.target.dtype == np.int64
    for row, label in enumerate(labels):
        # one program and one place in the batch: only the entry that is gathered differs
        assert np.array_equal(found.attributions["x"][row], fixed[label].attributions["x"][row])
        assert found.output[row] == fixed[label].output[row]
        assert found.baseline_output[row] == fixed[label].baseline_output[row]
    assert not np.array_equal(fixed[0].attributions["x"], fixed[1].attributions["x"])


def test_one_label_for_all_rows(model_of, explainer):
    model = model_of(mlp, **SPEC)
    found = explainer(model, steps=5, target="label").explain(rows(), target=1)
    assert found.target.tolist() == [1] * 8
    assert np.array_equal(
        found.attributions["x"], explainer(model, steps=5, target=1).explain(rows()).attributions["x"]
    )


def test_predicted_is_the_largest_entry(model_of, explainer):
    model = model_of(mlp, **SPEC)
    found = explainer(model, steps=5, target="predicted").explain(rows())
    table = np.stack([explainer(model, steps=5, target=index).explain(rows()).output for index in range(3)], axis=1)
    assert found.target.tolist() == table.argmax(axis=1).tolist()
    assert len(set(found.target.tolist())) > 1
    assert np.array_equal(found.output, table.max(axis=1))


@pytest.mark.parametrize(
    "fields",
    [
        {"target": "label"},
        {"target": 1, "baseline": ["zeros", {"constant": 2.0}]},
        {"target": "label", "noise": {"kind": "smoothgrad", "draws": 3, "sigma": 5.0}},
        {"target": {"top_k": 2}, "noise": {"kind": "vargrad", "draws": 3, "sigma": 5.0}},
        {"target": "label", "method": "saliency", "noise": {"kind": "smoothgrad", "draws": 3, "sigma": 5.0}},
        {"target": "predicted", "method": "saliency"},
        {"target": "label", "method": "guided_integrated_gradients"},
    ],
)
def test_what_is_predicted_is_told_whatever_is_explained(model_of, explainer, fields):
    model, labels = model_of(mlp, **SPEC), [2, 0, 1, 1, 0, 2, 2, 0]
    wanted = explainer(model, steps=5, target="predicted").explain(rows()).target
    steps = {"steps": 5} if fields.get("method") != "saliency" else {}
    found = explainer(model, **steps, **fields).explain(rows(), target=labels)
    assert found.predicted.tolist() == wanted[found.rows].tolist() != labels
    assert found.predicted.dtype == np.int64


def test_one_gradient_does_not_pay_for_a_prediction(model_of, explainer):
    found = explainer(model_of(mlp, **SPEC), method="saliency", target="label").explain(rows(), target=1)
    assert found.predicted is None


def test_a_model_with_one_output_has_no_target(model_of, explainer):
    model = model_of(linear, x=([None, 4], "float32"), w=([None, 4], "float32"), c=([None, 1], "float32"))
    ones = {"x": np.ones((2, 4), np.float32), "w": np.ones((2, 4), np.float32), "c": np.ones((2, 1), np.float32)}
    found = explainer(model, steps=5).explain(ones)
    assert found.target is None and found.predicted is None
    # w · x + c with everything from 0 to 1: 5, in a dozen roundings
    np.testing.assert_allclose(found.output, 5, rtol=12 * EPS)


@pytest.mark.parametrize(
    ("target", "classes", "code"),
    [
        (0, 1, "E_TARGET_NEEDLESS"),
        ("label", 1, "E_TARGET_NEEDLESS"),
        ("predicted", 1, "E_TARGET_NEEDLESS"),
        (None, 3, "E_TARGET_MISSING"),
        (3, 3, "E_TARGET_RANGE"),
        (1000, 3, "E_TARGET_RANGE"),
        (TopK(top_k=1), 1, "E_TARGET_NEEDLESS"),
        (TopK(top_k=4), 3, "E_TARGET_RANGE"),
    ],
)
def test_a_target_that_cannot_fit_is_refused(target, classes, code):
    with pytest.raises(UsageError) as refused:
        targets.check_target(target, classes)
    assert refused.value.code == code


FITTING = [(None, 1), (0, 3), (2, 3), ("label", 3), ("predicted", 2), (TopK(top_k=1), 3), (TopK(top_k=3), 3)]


@pytest.mark.parametrize(("target", "classes"), FITTING)
def test_a_target_that_fits_is_not(target, classes):
    targets.check_target(target, classes)


def test_the_explainer_refuses_before_it_computes(model_of):
    with pytest.raises(UsageError, match=r"E_TARGET_RANGE: target 3 is out of range: .* entries 0 to 2"):
        Explainer(model_of(mlp, **SPEC), AttributionConfig(target=3))
    with pytest.raises(UsageError, match="E_TARGET_MISSING"):
        Explainer(model_of(mlp, **SPEC), AttributionConfig())


@pytest.mark.parametrize("labels", [[0, 3, 1], [0, -1, 1]])
def test_a_label_out_of_range_is_refused_with_its_row(model_of, explainer, labels):
    with pytest.raises(UsageError, match=rf"E_TARGET_RANGE: row 1: target {labels[1]} is out of range"):
        explainer(model_of(mlp, **SPEC), steps=5, target="label").explain(rows(3), target=labels)


def test_labels_that_are_not_given_are_missed(model_of, explainer):
    with pytest.raises(UsageError, match="E_TARGET_LABELS"):
        explainer(model_of(mlp, **SPEC), steps=5, target="label").explain(rows(3))


@pytest.mark.parametrize("labels", [[0, 1], 0.5, [0.0, 1.5, 2.0], ["0", "1", "2"], [[0], [1], [2]]])
def test_labels_that_are_no_integers_one_a_row_are_refused(model_of, explainer, labels):
    with pytest.raises(UsageError, match="E_TARGET_LABELS"):
        explainer(model_of(mlp, **SPEC), steps=5, target="label").explain(rows(3), target=labels)


def test_label_faults_names_every_bad_row():
    faults = targets.label_faults(np.array([0, 5, 2, -1, 3]), 3)
    assert sorted(faults) == [1, 3, 4]
    assert {fault.code for fault in faults.values()} == {"E_TARGET_RANGE"}
    assert "target 5" in faults[1].message and "0 to 2" in faults[1].message


@pytest.mark.parametrize(
    ("target", "index"),
    [
        ({"name": "b"}, 1),
        ({"contrast": ["c", 0]}, {"contrast": [2, 0]}),
        ({"reduce": "max", "of": {"name": "c"}}, {"reduce": "max", "of": 2}),
        ({"reduce": "sum", "of": {"contrast": ["a", "b"]}}, {"reduce": "sum", "of": {"contrast": [0, 1]}}),
        ("label", "label"),
        ({"top_k": 2}, {"top_k": 2}),
    ],
)
def test_names_become_indices(target, index):
    named, plain = (AttributionConfig(target=one).target for one in (target, index))
    assert targets.by_index(named, ["a", "b", "c"]) == targets.by_index(plain, []) == plain


NO_TARGETS = [
    *(-1, "best", 1.5, [0, 1]),
    *({"top_k": 0}, {"top_k": 1.5}, {"top": 3}, {"name": 3}, {"contrast": [0]}, {"contrast": [0, -1]}),
    *({"index": []}, {"index": [0, -1]}, {"index": 3}, {"reduce": "median"}, {"of": 1}, {"function": None}),
    {"reduce": "mean", "of": {"reduce": "mean"}},
]


@pytest.mark.parametrize("target", NO_TARGETS)
def test_targets_that_mean_nothing_are_refused_by_the_configuration(target):
    with pytest.raises(ValidationError, match="target"):
        AttributionConfig(target=target)
