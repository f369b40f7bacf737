"""`_baselines.parquet`: what a run's baselines take of its dataset, a row for each array."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from transforms.attribution.baselines.dataset_summary import Key
from transforms.attribution.baselines.references import References
from transforms.errors import AttribeamError
from transforms.records.part import PREFIX
from transforms.storage.manifest import BASELINES, sha256_of
from transforms.storage.place import Place

Values = npt.NDArray[Any]
COLUMNS = pa.schema(
    [
        ("input", pa.string()),
        ("kind", pa.string()),
        # of the samples: which one, and where it stands in the dataset
        ("number", pa.int32()),
        ("source_file", pa.string()),
        ("source_row", pa.int64()),
        ("shape", pa.list_(pa.int64())),
        ("dtype", pa.string()),
        ("values", pa.list_(pa.float64())),
    ]
)
FINGERPRINT = f"{PREFIX}fingerprint"
_DAMAGE = (pa.ArrowException, OSError, KeyError, ValueError, TypeError)


def write_references(place: Place, references: References, keys: Sequence[Key], fingerprint: str) -> None:
    """Publish them, unless another attempt already has.

    Args:
        keys: of the rows that the samples are.
    """
    table = pa.Table.from_pylist(list(_rows(references, keys)), COLUMNS.with_metadata({FINGERPRINT: fingerprint}))
    with place.scratch() as scratch:
        pq.write_table(table, scratch / "baselines", compression="zstd", write_page_checksum=True)
        place.publish(scratch / "baselines", BASELINES)


def read_references(place: Place, digest: str | None) -> References:
    """What the file holds; nothing without a digest.

    Args:
        digest: sha256 of the file, which `_run.json` vouches for.

    Raises:
        AttribeamError: E_BASELINES_DAMAGED.
    """
    if digest is None:
        return References()
    check_references(place, digest)
    found: dict[str, dict[str, Any]] = {}
    try:
        with place.open(BASELINES) as file:
            table = pq.read_table(file, page_checksum_verification=True)
        for row in range(table.num_rows):
            name, kind, value = _array(table.slice(row, 1))
            kinds = found.setdefault(name, {})
            kinds[kind] = [*kinds.get(kind, []), value] if kind == "samples" else value
    except _DAMAGE as error:
        raise _damaged(place, "cannot be read") from error
    return References(
        {
            name: {kind: np.stack(value) if kind == "samples" else value for kind, value in kinds.items()}
            for name, kinds in found.items()
        }
    )


def check_references(place: Place, digest: str) -> None:
    """Refuse a file that is not the one that `_run.json` vouches for.

    Raises:
        AttribeamError: E_BASELINES_DAMAGED.
    """
    if not place.exists(BASELINES):
        raise _damaged(place, "is not there")
    if sha256_of(place, BASELINES)[0] != digest:
        raise _damaged(place, "is not the file that _run.json vouches for")


def fingerprint_of(place: Place) -> str | None:
    """That of the run that left the file; None when there is none, or it cannot be read."""
    if not place.exists(BASELINES):
        return None
    try:
        with place.open(BASELINES) as file:
            metadata: Mapping[bytes, bytes] = pq.read_schema(file).metadata or {}
    except _DAMAGE:
        return None
    return metadata.get(FINGERPRINT.encode(), b"").decode()


def _rows(references: References, keys: Sequence[Key]) -> Iterator[dict[str, Any]]:
    for name, kinds in references.arrays.items():
        for kind, value in kinds.items():
            if kind != "samples":
                yield _row(name, kind, value)
                continue
            for number, (one, (_, file, row)) in enumerate(zip(value, keys, strict=False)):
                yield _row(name, kind, one) | {"number": number, "source_file": file, "source_row": row}


def _row(name: str, kind: str, value: Values) -> dict[str, Any]:
    described = {"input": name, "kind": kind, "shape": value.shape, "dtype": value.dtype.name}
    return described | {"values": value.reshape(-1).astype(np.float64)}


def _array(row: pa.Table) -> tuple[str, str, Values]:
    plain = row.select(["input", "kind", "shape", "dtype"]).to_pylist()[0]
    values = row["values"].combine_chunks().flatten().to_numpy(zero_copy_only=False)
    return plain["input"], plain["kind"], values.astype(np.dtype(plain["dtype"])).reshape(plain["shape"])


def _damaged(place: Place, what: str) -> AttribeamError:
    return AttribeamError(
        "E_BASELINES_DAMAGED",
        f"{place.root}/{BASELINES} {what}; restore it, or write to another output.path: parts that are there were"
        " computed from it",
    )
