"""Objectives: differences, positions, reductions and functions of outputs of any rank, against closed forms.

`along_time` and `per_pixel` give each position an output of its own input alone. Of a sum of such outputs, integrated
gradients give every input just the change of its own term, whatever the curve: that is the oracle here.
"""

import numpy as np
import pytest
import tensorflow as tf
from models import EPS, TILT, WIDE, along_time, linear, mlp, narrowing_in_time, per_pixel, rounding, save_function

from transforms.attribution.config import AttributionConfig, ModelConfig
from transforms.attribution.explainer import Explainer
from transforms.attribution.model import freezing as module
from transforms.attribution.model.model import load_model
from transforms.errors import UsageError

T, SIDES = 5, (2, 3)
TIME, IMAGE, FLAT = {"x": ([None, T], "float32")}, {"x": ([None, *SIDES], "float32")}, {"x": ([None, 6], "float32")}
# the gradients along a path are polynomials, of degree 3 at most: 2 nodes of Gauss-Legendre are exact
STEPS = 2


def draw(shape, rows=7):
    return np.random.default_rng(8).normal(size=(rows, *shape)).astype(np.float32)


def own(x):
    """The outputs of `along_time` and `per_pixel` in float64, [rows, *positions, 3]; they are 0 at 0."""
    x = x.astype(np.float64)[..., np.newaxis]
    return WIDE * x**2 + TILT * x


def bound(x):
    """Σ |weight · gradient| · |D| at one position, with every term absolute: the slope is at most 2 WIDE |x| + TILT."""
    x = np.abs(x.astype(np.float64))
    return (2 * WIDE.max() * x + np.abs(TILT).max()) * x


def assert_is(found, wanted, scale, steps=STEPS):
    """Attributions and output are the closed form's, and completeness holds, to rounding."""
    rows = len(wanted)
    values, allowed = found.attributions["x"], rounding(steps, scale)
    assert values.shape == wanted.shape and (np.abs(values - wanted) <= allowed).all()
    assert np.abs(wanted).max() > 1000 * allowed.max(), "0 would do"
    total = allowed.reshape(rows, -1).sum(axis=1)
    assert (np.abs(found.output - wanted.reshape(rows, -1).sum(axis=1)) <= total).all()
    assert (np.abs(found.delta) <= 2 * total).all()


def test_a_contrast_is_the_difference_of_its_two_entries(model_of, explainer):
    model, x, steps = model_of(mlp, **FLAT), draw((6,)), 7
    one, other = (explainer(model, steps=steps, target=index).explain(x) for index in (2, 0))
    found = explainer(model, steps=steps, target={"contrast": [2, 0]}).explain(x)
    wanted = one.attributions["x"].astype(np.float64) - other.attributions["x"]
    # both sums lose what `rounding` says of Σ|weight · gradient| · |D|; |gradient| is at most Σ |first| |second|
    random = np.random.default_rng(7)
    slope = np.abs(random.normal(size=(6, 8)) / 3) @ np.abs(random.normal(size=(8, 3)))
    assert (np.abs(found.attributions["x"] - wanted) <= 2 * rounding(steps, slope.max(axis=1) * np.abs(x))).all()
    np.testing.assert_allclose(found.output, one.output - other.output, rtol=0, atol=4 * EPS * np.abs(one.output).max())
    assert found.target is None and found.target_rank is None
    assert np.abs(wanted).max() > 0.1, "nothing would do"


def test_a_contrast_in_steps_auto_is_complete(model_of, explainer):
    found = explainer(model_of(mlp, **FLAT), target={"contrast": [1, 2]}, tolerance=0.001).explain(draw((6,)))
    assert set(found.status) == {"ok"} and (found.relative_delta <= 0.001).all()


@pytest.mark.parametrize("index", [[0, 2], [T - 1, 0]])
def test_one_entry_of_a_sequence(model_of, explainer, index):
    x = draw((T,))
    found = explainer(model_of(along_time, **TIME), steps=STEPS, target={"index": index}).explain(x)
    wanted = np.zeros(x.shape)
    wanted[:, index[0]] = own(x)[:, index[0], index[1]]
    assert_is(found, wanted, bound(x))
    assert found.target is None


