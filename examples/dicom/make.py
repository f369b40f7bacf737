"""Makes what config.yaml explains: python examples/dicom/make.py DIR

Three real CT images come inside pydicom (pip install 'attribeam[formats]'): two heads and a vertebra. DIR gets a
Parquet file of tiles cut from them, each a whole DICOM file again, a small Keras model that was trained on the heads to
tell tiles with bone, and config.yaml.
"""

from __future__ import annotations

import io
import pathlib
import sys
from collections.abc import Iterator

import keras
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pydicom
from pydicom.data import get_testdata_file
from pydicom.pixels import apply_modality_lut, pixel_array
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, RLELossless

SLICES = {"head": "J2K_pixelrep_mismatch.dcm", "skull": "693_J2KI.dcm", "vertebra": "CT_small.dcm"}
SIZE, BONE_UNITS, BONE_PIXELS = 32, 300, 16
CENTER, WIDTH = 300, 1500  # of config.yaml
SEED, EPOCHS = 1, 40


def make(directory: pathlib.Path) -> None:
    """Data, model and configuration, in a folder."""
    directory.mkdir(parents=True, exist_ok=True)
    rows = [(name, units) for name in SLICES for units in tiles(name)]
    bone = np.array([(units > BONE_UNITS).sum() >= BONE_PIXELS for _, units in rows])
    table = {
        "id": [f"{name}-{row:03d}" for row, (name, _) in enumerate(rows)],
        "dicom": pa.array([dicom(units) for _, units in rows], pa.binary()),
        "bone": bone.astype(np.int64),
        "slice": [name for name, _ in rows],
    }
    pq.write_table(pa.table(table), directory / "tiles.parquet")
    training = np.array([name != "vertebra" for name, _ in rows])
    shown = np.clip((np.stack([units for _, units in rows]) - (CENTER - 0.5)) / (WIDTH - 1) + 0.5, 0, 1)[..., None]
    train(shown[training].astype(np.float32), bone[training]).save(directory / "model.keras")
    (directory / "config.yaml").write_bytes(pathlib.Path(__file__).with_name("config.yaml").read_bytes())


def tiles(name: str) -> Iterator[np.ndarray]:
    """[32, 32] of one image, int16 Hounsfield units, side by side; of the small one overlapping by half."""
    data = pydicom.dcmread(get_testdata_file(SLICES[name], download=False))
    units = np.asarray(apply_modality_lut(pixel_array(data), data)).astype(np.int16)
    step = SIZE if len(units) > 128 else SIZE // 2
    for top in range(0, len(units) - SIZE + 1, step):
        for left in range(0, len(units) - SIZE + 1, step):
            yield units[top : top + SIZE, left : left + SIZE]


def dicom(units: np.ndarray) -> bytes:
    """A DICOM file of these pixels, as a scanner stores them: from 0, with a rescale intercept, compressed."""
    data = pydicom.Dataset()
    data.file_meta = pydicom.dataset.FileMetaDataset()
    data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data.SOPClassUID, data.SOPInstanceUID = (
        CTImageStorage,
        pydicom.uid.generate_uid(entropy_srcs=[units.tobytes().hex()]),
    )
    data.Modality, data.RescaleSlope, data.RescaleIntercept = "CT", 1, -4096
    data.set_pixel_data((units + 4096).astype(np.uint16), "MONOCHROME2", 16, generate_instance_uid=False)
    data.compress(RLELossless, encoding_plugin="pydicom", generate_instance_uid=False)
    file = io.BytesIO()
    data.save_as(file, enforce_file_format=True)
    return file.getvalue()


def train(shown: np.ndarray, bone: np.ndarray) -> keras.Model:
    """float32 [batch, 32, 32, 1], 0 to 1, to the logit of bone [batch, 1]."""
    keras.utils.set_random_seed(SEED)
    entry = keras.Input(shown.shape[1:], name="scan")
    seen = keras.layers.Conv2D(6, 3, activation="relu")(entry)
    seen = keras.layers.Conv2D(6, 3, strides=2, activation="relu")(seen)
    logit = keras.layers.Dense(1, name="logit")(keras.layers.GlobalAveragePooling2D()(seen))
    model = keras.Model(entry, logit)
    model.compile(keras.optimizers.Adam(1e-2), keras.losses.BinaryCrossentropy(from_logits=True))
    model.fit(shown, bone[:, None], batch_size=32, epochs=EPOCHS, verbose=0)
    return model


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    make(pathlib.Path(sys.argv[1]))
