"""Sound: WAV, FLAC and MP3, told apart by content.

By libsndfile, through soundfile. tensorflow-io decodes them too, but never returns from some damaged FLAC.
"""

from __future__ import annotations

import io

import numpy as np

from transforms.errors import Fault
from transforms.records.feature import Feature
from transforms.records.payload import as_stored, shape_fault, undecodable

FORMATS = ("WAV", "WAVEX", "FLAC", "MP3")
_REMEDY = "give WAV, FLAC or MP3"


def decode_audio(data: bytes, feature: Feature) -> bytes | Fault:
    """[samples, channels] float32, -1 to 1: integers divided by 2^(bits - 1). The sampling rate is not looked at.

    Faults: E_FEATURE_DECODE, E_FEATURE_SHAPE.
    """
    import soundfile

    try:
        with soundfile.SoundFile(io.BytesIO(data)) as sound:
            if sound.format not in FORMATS:
                return undecodable(data, feature, f"sound of the kind {sound.format}", _REMEDY)
            shape = (sound.frames, sound.channels)
            fault = shape_fault(shape, feature, "sound (samples x channels)")
            values = np.zeros(0) if fault else sound.read(dtype="float32", always_2d=True)
    except (soundfile.SoundFileError, ValueError, TypeError):
        return undecodable(data, feature, "no sound that can be decoded", _REMEDY)
    if fault is None and values.shape != shape:
        why = f"sound that ends after {len(values)} of {shape[0]} samples"
        return undecodable(data, feature, why, "give the whole file")
    return fault or as_stored(values, feature)
