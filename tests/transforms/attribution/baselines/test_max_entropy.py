"""The input of the greatest entropy: closed forms, and a real network; and what has none."""

import keras
import models
import numpy as np
import pytest
import tensorflow as tf

from pipeline import demo
from transforms.attribution.baseline_config import EntropySearch
from transforms.attribution.baselines.max_entropy import Domain, check_max_entropy, search
from transforms.attribution.baselines.references import references_of_rows
from transforms.attribution.batch import Batch
from transforms.attribution.config import AttributionConfig, ModelConfig
from transforms.attribution.explainer import Explainer
from transforms.attribution.model.model import load_model
from transforms.attribution.model.probabilities import Reading, entropy_share, known_reading, likely_reading
from transforms.errors import UsageError

X = ([None, 1], "float32")
ENTROPY = {"max_entropy": {}}


def two_logits(x):
    """Of two classes: 3x − 1.2 and 0."""
    return tf.concat([3 * x - 1.2, tf.zeros_like(x)], axis=1)


def two_shares(x):
    """Their softmax, written out: no op says so."""
    grown = tf.exp(two_logits(x))
    return grown / tf.reduce_sum(grown, axis=1, keepdims=True)


def two_softmax(x):
    """Their softmax."""
    return tf.nn.softmax(two_logits(x))


def one_logit(x):
    """3x − 1.2."""
    return 3 * x - 1.2


def one_sigmoid(x):
    """σ(3x − 1.2), as [batch]."""
    return tf.squeeze(tf.sigmoid(one_logit(x)), 1)


def three_yes_or_no(x):
    """Three of them, all unsure at the same place."""
    return tf.sigmoid(one_logit(x) * tf.constant([[1.0, -2.0, 0.5]]))


def fixed(x):
    """two_logits, of a batch that is fixed."""
    return two_logits(x)


def domain(low=-1.0, high=1.0, mean=0.9):
    return {"x": Domain(*(np.array([value], np.float32) for value in (low, high, mean)))}


def found_at(model, settings=None, **domain_fields):
    given = EntropySearch(**{"entropy": 1.0, "steps": 400, "weight": 0.0} | (settings or {}))
    return float(search(model, domain(**domain_fields), given)["x"][0])


@pytest.mark.parametrize(
    ("function", "activation", "settings"),
    [
        (two_logits, None, {}),
        (two_logits, "softmax", {}),
        (two_shares, None, {}),
        (two_softmax, None, {}),
        (one_logit, "sigmoid", {}),
        (one_logit, None, {"output": "logits"}),
        (one_sigmoid, None, {}),
        (one_sigmoid, None, {"output": "probabilities"}),
        (three_yes_or_no, None, {}),
    ],
)
def test_where_two_classes_are_equal(model_of, function, activation, settings):
    place = found_at(model_of(function, activation, x=X), settings)
    # 3x = 1.2; the rate falls to 0 over the steps, of which the last tenth moves less than 0.01 ranges; the entropy
    # is flat at its top: 2^-23 of it is a distance of 2e-4
    assert abs(place - 0.4) < 5e-3


def test_a_batch_that_is_fixed(model_of):
    assert abs(found_at(model_of(fixed, x=([5, 1], "float32"))) - 0.4) < 5e-3


@pytest.mark.parametrize(("low", "high", "wanted"), [(0.6, 2.0, 0.6), (-3.0, 0.1, 0.1), (0.7, 0.7, 0.7)])
def test_it_stays_in_the_domain(model_of, low, high, wanted):
    mean = np.float32((low + high) / 2)
    place = found_at(model_of(two_logits, x=X), low=low, high=high, mean=mean)
    assert np.float32(low) <= place <= np.float32(high) and place == np.float32(wanted)


