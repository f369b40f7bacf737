"""Programs compiled by XLA, as on a GPU: the same values, and one compilation for all values of one shape.

XLA compiles anew for every new value of what it holds for a constant, so nothing that a call is given may be one: each
argument must be a parameter of the compiled program.
"""

import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers
from models import mlp, saved_keras
from tensorflow.compiler.xla.service import hlo_pb2

from transforms.attribution.config import ModelConfig
from transforms.attribution.engine.kernel import Kernel, Paths
from transforms.attribution.model.model import load_model

SLOTS, NODES, TARGETS = 2, 3, 2
# two orders of the same float32 sums, relative to the largest value
SAME = 1e-6
PROGRAMS = ("forward", "gradients", "pull_back")


def joined():
    x = keras.Input((4, 4, 2), name="x")
    first = layers.Conv2D(2, 3, padding="same", activation="tanh")(x)
    return keras.Model(x, layers.Dense(3)(layers.Flatten()(layers.Concatenate()([first, layers.ReLU()(x)]))))


def stack(*inner):
    return keras.Sequential([keras.Input((4, 4, 2), name="x"), *inner, layers.Flatten(), layers.Dense(3)])


MODELS = {
    "padded": lambda: stack(layers.Activation("tanh"), layers.ZeroPadding2D(1), layers.Conv2D(2, 3, activation="tanh")),
    "concatenated": joined,
    "pooled": lambda: stack(layers.ReLU(), layers.Conv2D(4, 2, activation="tanh"), layers.GlobalAveragePooling2D()),
    "upsampled": lambda: stack(layers.Activation("tanh"), layers.UpSampling2D(2), layers.AveragePooling2D(3)),
    "maximum": lambda: stack(layers.ReLU(), layers.Conv2D(4, 2, activation="gelu"), layers.MaxPooling2D(2)),
    "a padded stem": lambda: stack(layers.ZeroPadding2D(1), layers.Conv2D(1, 3, 2), layers.Activation("tanh")),
    "a pooled stem": lambda: stack(layers.GlobalAveragePooling2D(), layers.Dense(4), layers.Activation("tanh")),
}


@pytest.fixture(scope="module")
def kernel_pairs(tmp_path_factory):
    """Of a model of `MODELS`, its kernel without XLA and the one with; made once."""
    known = {}

    def pair(name):
        if name not in known:
            keras.utils.set_random_seed(1)
            model = load_model(ModelConfig(path=saved_keras(tmp_path_factory.mktemp("model"), MODELS[name](), "keras")))
            known[name] = [Kernel(model, [(4, 4, 2)], TARGETS, compiled) for compiled in (False, True)]
        return known[name]

    return pair


def drawn(kernel, program, seed=0):
    """Arguments of one of the kernel's methods."""
    random = np.random.default_rng(seed)
    given, heads = (
        [random.normal(size=(SLOTS, *spec.shape)).astype("float32") for spec in specs]
        for specs in (kernel.model.inputs, kernel.heads)
    )
    if program == "gradients":
        nodes, weights = random.random((2, SLOTS, NODES)).astype("float32")
        return Paths(heads, [0.1 * value for value in heads], np.array([[0, 2], [1, 0]], "int32"), nodes, weights)
    return given if program == "forward" else heads


def results(kernel, program, arguments):
    found = getattr(kernel, program)(arguments)
    return [*found[0], found[1]] if program == "forward" else found


@pytest.mark.parametrize(("name", "program"), itertools.product(MODELS, PROGRAMS))
def test_the_same_values(name, program, kernel_pairs):
    plain, compiled = kernel_pairs(name)
    for seed in (0, 1):
        arguments = drawn(plain, program, seed)
        pairs = [results(kernel, program, arguments) for kernel in (plain, compiled)]
        for expected, found in zip(*pairs, strict=True):
            assert expected.any()
            np.testing.assert_allclose(found, expected, rtol=0, atol=SAME * np.abs(expected).max())


def constants_among_arguments(function, *arguments):
    """How many of the tensors that a compiled function is given are no parameters of its program."""
    tensors = tf.nest.map_structure(tf.convert_to_tensor, arguments)
    serialized = function.experimental_get_compiler_ir(*tensors)(stage="hlo_serialized")
    parameters = hlo_pb2.HloModuleProto.FromString(serialized).host_program_shape.parameters
    return len(tf.nest.flatten(tensors)) - len(parameters)


@pytest.mark.parametrize("name", MODELS)
def test_nothing_is_compiled_again_for_other_values(name, kernel_pairs):
    _, kernel = kernel_pairs(name)
    paths = drawn(kernel, "gradients")
    groups = (paths.inputs, paths.baselines, paths.target, paths.nodes, paths.weights)
    assert constants_among_arguments(kernel._gradients, *groups) == 0
    assert constants_among_arguments(kernel._forward, drawn(kernel, "forward")) == 0
    if kernel.stem:
        assert constants_among_arguments(kernel._transpose, drawn(kernel, "pull_back")) == 0


def test_the_models_have_the_stems_that_their_names_say(kernel_pairs):
    assert {name for name in MODELS if kernel_pairs(name)[1].stem} == {"a padded stem", "a pooled stem"}


def test_the_reference_sees_a_program_that_is_compiled_anew(kernel_pairs):
    """The head as a function of its own, as TensorFlow has it: the test above must be able to fail."""
    model = kernel_pairs("padded")[0].model

    def gradients(x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            outputs = model.head([x])
        return tape.gradient(outputs, x)

    program = tf.function(gradients, autograph=False, jit_compile=True)
    assert constants_among_arguments(program, np.ones((SLOTS, 4, 4, 2), "float32")) == 1


def test_an_input_that_the_output_does_not_depend_on(model_of):
    model = model_of(lambda x, y: mlp(x), x=([None, 6], "float32"), y=([None, 2], "float32"))
    random = np.random.default_rng(0)
    x, idle = (random.normal(size=(SLOTS, size)).astype("float32") for size in (6, 2))
    target, nodes = np.zeros((SLOTS, 1), "int32"), np.full((SLOTS, NODES), 0.5, "float32")
    paths = Paths([x, idle], [0 * x, 0 * idle], target, nodes, nodes)
    pairs = [Kernel(model, [(6,), (2,)], 1, compiled).gradients(paths) for compiled in (False, True)]
    for expected, found in zip(*pairs, strict=True):
        np.testing.assert_allclose(found, expected, rtol=0, atol=SAME * np.abs(expected).max())
    assert pairs[0][0].any() and not pairs[0][1].any()
