"""TIFF and WebP, by tensorflow-io: the only file that imports it."""

from __future__ import annotations

import numpy as np

from transforms.errors import Fault
from transforms.records.feature import Feature
from transforms.records.payload import as_stored, shape_fault, undecodable


def decode_tiff(data: bytes, feature: Feature) -> bytes | Fault:
    """[height, width, channels] uint8 of a file of one page and 8 bits a channel.

    Faults: E_FEATURE_DECODE, E_FEATURE_SHAPE.
    """
    import tensorflow as tf
    import tensorflow_io as tfio

    try:
        shapes, kinds = tfio.experimental.image.decode_tiff_info(data)
        if len(kinds) != 1 or tf.DType(int(kinds[0])) != tf.uint8:
            why = f"a TIFF of {len(kinds)} pages, the first of {tf.DType(int(kinds[0])).name}"
            return undecodable(data, feature, why, "give one page of 8 bits a channel")
        height, width = shapes[0].numpy().tolist()[:2]
        fault = shape_fault((height, width, feature.shape[-1]), feature, "a TIFF")
        return fault or _channels(tfio.experimental.image.decode_tiff(data).numpy(), feature, "a TIFF")
    except (tf.errors.InvalidArgumentError, tf.errors.ResourceExhaustedError):
        return undecodable(data, feature, "no TIFF that can be decoded", "give TIFF of 8 bits a channel")


def decode_webp(data: bytes, feature: Feature) -> bytes | Fault:
    """[height, width, channels] uint8.

    Faults: E_FEATURE_DECODE, E_FEATURE_SHAPE.
    """
    import tensorflow as tf
    import tensorflow_io as tfio

    try:
        return _channels(tfio.image.decode_webp(data).numpy(), feature, "a WebP picture")
    except (tf.errors.InvalidArgumentError, tf.errors.ResourceExhaustedError):
        return undecodable(data, feature, "no WebP that can be decoded", "give WebP")


def _channels(rgba: np.ndarray, feature: Feature, what: str) -> bytes | Fault:
    """Of [height, width, 4] as many channels as are wanted; one only of a grey picture."""
    count = feature.shape[-1]
    grey = count == 1 and bool((rgba[..., :3] == rgba[..., :1]).all())
    found = (*rgba.shape[:2], count if grey or count > 1 else 3)
    return shape_fault(found, feature, what) or as_stored(rgba[..., :count], feature)