@pytest.mark.parametrize("weight", [0.5, 3.0])
def test_it_stays_near_the_mean(model_of, weight):
    # −½(log p + log(1−p)) + weight·(u − u₀)², u = (x + 1)/2; its slope is 0 at one place, found by halving
    def slope(x):
        logit = 3 * x - 1.2
        return 3 * (1 / (1 + np.exp(-logit)) - 0.5) + weight * ((x + 1) / 2 - 0.95)

    low, high = -1.0, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if slope(middle) < 0 else (low, middle)
    assert 0.42 < low < 0.9
    assert abs(found_at(model_of(two_logits, x=X), {"weight": weight}) - low) < 5e-3


def test_it_ends_as_soon_as_it_is_unsure_enough(model_of):
    place = found_at(model_of(two_logits, x=X), {"entropy": 0.9, "rate": 0.01})
    share = entropy_share(np.array([[3 * place - 1.2, 0]]), Reading("softmax", True))[0]
    # a step is 0.02 at most, and the entropy's slope below 3·0.4 there
    assert 0.9 <= share < 0.9 + 0.02 * 1.2


def test_a_sure_start_has_a_slope(model_of):
    # at x = 30 a softmax has rounded to 1 and 0
    for function, activation in ((two_logits, None), (two_logits, "softmax"), (one_logit, "sigmoid")):
        model = model_of(function, activation, x=X)
        assert abs(found_at(model, low=-40.0, high=40.0, mean=30.0) - 0.4) < 0.1


