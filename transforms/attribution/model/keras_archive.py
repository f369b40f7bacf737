"""What is in the zip of a .keras file besides its description: names that lead outside, links, and what expands."""

from __future__ import annotations

import contextlib
import io
import math
import pathlib
import stat
import zipfile
import zlib
from collections.abc import Iterator
from typing import IO, Any

from transforms.attribution.model.anatomy_parts import invalid
from transforms.errors import quoted

CONFIG, METADATA, WEIGHTS, ASSETS = "config.json", "metadata.json", "model.weights.h5", "assets"
# What no model needs: weights hardly shrink, so that what grows by this much is there to fill memory or disk
MAX_EXPANSION, EXPANSION_FLOOR_BYTES = 100, 64 << 20
MAX_MEMBERS, SHOWN_MEMBERS = 10_000, 5


def archive_risks(place: pathlib.Path) -> tuple[str, ...]:
    """One line for each thing in the archive that is not of a model's; the weights stay packed.

    Raises:
        UsageError: E_MODEL_INVALID.
    """
    with _opened(place) as archive:
        return tuple(_member_risks(archive.infolist(), place.stat().st_size))


def weight_risks(place: pathlib.Path) -> tuple[str, ...]:
    """One line for each array of the weights that stands elsewhere, or is larger than what is stored of it.

    Of an archive without `archive_risks`: this is HDF5's own reader, as it is used to load.

    Raises:
        UsageError: E_MODEL_INVALID.
    """
    with _opened(place) as archive:
        return tuple(_weight_risks(archive))


@contextlib.contextmanager
def _opened(place: pathlib.Path) -> Iterator[zipfile.ZipFile]:
    try:
        with zipfile.ZipFile(place) as archive:
            yield archive
    # RuntimeError: encrypted, or not HDF5; NotImplementedError: an unknown compression
    except (zipfile.BadZipFile, zlib.error, KeyError, EOFError, OSError, ValueError, RuntimeError) as error:
        raise invalid(str(place), f"the zip cannot be read: {error}") from error


def _member_risks(members: list[zipfile.ZipInfo], size: int) -> Iterator[str]:
    names = [member.filename for member in members]
    strange = [name for name in names if not _is_known(name)]
    yield from (f"the archive has a file {quoted(name)}" for name in strange[:SHOWN_MEMBERS])
    links = [member.filename for member in members if stat.S_ISLNK(member.external_attr >> 16)]
    yield from (f"the archive's {quoted(name)} is a link" for name in links[:SHOWN_MEMBERS])
    if len(set(names)) < len(names):
        yield "the archive has two files of one name"
    if len(names) > MAX_MEMBERS:
        yield f"the archive has {len(names):,} files"
    expanded = sum(member.file_size for member in members)
    if _bomb(expanded, size):
        yield f"the archive expands from {size:,} to {expanded:,} bytes"


def _is_known(name: str) -> bool:
    parts = name.removesuffix("/").split("/")
    plain = "\\" not in name and not any(part in ("", ".", "..") for part in parts)
    return name in (CONFIG, METADATA, WEIGHTS) or (plain and parts[0] == ASSETS)


def _bomb(expanded: int, stored: int) -> bool:
    return expanded > max(EXPANSION_FLOOR_BYTES, MAX_EXPANSION * stored)


def _weight_risks(archive: zipfile.ZipFile) -> Iterator[str]:
    """Links of HDF5 reach other files of the machine, and a dataset may claim a size that it does not have."""
    import h5py

    if WEIGHTS not in archive.namelist():
        return
    with archive.open(WEIGHTS) as stream, h5py.File(_seekable(archive, stream), "r") as weights:
        found: dict[str, None] = {}

        def visit_link(name: str, link: Any) -> None:
            if isinstance(link, (h5py.SoftLink, h5py.ExternalLink)):
                found[f"its weights have a link at {quoted(name)}"] = None

        def visit(name: str, value: Any) -> None:
            if isinstance(value, h5py.Dataset):
                found.update(dict.fromkeys(_dataset_risks(name, value)))

        weights.visititems_links(visit_link)
        weights.visititems(visit)
    yield from list(found)[:SHOWN_MEMBERS]


def _seekable(archive: zipfile.ZipFile, stream: IO[bytes]) -> IO[bytes]:
    """Of a packed member a copy in memory: going back in it would unpack it anew each time."""
    packed = archive.getinfo(WEIGHTS).compress_type != zipfile.ZIP_STORED
    return io.BytesIO(stream.read()) if packed else stream


def _dataset_risks(name: str, dataset: Any) -> Iterator[str]:
    if dataset.external or dataset.is_virtual:
        yield f"its weights {quoted(name)} stand in another file"
        return
    claimed, stored = math.prod(dataset.shape or ()) * dataset.dtype.itemsize, dataset.id.get_storage_size()
    if _bomb(claimed, stored):
        yield f"its weights {quoted(name)} expand from {stored:,} to {claimed:,} bytes"
