"""The unit of work, of retry, of resume and of output; and the file that it is a piece of."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator

from transforms.records.config import Format
from transforms.records.source import FileSummary, RowRange, Source
from transforms.storage.staging import Staging


@dataclasses.dataclass(frozen=True, slots=True)
class InputFile:
    """One file of the dataset.

    Attributes:
        path: what is opened; name: what the output calls it.
        size: in bytes.
    """

    path: str
    name: str
    size: int
    summary: FileSummary


@dataclasses.dataclass(frozen=True, slots=True)
class Shard:
    """A contiguous range of rows of one input file.

    Attributes:
        number: from 0, in the order of the dataset.
        path: what is opened; name: what is written as `source_file`.
        rows: of the file, [start, stop), with where reading begins.
        input_digest: of the whole file.
    """

    number: int
    path: str
    name: str
    format: Format
    codec: str
    rows: RowRange
    input_digest: str

    @property
    def size(self) -> int:
        """Number of rows."""
        return self.rows.stop - self.rows.start

    @property
    def source(self) -> Source:
        """How its file is read."""
        return Source(self.name, self.format, self.codec)

    @contextlib.contextmanager
    def staged(self, staging: Staging) -> Iterator[Shard]:
        """The same, to be read while the context lasts: of TFRecord a copy on this machine; Parquet goes by ranges."""
        if self.format == "parquet":
            yield self
            return
        with staging.local(self.path) as path:
            yield dataclasses.replace(self, path=path)
