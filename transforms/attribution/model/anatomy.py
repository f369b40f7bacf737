"""What a model is made of, read from its files: none of its code runs, nothing is loaded."""

from __future__ import annotations

import dataclasses
import hashlib
import pathlib
from typing import Literal

from transforms.attribution.model.anatomy_parts import LayerInfo, SignatureInfo, invalid, read_bytes
from transforms.attribution.model.keras_anatomy import read_keras
from transforms.attribution.model.saved_model_anatomy import read_saved_model
from transforms.errors import UsageError, quoted

HDF5_MAGIC = b"\x89HDF\r\n\x1a\n"


@dataclasses.dataclass(frozen=True)
class Anatomy:
    """All that a model's files say about it. `risks`: a line for each thing that could reach outside."""

    path: str
    kind: Literal["saved_model", "keras"]
    digest: str
    bytes: int
    signatures: tuple[SignatureInfo, ...]
    layers: tuple[LayerInfo, ...]
    risks: tuple[str, ...]
    versions: dict[str, str]


def dissect(path: str) -> Anatomy:
    """Read a SavedModel directory or a .keras file, without running anything of it.

    Raises:
        UsageError: E_MODEL_MISSING, E_MODEL_H5, E_MODEL_INVALID (neither of the two, or damaged).
    """
    kind, place = _kind(path), pathlib.Path(path)
    parts = read_saved_model(place) if kind == "saved_model" else read_keras(place)
    size = sum(file.stat().st_size for _, file in _files(place))
    return Anatomy(path, kind, digest(path), size, *parts)


def digest(path: str) -> str:
    """The sha256 of a model, in hex: of a file's bytes; of a directory, over its sorted names and files' sha256.

    Raises:
        UsageError: E_MODEL_MISSING, E_MODEL_H5, E_MODEL_INVALID (neither a SavedModel nor .keras, or unreadable).
    """
    _kind(path)
    place = pathlib.Path(path)
    try:
        if place.is_file():
            return _sha256(place)
        lines = (f"{name}\0{_sha256(file)}\n" for name, file in _files(place))
        return hashlib.sha256("".join(lines).encode(errors="surrogateescape")).hexdigest()
    except OSError as error:
        raise invalid(path, f"a file cannot be read: {error}") from error


def _sha256(file: pathlib.Path) -> str:
    total = hashlib.sha256()
    with file.open("rb") as stream:
        while block := stream.read(1 << 20):
            total.update(block)
    return total.hexdigest()


def _files(place: pathlib.Path) -> list[tuple[str, pathlib.Path]]:
    """(name relative to the model, file), sorted by name."""
    if place.is_file():
        return [(place.name, place)]
    return sorted((file.relative_to(place).as_posix(), file) for file in place.rglob("*") if file.is_file())


def _kind(path: str) -> Literal["saved_model", "keras"]:
    place = pathlib.Path(path)
    if not _exists(place):
        raise UsageError(
            "E_MODEL_MISSING", f"there is no model at {path}; set model.path to a SavedModel or .keras file"
        )
    if place.is_dir():
        if (place / "saved_model.pb").is_file():
            return "saved_model"
        names = ", ".join(sorted(quoted(entry.name) for entry in place.iterdir())[:5])
        raise invalid(path, f"the directory has no saved_model.pb; it has {names or 'nothing'}")
    start = read_bytes(place, len(HDF5_MAGIC))
    if start == HDF5_MAGIC:
        raise UsageError(
            "E_MODEL_H5",
            f"{path} is an HDF5 file, which can hide Python code; load it where you trust it and save it anew:"
            " keras.saving.load_model('model.h5').save('model.keras')",
        )
    if not start.startswith(b"PK"):
        raise invalid(path, f"the file starts with {quoted(start)}, not as a zip does")
    return "keras"


def _exists(place: pathlib.Path) -> bool:
    try:
        return place.exists()
    # names with a null byte, too long, or in a directory that is not ours to see
    except (OSError, ValueError):
        return False
