"""Small nets of every kind of op that a lower precision rounds, and how far explanations of them are apart."""

import keras
import numpy as np
from keras import layers

ROWS, BATCH = 40, 128
# the 4 nodes of the probe, in each precision
PROBE = 4


def sequential(shape, *stack):
    return keras.Sequential([keras.Input(shape, name="x"), *stack])


def attention():
    x = keras.Input((5, 4), name="x")
    h = layers.Dense(6)(x)
    h = layers.LayerNormalization()(h + layers.MultiHeadAttention(2, 3)(h, h))
    h = layers.Dense(6, "gelu")(h)
    return keras.Model(x, layers.Dense(3, "softmax")(layers.GlobalAveragePooling1D()(h)))


def convolutions():
    return sequential(
        (8, 8, 1),
        layers.Conv2D(3, 3, activation="relu", padding="same"),
        layers.MaxPooling2D(2),
        layers.BatchNormalization(moving_mean_initializer="ones"),
        layers.SeparableConv2D(4, 2, activation="tanh"),
        layers.Conv2DTranspose(3, 2, 2, activation="gelu"),
        layers.AveragePooling2D(2),
        layers.Flatten(),
        layers.Dense(3, "softmax"),
    )


NETS = {
    "dense": lambda: sequential((5,), layers.Dense(8, "tanh"), layers.Dense(6, "relu"), layers.Dense(3)),
    "hoisted": lambda: sequential((8,), layers.Dense(5), layers.Activation("tanh"), layers.Dense(3)),
    "convolutions": convolutions,
    "attention": attention,
    "before a loop": lambda: sequential((4, 3), layers.Dense(4, "tanh"), layers.Dense(3), layers.LSTM(3)),
}


def explained(explainer, model, x, **settings):
    settings = {"target": "predicted", "batch_size": BATCH, **settings}
    return explainer(model, **settings).explain(x)


def flat(explanation):
    (values,) = explanation.attributions.values()
    return values.reshape(len(values), -1).astype(np.float64)


def errors(found, truth):
    """Relative L1 distance of each row."""
    return np.abs(flat(found) - flat(truth)).sum(axis=1) / np.abs(flat(truth)).sum(axis=1)