def test_one_entry_of_an_image(model_of, explainer):
    x = draw(SIDES)
    found = explainer(model_of(per_pixel, **IMAGE), steps=STEPS, target={"index": [1, 2, 1]}).explain(x)
    wanted = np.zeros(x.shape)
    wanted[:, 1, 2] = own(x)[:, 1, 2, 1]
    assert_is(found, wanted, bound(x))


def test_an_index_of_a_table_is_that_entry(model_of, explainer):
    model, x = model_of(mlp, **FLAT), draw((6,))
    found = explainer(model, steps=5, target={"index": [1]}).explain(x)
    wanted = explainer(model, steps=5, target=1).explain(x)
    # the same products in another program: a rounding each
    scale = np.abs(wanted.attributions["x"]).max()
    np.testing.assert_allclose(found.attributions["x"], wanted.attributions["x"], rtol=0, atol=16 * EPS * scale)
    assert found.target is None and wanted.target.tolist() == [1] * len(x)


@pytest.mark.parametrize(("function", "specs", "shape"), [(along_time, TIME, (T,)), (per_pixel, IMAGE, SIDES)])
@pytest.mark.parametrize("reduce", ["sum", "mean"])
def test_a_sum_gives_each_position_its_own(model_of, explainer, function, specs, shape, reduce):
    x = draw(shape)
    found = explainer(model_of(function, **specs), steps=STEPS, target={"reduce": reduce, "of": 2}).explain(x)
    share = 1 if reduce == "sum" else 1 / np.prod(shape)
    assert_is(found, share * own(x)[..., 2], bound(x) * share)
    assert found.target.tolist() == [2] * len(x)


def test_a_maximum_gives_all_to_the_largest_position(model_of, explainer):
    # of positive values, the largest position of x is that of every point on its path
    x = np.abs(draw(SIDES)) + 0.1
    found = explainer(model_of(per_pixel, **IMAGE), steps=STEPS, target={"reduce": "max", "of": 1}).explain(x)
    largest = x == x.max(axis=(1, 2), keepdims=True)
    assert_is(found, np.where(largest, own(x)[..., 1], 0), bound(x))


def test_each_row_its_label_its_prediction_or_its_largest(model_of, explainer):
    model, x = model_of(along_time, **TIME), draw((T,))
    table, labels = own(x).sum(axis=1), [0, 1, 2, 2, 1, 0, 1]

    def explain(of, **given):
        return explainer(model, steps=STEPS, target={"reduce": "sum", "of": of}).explain(x, **given)

    rows = np.arange(len(x))
    found = explain("label", target=labels)
    assert found.target.tolist() == labels
    assert_is(found, own(x)[rows, :, labels], bound(x))
    found = explain("predicted")
    assert found.target.tolist() == table.argmax(axis=1).tolist() and len(set(found.target.tolist())) > 1
    assert_is(found, own(x)[rows, :, found.target], bound(x))
    found, order = explain({"top_k": 2}), np.argsort(-table, axis=1)[:, :2]
    assert found.target.tolist() == order.ravel().tolist()
    assert found.target_rank.tolist() == [0, 1] * len(x)
    assert_is(found, own(x)[np.repeat(rows, 2), :, order.ravel()], bound(np.repeat(x, 2, axis=0)))


def test_a_contrast_of_a_sum(model_of, explainer):
    x = draw((T,))
    target = {"reduce": "sum", "of": {"contrast": [0, 2]}}
    found = explainer(model_of(along_time, **TIME), steps=STEPS, target=target).explain(x)
    assert_is(found, own(x)[..., 0] - own(x)[..., 2], 2 * bound(x))
    assert found.target is None


def test_softmax_is_over_the_last_axis(model_of, explainer):
    x, steps = draw((T,)), 64
    model = model_of(along_time, activation="softmax", **TIME)
    found = explainer(model, steps=steps, target={"reduce": "sum", "of": 0}).explain(x)
    exact = tf.nn.softmax(own(x)).numpy()[..., 0] - 1 / 3
    # 64 nodes leave rounding alone: with 128 the closed form is met to the same digits
    assert (np.abs(found.attributions["x"] - exact) <= rounding(steps, 1 + bound(x))).all()
    np.testing.assert_allclose(found.baseline_output, T / 3, rtol=8 * EPS)


