"""What a model's files tell, against the loaded model: where they tell anything it is the same, and nothing is run."""

import anatomy_models
import keras
import models
import pytest
import tensorflow as tf
from keras import layers

from transforms.attribution.config import AttributionConfig, ModelConfig
from transforms.attribution.engine.call_size import planned_points
from transforms.attribution.explainer import Explainer
from transforms.attribution.methods import without_code
from transforms.attribution.model import anatomy, freezing
from transforms.attribution.model.model import load_model
from transforms.attribution.model.outline import outline_of
from transforms.errors import UsageError

TWO = {"first": ([None, 2], "float32"), "second": ([None, 1], "float32")}
SIX = {"x": ([None, 6], "float32")}


def saved(function, **specs):
    """What makes a SavedModel of a function."""
    return lambda folder: models.save_function(folder / "saved", function, **specs)


def kept(make, kind="keras"):
    """What makes a .keras file, or a SavedModel, of what `make` gives."""
    return lambda folder: models.saved_keras(folder, make(), kind)


def ends_as(form):
    def make():
        a, b, classes, score = models.two_ends()
        if form is list:
            return keras.Model([a, b], [classes, score])
        # neither in the order of their names
        return keras.Model({"b": b, "a": a}, {"score": score, "classes": classes})

    return make


def of_integers(function, **keywords):
    def make():
        x = keras.Input((2, 2, 1), dtype="uint8", name="x", **keywords)
        return keras.Model(x, layers.Dense(2)(layers.Flatten()(function(x))))

    return make


def in_a_sequence():
    first = keras.Input((2, 2, 1), dtype="uint8", name="x")
    return keras.Sequential([first, layers.Rescaling(0.5), layers.Flatten(), layers.Dense(2)])


def two_uses():
    x, age = keras.Input((3,), dtype="int32", name="x"), keras.Input((3,), name="age")
    parts = [keras.ops.cast(x, "float32"), keras.ops.cast(x > 1, "float32"), age]
    return keras.Model([x, age], layers.Dense(1)(layers.Concatenate()(parts)))


def two_outputs_of_integers():
    x = keras.Input((3,), dtype="int32", name="x")
    real, mask = layers.Dense(1, name="real")(layers.Rescaling(2.0)(x)), keras.ops.cast(x > 1, "float32")
    return keras.Model(x, {"real": real, "mask": mask})


def tokens():
    x = keras.Input((3,), dtype="int32", name="x")
    return keras.Model(x, layers.Dense(1)(layers.Flatten()(layers.Embedding(7, 2, name="vectors")(x))))


def masked():
    x = keras.Input((3,), dtype="int32", name="x")
    age = keras.Input((2,), name="age")
    summed = layers.GlobalAveragePooling1D()(layers.Embedding(7, 2, mask_zero=True)(x))
    return keras.Model([x, age], layers.Dense(1)(layers.Concatenate()([summed, age])))


def with_layers():
    """An input [5, 2] or longer, convolved along itself."""
    x = keras.Input((None, 2), name="x")
    hidden = layers.Conv1D(3, 1, activation="tanh", name="hidden")(x)
    pooled = layers.GlobalAveragePooling1D(name="pooled")(hidden)
    return keras.Model(x, layers.Dense(2, name="end")(pooled))


def cast(x):
    """Identities and a function of its own between an input and its cast."""
    inner = tf.function(lambda value: tf.cast(tf.identity(value), tf.float32) * 2)
    return tf.reduce_sum(inner(tf.identity(x)), axis=1)


def compared(x, y):
    return tf.reduce_sum(y * tf.cast(x, tf.float32) * tf.cast(x > 1, tf.float32), axis=1)


def cast_in_vain(x, y):
    """An integer whose cast is used for nothing."""
    tf.cast(x, tf.float32)
    return tf.reduce_sum(y, axis=1)


def looked_up(ids, y):
    return tf.reduce_sum(tf.gather(tf.constant([1.0, 2.0, 3.0]), ids) * y, axis=1)


def bools(x, y):
    return tf.reduce_sum(tf.where(x, y, 2 * y), axis=1)


