"""The case's model built again in the peer's own Keras, 2 or 3: Keras 2 cannot open a Keras 3 file, but both know the
layers by the same names and options.
"""

from typing import Any

import tensorflow as tf
from serve import Case


def build(case: Case) -> Any:
    """The model, with the case's weights."""
    entry = value = tf.keras.Input(tuple(case.shape), dtype=case.inputs.dtype.name)
    for number, described in enumerate(case.layers):
        arguments = dict(described)
        layer = getattr(tf.keras.layers, arguments.pop("kind"))(**arguments)
        value = layer(value)
        if layer.weights:
            named = [case.weights.get(f"{number}.{name}") for name in ("kernel", "bias")]
            layer.set_weights([weight for weight in named if weight is not None])
    return tf.keras.Model(entry, value)


def gradient(model: Any) -> Any:
    """A function from inputs [batch, *shape] and labels [batch] to the label's logit and its gradient by the inputs."""

    @tf.function(reduce_retracing=True)
    def found(inputs: Any, labels: Any) -> Any:
        with tf.GradientTape() as tape:
            tape.watch(inputs)
            outputs = tf.gather(model(inputs), labels, axis=1, batch_dims=1)
        return outputs, tape.gradient(outputs, inputs)

    return found