def test_digits(tmp_path):
    keras.utils.set_random_seed(1)
    digits = demo.split(*demo.load_digits())
    small = keras.Sequential(
        [
            keras.Input((28, 28, 1), name="image"),
            keras.layers.Conv2D(8, 5, strides=3, activation="relu"),
            keras.layers.Conv2D(8, 3, strides=2, activation="relu"),
            keras.layers.Flatten(),
            keras.layers.Dense(10),
        ]
    )
    small.compile(keras.optimizers.Adam(5e-3), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    images = digits.train_images / np.float32(255)
    small.fit(images, digits.train_labels, epochs=5, verbose=0)
    small.save(tmp_path / "digits.keras")
    assert demo.accuracy(small, digits.held_out_images, digits.held_out_labels) > 0.9
    held_out = digits.held_out_images / np.float32(255)
    for activation in (None, "softmax"):
        config = AttributionConfig(target="label", baseline="max_entropy")
        model = load_model(ModelConfig(path=str(tmp_path / "digits.keras"), activation=activation))
        baseline = references_of_rows({"image": held_out}, config, model).arrays["image"]["max_entropy"]
        logits = small.predict(baseline[np.newaxis], verbose=0).astype(np.float64)
        p = np.exp(logits) / np.exp(logits).sum()
        assert -(p * np.log(p)).sum() / np.log(10) >= 0.99
        assert (held_out.min(axis=0) <= baseline).all() and (baseline <= held_out.max(axis=0)).all()
        # the mean, where it starts, is not unsure
        at_mean = small.predict(held_out.mean(axis=0, keepdims=True), verbose=0).astype(np.float64)
        assert entropy_share(at_mean, Reading("softmax", True))[0] < 0.9


REFUSED = [
    ({"x": ([None, 1], "float32")}, one_logit, ENTROPY, "one output"),
    ({"x": ([None, 6], "float32"), "ids": ([None], "int64")}, models.gated, ENTROPY, r"held at its inputs \['ids'\]"),
    ({"a": ([None, 6], "float32"), "b": ([None, 4], "float32")}, models.two_narrowing, {"a": ENTROPY}, "each of"),
    (
        {"a": ([None, 6], "float32"), "b": ([None, 4], "float32")},
        models.two_narrowing,
        {"a": ENTROPY, "b": {"max_entropy": {"steps": 3}}},
        "each of",
    ),
    ({"x": ([None, 6], "float32")}, models.mlp, ["max_entropy", {"max_entropy": {"steps": 3}}], "same settings"),
]


@pytest.mark.parametrize(("specs", "function", "baseline", "why"), REFUSED)
def test_what_has_none_is_refused_before_anything_is_computed(model_of, specs, function, baseline, why):
    model = model_of(function, **specs)
    config = AttributionConfig(baseline=baseline, target=0 if model.classes > 1 else None)
    with pytest.raises(UsageError, match=f"E_BASELINE_ENTROPY.*{why}"):
        Explainer(model, config)


def test_several_inputs_are_looked_for_together(model_of):
    model = model_of(models.two_narrowing, a=([None, 6], "float32"), b=([None, 4], "float32"))
    config = AttributionConfig(baseline=["zeros", "max_entropy"], target=0)
    check_max_entropy(config, model)
    rows = {name: np.random.default_rng(0).normal(size=(9, size)) for name, size in (("a", 6), ("b", 4))}
    found = references_of_rows(rows, config, model).arrays
    start = {name: found[name]["max_entropy"][np.newaxis] for name in rows}
    outputs = Explainer(model, AttributionConfig(target=0)).outputs(Batch(start))
    assert entropy_share(outputs, Reading("softmax", True))[0] >= 0.99


def test_an_output_that_is_no_number_is_refused(model_of):
    model = model_of(models.status_zoo, x=([None, 3], "float32"))
    domains = {"x": Domain(*(np.full(3, value, np.float32) for value in (-9, 9, -5)))}
    with pytest.raises(UsageError, match=r"E_BASELINE_ENTROPY.*not a number"):
        search(model, domains, EntropySearch(output="logits"))


@pytest.mark.parametrize(
    ("function", "activation", "wanted"),
    [
        (two_softmax, None, Reading("softmax", False)),
        (two_logits, "softmax", Reading("softmax", False)),
        (two_logits, "sigmoid", Reading("sigmoid", False)),
        (one_sigmoid, None, Reading("sigmoid", False)),
        (three_yes_or_no, None, Reading("sigmoid", False)),
        (two_logits, None, None),
        (one_logit, None, None),
        (two_shares, None, None),
    ],
)
def test_what_a_model_says_of_its_output(model_of, function, activation, wanted):
    assert known_reading(model_of(function, activation, x=X)) == wanted


@pytest.mark.parametrize("kind", ["keras", "exported"])
@pytest.mark.parametrize(("units", "activation", "wanted"), [(3, "softmax", "softmax"), (1, "sigmoid", "sigmoid")])
def test_what_a_keras_model_says_of_its_output(tmp_path, kind, units, activation, wanted):
    x = keras.Input((4,), name="x")
    path = models.saved_keras(tmp_path, keras.Model(x, keras.layers.Dense(units, activation=activation)(x)), kind)
    assert known_reading(load_model(ModelConfig(path=path))) == Reading(wanted, False)


@pytest.mark.parametrize(
    ("outputs", "wanted"),
    [
        ([[0.2, 0.8], [1.0, 0.0]], Reading("softmax", False)),
        ([[0.2, 0.8], [1.0, 0.1]], Reading("softmax", True)),
        ([[-0.2, 1.2]], Reading("softmax", True)),
        ([[0.5]], None),
    ],
)
def test_what_numbers_look_like(outputs, wanted):
    assert likely_reading(np.array(outputs)) == wanted


@pytest.mark.parametrize(
    ("outputs", "reading", "wanted"),
    [
        ([1.0, 0.0], Reading("softmax", False), 0.0),
        ([0.25, 0.25, 0.25, 0.25], Reading("softmax", False), 1.0),
        ([0.5, 0.5, 0.0, 0.0], Reading("softmax", False), 0.5),
        ([1000.0, -1000.0], Reading("softmax", True), 0.0),
        ([7.0, 7.0, 7.0], Reading("softmax", True), 1.0),
        ([0.5, 1.0], Reading("sigmoid", False), 0.5),
        ([0.0, 1000.0, -1000.0, 0.0], Reading("sigmoid", True), 0.5),
    ],
)
def test_the_share_of_the_greatest_entropy(outputs, reading, wanted):
    assert entropy_share(np.array([outputs]), reading)[0] == pytest.approx(wanted, abs=1e-12)