INT = {"x": ([None, 3], "int32")}
FLOAT_TOO = INT | {"y": ([None, 3], "float32")}
KNOWN = {
    "function": (saved(models.mlp, **SIX), {}),
    "several outputs": (saved(models.by_name, **TWO), {"output": "both"}),
    "an output by number": (saved(models.by_name, **TWO), {"output": 0}),
    "twelve outputs": (saved(models.many_outputs, x=([None, 1], "float32")), {"output": 3}),
    "two inputs": (saved(models.two_narrowing, a=([None, 6], "float32"), b=([None, None], "float32")), {}),
    "half": (saved(models.mlp, x=([None, 6], "float16")), {}),
    "double": (saved(models.mlp, x=([None, 6], "float64")), {"activation": "softmax", "classes": ("a", "b", "c")}),
    "fixed batch": (saved(models.mlp, x=([4, 6], "float32")), {}),
    "rank one": (saved(models.rank_one, x=([None, 2], "float32")), {}),
    "rank three": (saved(models.rank_three, x=([None, 2], "float32")), {}),
    "loop": (saved(models.looped, x=([None, 3], "float32")), {}),
    "bytes that are cast": (saved(models.scaled, pixels=([None, 2, 2], "uint8")), {}),
    "integers cast in a function": (saved(cast, **INT), {}),
    "a gather": (saved(models.gated, x=([None, 6], "float32"), ids=([None], "int32")), {}),
    "a gather of a table": (saved(looked_up, ids=([None, 3], "int64"), y=([None, 3], "float32")), {}),
    "bools": (saved(bools, **FLOAT_TOO | {"x": ([None, 3], "bool")}), {}),
    "sequence": (kept(anatomy_models.sequential), {}),
    "nested": (kept(anatomy_models.nested), {"layer": "same"}),
    "within a nested one": (kept(anatomy_models.nested), {"layer": "inner/same"}),
    "inference": (kept(models.inference_layers), {}),
    "inference, exported": (kept(models.inference_layers, "exported"), {}),
    "lists of ends": (kept(ends_as(list)), {"output": 1}),
    "dicts of ends": (kept(ends_as(dict)), {"output": 1}),
    "dicts of ends, by name": (kept(ends_as(dict)), {"output": "classes"}),
    "lists of ends, exported": (kept(ends_as(list), "exported"), {"output": 0}),
    "dicts of ends, exported": (kept(ends_as(dict), "exported"), {"output": 1}),
    "Rescaling": (kept(of_integers(layers.Rescaling(1 / 255))), {}),
    "Rescaling, exported": (kept(of_integers(layers.Rescaling(1 / 255)), "exported"), {}),
    "Rescaling in a sequence": (kept(in_a_sequence), {}),
    "an operation that casts": (kept(of_integers(lambda x: keras.ops.cast(x, "float32"))), {}),
    "an embedding beside a float": (kept(lambda: models.with_embedding(True)), {}),
    "an embedding beside a float, exported": (kept(lambda: models.with_embedding(True), "exported"), {}),
    "an embedding with a mask": (kept(masked), {}),
    "an embedding that is explained": (kept(tokens), {"layer": "vectors"}),
    "a layer of open length": (kept(with_layers), {"layer": "hidden"}),
    "a layer of one shape": (kept(with_layers), {"layer": "pooled", "output": "end"}),
}
# by name, what is not known of them
DOUBTFUL = {
    "integers compared and cast": (saved(compared, **FLOAT_TOO), {}, {"explained", "held"}),
    "an integer cast in vain": (saved(cast_in_vain, **FLOAT_TOO), {}, {"explained", "held"}),
    "an integer used twice": (kept(two_uses), {}, {"explained", "held"}),
    "one output of two": (kept(two_outputs_of_integers), {"output": "real"}, {"explained", "held"}),
    "an integer divided": (kept(of_integers(lambda x: x / 2)), {}, {"explained", "held"}),
    "an unknown width": (saved(models.unknown_classes, x=([None, 2], "float32")), {}, {"width"}),
}


@pytest.fixture
def both(tmp_path):
    """both(make, settings) → a model's outline, and the same model loaded."""

    def made(make, settings):
        config = ModelConfig(path=make(tmp_path), **settings)
        outline = outline_of(anatomy.dissect(config.path), config)
        return outline, load_model(config)

    return made


def without_dtype(specs):
    return [(spec.name, spec.shape, spec.explained) for spec in specs]


def assert_alike(outline, model, layered):
    fed = [[(spec.name, spec.shape, spec.dtype) for spec in one.sources] for one in (outline, model)]
    assert fed[0] == fed[1]
    assert outline.explained is None or outline.sources == model.sources
    assert (outline.digest, outline.batch, outline.names) == (model.digest, model.batch, model.names)
    assert outline.explained is None or without_dtype(outline.explained) == without_dtype(model.explained)
    assert outline.layered == layered == (model.layer is not None)
    if not layered:
        assert outline.explained in (None, model.explained) and outline.held in (None, model.held)
    assert outline.whole_output in (None, model.output)


@pytest.mark.parametrize("name", KNOWN)
def test_what_the_files_tell_is_what_is_loaded(name, both):
    make, settings = KNOWN[name]
    outline, model = both(make, settings)
    assert_alike(outline, model, "layer" in settings)
    assert outline.explained is not None and outline.output is not None
    assert (outline.held is None) == ("layer" in settings)


@pytest.mark.parametrize("name", DOUBTFUL)
def test_what_the_files_do_not_tell_is_not_guessed(name, both):
    make, settings, unknown = DOUBTFUL[name]
    outline, model = both(make, settings)
    assert_alike(outline, model, layered=False)
    told = {field for field in ("explained", "held") if getattr(outline, field) is None}
    assert told | ({"width"} if outline.whole_output is None else set()) == unknown


