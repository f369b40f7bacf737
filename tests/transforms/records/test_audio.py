"""WAV, FLAC and MP3 to samples."""

from __future__ import annotations

import io

import numpy as np
import pyarrow as pa
import pytest
from damage import damaged
from feature_columns import codes, wanted

from transforms.records.decode import decode

soundfile = pytest.importorskip("soundfile", reason="audio takes the extra: pip install 'attribeam[formats]'")

RATE, SAMPLES = 8000, 1152 * 4  # whole frames of MP3
PCM = np.random.default_rng(0).integers(-(2**15), 2**15, (SAMPLES, 2)).astype(np.int16)


def encoded(samples: np.ndarray, format: str, subtype: str) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, samples, RATE, format=format, subtype=subtype)
    return file.getvalue()


@pytest.mark.parametrize(
    ("format", "subtype"),
    [
        ("WAV", "PCM_16"),
        ("WAV", "PCM_24"),
        ("WAVEX", "PCM_16"),
        ("WAV", "FLOAT"),
        ("FLAC", "PCM_16"),
        ("FLAC", "PCM_24"),
    ],
)
def test_lossless_sound_is_exact(format: str, subtype: str) -> None:
    source = PCM / np.float32(2**15) if subtype == "FLOAT" else PCM
    values, faults = decode(pa.array([encoded(source, format, subtype)]), wanted((SAMPLES, 2), decode="audio"))
    assert not faults
    np.testing.assert_array_equal(values[0], PCM / np.float32(2**15))


def test_a_tone_through_mp3() -> None:
    tone = np.sin(2 * np.pi * 440 * np.arange(SAMPLES) / RATE) / 2
    values, faults = decode(pa.array([encoded(tone, "MP3", "MPEG_LAYER_III")]), wanted((SAMPLES,), decode="audio"))
    assert not faults
    spectrum = np.abs(np.fft.rfft(values[0] * np.hanning(SAMPLES)))
    assert abs(np.argmax(spectrum) * RATE / SAMPLES - 440) <= RATE / SAMPLES  # a bin of the spectrum


def test_faults() -> None:
    good = encoded(PCM, "WAV", "PCM_16")
    payloads = [encoded(PCM[:, :1], "WAV", "PCM_16"), encoded(PCM[:-1], "FLAC", "PCM_16"), b"", b"x" * 999]
    payloads += [encoded(PCM, "OGG", "VORBIS"), encoded(PCM, "FLAC", "PCM_16")[:-999], good]
    values, faults = decode(pa.array(payloads), wanted((SAMPLES, 2), decode="audio"))
    expected = ["E_FEATURE_SHAPE"] * 2 + ["E_FEATURE_DECODE"] * 4
    assert codes(faults) == dict(enumerate(expected))
    assert values[-1].any()


@pytest.mark.parametrize(("format", "subtype"), [("WAV", "PCM_16"), ("FLAC", "PCM_16"), ("MP3", "MPEG_LAYER_III")])
def test_damaged_files_are_faults_of_their_row(format: str, subtype: str) -> None:
    column = pa.array(list(damaged(encoded(PCM, format, subtype), 150)))
    _, faults = decode(column, wanted((SAMPLES, 2), decode="audio"))
    assert len(faults) >= 50  # those that are cut
    assert set(codes(faults).values()) <= {"E_FEATURE_DECODE", "E_FEATURE_SHAPE", "E_FEATURE_NONFINITE"}
