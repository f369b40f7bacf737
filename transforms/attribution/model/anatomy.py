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

Kind = Literal["saved_model", "keras", "hdf5"]
HDF5_MAGIC = b"\x89HDF\r\n\x1a\n"


@dataclasses.dataclass(frozen=True)
class Anatomy:
    """All that a model's files say about it. `risks`: a line for each thing that could reach outside."""

    path: str
    kind: Kind
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
    kind, place = kind_of(path), pathlib.Path(path)
    if kind == "hdf5":
        raise hdf5_refused(path)
    parts = read_saved_model(place) if kind == "saved_model" else read_keras(place)
    size = sum(file.stat().st_size for _, file in files_of(place))
    return Anatomy(path, kind, digest(path), size, *parts)


def digest(path: str) -> str:
    """The sha256 of a model, in hex: of a file's bytes; of a directory, over its sorted names and files' sha256.

    Raises:
        UsageError: E_MODEL_MISSING, E_MODEL_INVALID (no model, or unreadable).
    """
    kind_of(path)
    place = pathlib.Path(path)
    try:
        if place.is_file():
            return _sha256(place)
        lines = (f"{name}\0{_sha256(file)}\n" for name, file in files_of(place))
        return hashlib.sha256("".join(lines).encode(errors="surrogateescape")).hexdigest()
    except OSError as error:
        raise invalid(path, f"a file cannot be read: {error}") from error


def _sha256(file: pathlib.Path) -> str:
    total = hashlib.sha256()
    with file.open("rb") as stream:
        while block := stream.read(1 << 20):
            total.update(block)
    return total.hexdigest()


def files_of(place: pathlib.Path) -> list[tuple[str, pathlib.Path]]:
    """A model's files: (name relative to the model, file), sorted by name.

    Raises:
        UsageError: E_MODEL_INVALID for a link to a folder: who follows links finds other files than who does not.
    """
    if place.is_file():
        return [(place.name, place)]
    entries = sorted((entry.relative_to(place).as_posix(), entry) for entry in place.rglob("*"))
    for name, entry in entries:
        if entry.is_symlink() and entry.is_dir():
            raise invalid(str(place), f"its {quoted(name)} is a link to a folder")
    return [(name, entry) for name, entry in entries if entry.is_file()]


def kind_of(path: str) -> Kind:
    """Which kind of model stands there, by its content.

    Raises:
        UsageError: E_MODEL_MISSING, E_MODEL_INVALID.
    """
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
    if not place.is_file():  # a pipe would be waited for
        raise invalid(path, "it is neither a file nor a directory")
    start = read_bytes(place, len(HDF5_MAGIC))
    if start == HDF5_MAGIC:
        return "hdf5"
    if not start.startswith(b"PK"):
        raise invalid(path, f"the file starts with {quoted(start)}, not as a zip does")
    return "keras"


def hdf5_refused(path: str) -> UsageError:
    """E_MODEL_H5."""
    return UsageError(
        "E_MODEL_H5",
        f"{path} is an HDF5 file, which can hide Python code; load it where you trust it and save it anew:"
        " keras.saving.load_model('model.h5').save('model.keras'); or set model.trust: true",
    )


def _exists(place: pathlib.Path) -> bool:
    try:
        return place.exists()
    # names with a null byte, too long, or in a directory that is not ours to see
    except (OSError, ValueError):
        return False
