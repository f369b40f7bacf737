"""Whether a model may be loaded: its digest is the one that was asked for, and nothing in it reaches outside, or the
user trusts it. What is looked at is what is loaded: a copy that nobody else writes to."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import pathlib
import shutil
import tempfile
from collections.abc import Iterator, Sequence

from transforms.attribution.config import ModelConfig
from transforms.attribution.model import anatomy
from transforms.attribution.model.anatomy_parts import invalid
from transforms.attribution.model.keras_anatomy import read_keras_risks
from transforms.attribution.model.keras_archive import weight_risks
from transforms.attribution.model.saved_model_anatomy import read_saved_model_risks
from transforms.errors import UsageError

# as storage/staging.py names its folders, which removes those of killed processes
PREFIX = "attribeam-staged-"
# TensorFlow and Keras choose a loader by the name, and the name is the stranger's
COPY_NAMES: dict[anatomy.Kind, str] = {"saved_model": "model", "keras": "model.keras", "hdf5": "model.h5"}
SHOWN_RISKS = 3


@contextlib.contextmanager
def admitted(config: ModelConfig) -> Iterator[tuple[str, str]]:
    """(path to load from, digest) of a model that may be loaded, for as long as the context.

    An error raised within names where the model came from.

    Raises:
        UsageError: E_MODEL_MISSING, E_MODEL_INVALID, E_MODEL_DIGEST, E_MODEL_H5, E_MODEL_RISKY, E_SCRATCH_FULL.
    """
    kind = anatomy.kind_of(config.path)
    with _private_copy(config.path, kind) as path:
        try:
            found = anatomy.digest(path)
            check_digest(config, found)
            if not config.trust:
                _check_risks(path, kind, found)
            yield path, found
        except UsageError as error:
            raise UsageError(error.code, error.message.replace(path, config.path)) from error


def check_digest(config: ModelConfig, found: str) -> None:
    """Refuse a model of another sha256 than was asked for.

    Raises:
        UsageError: E_MODEL_DIGEST.
    """
    if config.sha256 not in (None, found):
        raise UsageError(
            "E_MODEL_DIGEST",
            f"the model {config.path} has the sha256 {found}, but model.sha256 is {config.sha256}; restore the model,"
            " or set model.sha256 if the change is meant",
        )


def _check_risks(path: str, kind: anatomy.Kind, digest: str) -> None:
    if kind == "hdf5":
        raise anatomy.hdf5_refused(path)
    place = pathlib.Path(path)
    found = read_saved_model_risks(place) if kind == "saved_model" else read_keras_risks(place) or weight_risks(place)
    if found:
        raise _risky(path, digest, found)


def refusal(config: ModelConfig, found: anatomy.Anatomy) -> UsageError | None:
    """E_MODEL_RISKY, if that is what whoever loads the model will meet; told by its files, where they are now."""
    risks = found.risks
    if not risks and found.kind == "keras":
        risks = weight_risks(pathlib.Path(found.path))
    return _risky(config.path, found.digest, risks) if risks and not config.trust else None


def _risky(path: str, digest: str, found: Sequence[str]) -> UsageError:
    more = f"; and {len(found) - SHOWN_RISKS} more" if len(found) > SHOWN_RISKS else ""
    return UsageError(
        "E_MODEL_RISKY",
        f"{path} could do more than arithmetic; if you trust who made it, set model.trust: true (of a finished run:"
        f" evaluate --trust {digest}). Found: {'; '.join(found[:SHOWN_RISKS])}{more}",
    )


@contextlib.contextmanager
def _private_copy(path: str, kind: anatomy.Kind) -> Iterator[str]:
    """A copy of a model's files, under a name of ours."""
    with tempfile.TemporaryDirectory(prefix=PREFIX, ignore_cleanup_errors=True) as folder:
        lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield _copied(pathlib.Path(path), pathlib.Path(folder) / COPY_NAMES[kind])
        finally:
            os.close(lock)


def _copied(source: pathlib.Path, target: pathlib.Path) -> str:
    try:
        for name, file in anatomy.files_of(source):
            copy = target / name if source.is_dir() else target
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, copy)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise invalid(str(source), f"a file cannot be read: {error.strerror}") from error
        raise UsageError(
            "E_SCRATCH_FULL",
            f"the model {source} cannot be copied below {tempfile.gettempdir()} to be checked: {error.strerror}; make"
            " room there, or name another folder by TMPDIR",
        ) from error
    return str(target)