def squares(x):
    """[batch, 4] → [batch, 4, 1]."""
    return x[:, :, None] ** 2


def test_a_last_axis_of_one_entry_needs_no_class(model_of, explainer):
    x = draw((4,))
    found = explainer(model_of(squares, x=([None, 4], "float32")), steps=1, target={"reduce": "sum"}).explain(x)
    assert found.target is None
    assert_is(found, x.astype(np.float64) ** 2, 2 * x**2, steps=1)


@pytest.fixture
def functions(tmp_path, monkeypatch):
    """A module of a user's in the current directory."""
    lines = (
        "import tensorflow as tf",
        "def crossed(output):",
        "    return tf.reduce_sum(output[..., 0] * output[..., 1], 1)",
    )
    (tmp_path / "crossing.py").write_text("\n".join(lines))
    monkeypatch.chdir(tmp_path)


@pytest.mark.usefixtures("functions")
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_function_of_the_whole_output(model_of, dtype):
    x = draw((T,))
    config = AttributionConfig(steps=STEPS, target={"function": "crossing:crossed"})
    engine = Explainer(model_of(along_time_of[dtype], x=([None, T], dtype)), config, trusted=["crossing"])
    found = engine.explain(x.astype(dtype))
    y = own(x)
    # the slope of a product: each factor's slope times the other factor
    assert_is(found, y[..., 0] * y[..., 1], 2 * bound(x) * (WIDE.max() * x**2 + np.abs(x)))
    assert found.target is None


def in_float64(x):
    return tf.cast(WIDE, x.dtype) * x[:, :, None] ** 2 + tf.cast(TILT, x.dtype) * x[:, :, None]


along_time_of = {"float32": along_time, "float64": in_float64}


def test_a_stem_changes_nothing(model_of, explainer):
    x, specs = draw((8,)), {"x": ([None, 8], "float32")}
    hoisted, whole = model_of(narrowing_in_time, **specs), model_of(narrowing_in_time, hoist=False, **specs)
    assert hoisted.stem is not None and whole.stem is None
    for target in ({"reduce": "mean", "of": {"contrast": [0, 1]}}, {"index": [1, 1]}, {"reduce": "max", "of": 0}):
        one, other = (explainer(model, steps=5, target=target).explain(x) for model in (hoisted, whole))
        scale = np.abs(other.attributions["x"]).max()
        np.testing.assert_allclose(one.attributions["x"], other.attributions["x"], rtol=0, atol=32 * EPS * scale)
        assert scale > 0.01


def test_bfloat16_and_a_model_that_is_not_frozen(model_of, tmp_path, monkeypatch):
    x, target, tolerance = draw((6,)), {"contrast": [0, 1]}, 0.02
    path = save_function(tmp_path / "saved", mlp, **FLAT)
    model = load_model(ModelConfig(path=path))
    plain = Explainer(model, AttributionConfig(target=target, tolerance=tolerance))
    wanted = plain.explain(x).attributions["x"]
    low = AttributionConfig(target=target, precision="bfloat16", tolerance=tolerance)
    found = Explainer(model, low).explain(x).attributions["x"]
    # each is within its tolerance of the truth
    assert (np.abs(found - wanted).sum(axis=1) <= 2 * tolerance * np.abs(wanted).sum(axis=1)).all()
    assert not np.array_equal(found, wanted), "nothing was computed in bfloat16"
    monkeypatch.setattr(module, "MAX_FROZEN_BYTES", -1)
    free = load_model(ModelConfig(path=path))
    assert not free.frozen
    found = Explainer(free, plain.config).explain(x).attributions["x"]
    np.testing.assert_allclose(found, wanted, rtol=0, atol=32 * EPS * np.abs(wanted).max())