def test_a_layer_of_an_exported_model(tmp_path):
    path = models.saved_keras(tmp_path, with_layers(), "exported")
    names = [layer.name for layer in anatomy.dissect(path).layers]
    assert len(names) >= 4
    for name in names:
        config = ModelConfig(path=path, layer=name)
        outline = outline_of(anatomy.dissect(path), config)
        assert_alike(outline, load_model(config), layered=True)
        assert outline.explained is not None
    # an op that is not listed may be there all the same
    assert outline_of(anatomy.dissect(path), ModelConfig(path=path, layer="nowhere")).explained is None


def test_too_large_to_be_frozen_is_not_cut(tmp_path, monkeypatch):
    path = KNOWN["Rescaling"][0](tmp_path)
    monkeypatch.setattr(freezing, "MAX_FROZEN_BYTES", 0)
    with pytest.raises(UsageError, match="E_MODEL_NOT_DIFFERENTIABLE"):
        load_model(ModelConfig(path=path))
    assert outline_of(anatomy.dissect(path), ModelConfig(path=path)).explained is None


def test_a_model_with_a_table_is_not_cut(tmp_path):
    table = tf.lookup.StaticHashTable(tf.lookup.KeyValueTensorInitializer([0, 1], [2.0, 3.0]), -1.0)

    def looked_up(x):
        return tf.reduce_sum(tf.cast(x, tf.float32), axis=1) * table.lookup(tf.constant(1))

    path = models.save_function(tmp_path / "saved", looked_up, [table], **INT)
    with pytest.raises(UsageError, match="E_MODEL_NOT_DIFFERENTIABLE"):
        load_model(ModelConfig(path=path))
    assert outline_of(anatomy.dissect(path), ModelConfig(path=path)).explained is None


REFUSED = {
    "E_MODEL_SIGNATURE": (saved(models.mlp, **SIX), {"signature": "other"}),
    "E_MODEL_OUTPUT": (saved(models.by_name, **TWO), {}),
    "E_MODEL_OUTPUT_SHAPE": (saved(models.by_name, **TWO), {"output": "ids"}),
    "E_MODEL_ACTIVATION": (saved(models.one_column, x=([None, 2], "float32")), {"activation": "softmax"}),
    "E_TARGET_CLASSES": (kept(anatomy_models.sequential), {"classes": ("a", "b")}),
    "E_MODEL_INPUT_SHAPE": (saved(lambda x: tf.reshape(x, [-1, 1]), x=([], "float32")), {}),
    "E_MODEL_INPUT_DTYPE": (saved(lambda x: tf.strings.to_number(x), x=([None], "string")), {}),
    "E_MODEL_NOT_DIFFERENTIABLE": (kept(lambda: models.with_embedding(False)), {}),
    "E_MODEL_LAYER": (kept(with_layers), {"layer": "hiden"}),
}


@pytest.mark.parametrize("code", REFUSED)
def test_what_is_refused_when_it_is_loaded_is_refused_before(code, tmp_path):
    make, settings = REFUSED[code]
    config = ModelConfig(path=make(tmp_path), **settings)
    with pytest.raises(UsageError) as loading:
        load_model(config)
    with pytest.raises(UsageError) as reading:
        outline_of(anatomy.dissect(config.path), config)
    assert reading.value.code == loading.value.code == code
    if code != "E_MODEL_LAYER":  # whose message lists names that are near, among other names
        assert str(reading.value) == str(loading.value).replace(loading.value.message, reading.value.message)


def test_inputs_that_have_no_name_before_the_model_is_loaded(tmp_path):
    config = '{"class_name": "Sequential", "config": {"name": "s", "layers": [{"class_name": "Dense",'
    config += '"config": {"name": "d", "units": 2}, "build_config": {"input_shape": [null, 4]}}]}}'
    path = anatomy_models.zipped(tmp_path / "m.keras", config)
    with pytest.raises(UsageError, match=r"E_PLAN_UNKNOWN: .* do not tell its inputs"):
        outline_of(anatomy.dissect(path), ModelConfig(path=path))


@pytest.mark.parametrize("batch_size", [1, 7, 64])
@pytest.mark.parametrize("method", ["integrated_gradients", "guided_integrated_gradients", "idgi", "saliency"])
def test_the_size_of_a_call_is_the_engines(model_of, method, batch_size):
    model = model_of(models.mlp, x=([None, 6], "float32"))
    config = AttributionConfig(target=0, method=method, batch_size=batch_size, steps=8)
    if method == "idgi" and batch_size == 1:
        with pytest.raises(UsageError, match="E_BATCH_SIZE"):
            planned_points(config, without_code(config), None)
        return
    assert planned_points(config, without_code(config), None) == Explainer(model, config).batch_size([(6,)])


def test_the_size_of_a_call_that_a_model_fixes(model_of):
    config = AttributionConfig(target=0, steps=8)
    fixed = Explainer(model_of(models.mlp, x=([4, 6], "float32")), config)
    assert planned_points(config, without_code(config), 4) == fixed.batch_size([(6,)]) == 4
    assert planned_points(config, without_code(config), None) is None
    wrong = config.model_copy(update={"batch_size": 8})
    with pytest.raises(UsageError, match=r"E_BATCH_SIZE: .*exactly 4"):
        planned_points(wrong, without_code(wrong), 4)
