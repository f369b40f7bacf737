"""`_files.parquet`: every part and quarantine file of a finished run, with its size, its sha256 and what it holds."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from transforms.errors import AttribeamError
from transforms.records import part
from transforms.storage.manifest import FILES
from transforms.storage.place import Place

ALWAYS = ("file", "bytes", "sha256", "rows")
# of parts; null for quarantine files
OF_PARTS = (*part.STATUSES, "gradients")
LISTED = pa.schema(
    [("file", pa.string()), ("bytes", pa.int64()), ("sha256", pa.string()), ("rows", pa.int64())]
    + [(name, pa.int64()) for name in OF_PARTS]
)
_DAMAGE = (pa.ArrowException, OSError, ValueError)


def read_file_list(place: Place) -> dict[str, dict[str, Any]]:
    """The rows of `_files.parquet`, of the columns `LISTED`, by file.

    Raises:
        AttribeamError: E_RUN_DAMAGED.
    """
    try:
        with place.open(FILES) as file:
            parquet = pq.ParquetFile(file, page_checksum_verification=True)
            if not parquet.schema_arrow.equals(LISTED):
                raise ValueError("other columns")
            table = parquet.read(use_threads=False)
        if any(table[name].null_count for name in ALWAYS):
            raise ValueError("a null")
        rows = {row["file"]: row for row in table.to_pylist()}
    except _DAMAGE as error:
        raise AttribeamError(
            "E_RUN_DAMAGED",
            f"{place.root}/{FILES} is not the list of a run's files; run the same command again: it is written anew",
        ) from error
    return rows