def test_names_stand_for_indices(model_of, explainer, tmp_path):
    path, x, names = save_function(tmp_path / "saved", mlp, **FLAT), draw((6,), rows=3), ("cat", "dog", "emu")
    (tmp_path / "classes.txt").write_text("cat\ndog\nemu\n")
    model = load_model(ModelConfig(path=path, classes=str(tmp_path / "classes.txt")))
    assert model.output.names == names
    for target, index in (({"name": "emu"}, 2), ({"contrast": ["emu", "cat"]}, {"contrast": [2, 0]})):
        named, plain = (Explainer(model, AttributionConfig(steps=3, target=one)).explain(x) for one in (target, index))
        assert np.array_equal(named.attributions["x"], plain.attributions["x"])
        assert (named.target is None) == (plain.target is None) and named.output.tolist() == plain.output.tolist()
    labelled = Explainer(model, AttributionConfig(steps=3, target="label"))
    assert labelled.explain(x, target=["dog", "emu", "cat"]).target.tolist() == [1, 2, 0]
    assert labelled.explain(x, target="dog").target.tolist() == [1, 1, 1]
    with pytest.raises(UsageError, match=r"E_TARGET_NAME: 'doge' is none of the 3 .* nearest is 'dog'"):
        labelled.explain(x, target=["dog", "emu", "doge"])


REFUSED = [
    (along_time, TIME, {"target": 0}, "E_MODEL_OUTPUT_SHAPE", r"float32 \[batch, 5, 3\]"),
    (along_time, TIME, {"target": {"contrast": [0, 1]}}, "E_MODEL_OUTPUT_SHAPE", "reduce"),
    (along_time, TIME, {"target": {"index": [1]}}, "E_TARGET_RANK", r"\[1\]"),
    (along_time, TIME, {"target": {"index": [5, 0]}}, "E_TARGET_RANGE", r"\[5, 0\]"),
    (along_time, TIME, {"target": {"index": [0, 3]}}, "E_TARGET_RANGE", r"\[0, 3\]"),
    (along_time, TIME, {"target": {"reduce": "mean"}}, "E_TARGET_MISSING", "of"),
    (along_time, TIME, {"target": {"reduce": "mean", "of": 3}}, "E_TARGET_RANGE", "0 to 2"),
    (along_time, TIME, {"target": {"reduce": "mean", "of": {"top_k": 4}}}, "E_TARGET_RANGE", "top 4"),
    (squares, {"x": ([None, 4], "float32")}, {"target": {"reduce": "sum", "of": 0}}, "E_TARGET_NEEDLESS", "one value"),
    (mlp, FLAT, {"target": {"reduce": "sum", "of": 0}}, "E_TARGET_RANK", r"float32 \[batch, 3\]"),
    (mlp, FLAT, {"target": {"contrast": [0, 3]}}, "E_TARGET_RANGE", "0 to 2"),
    (mlp, FLAT, {"target": {"contrast": [1, 1]}}, "E_TARGET_RANGE", "itself"),
    (mlp, FLAT, {"target": {"name": "cat"}}, "E_TARGET_NAME", "no model.classes"),
    (mlp, FLAT, {"target": {"function": "nowhere:to"}}, "E_CODE_UNTRUSTED", "--trust nowhere"),
]


@pytest.mark.parametrize(("function", "specs", "fields", "code", "says"), REFUSED)
def test_a_target_that_does_not_fit_the_output_is_refused(model_of, function, specs, fields, code, says):
    with pytest.raises(UsageError, match=f"{code}: .*{says}"):
        Explainer(model_of(function, **specs), AttributionConfig(**fields))


def test_a_contrast_of_one_output_is_needless(model_of):
    specs = {"x": ([None, 4], "float32"), "w": ([None, 4], "float32"), "c": ([None, 1], "float32")}
    with pytest.raises(UsageError, match="E_TARGET_NEEDLESS"):
        Explainer(model_of(linear, **specs), AttributionConfig(target={"contrast": [0, 0]}))


@pytest.mark.parametrize("names", [("a", "b"), ("a", "b", "c", "d")])
def test_names_for_another_number_of_classes_are_refused(tmp_path, names):
    path = save_function(tmp_path / "saved", mlp, **FLAT)
    with pytest.raises(UsageError, match=rf"E_TARGET_CLASSES: model.classes has {len(names)} names, .*\[batch, 3\]"):
        load_model(ModelConfig(path=path, classes=names))
