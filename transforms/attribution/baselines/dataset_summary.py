"""What baselines take of a dataset: least, largest and mean values, and a sample of its rows, in one pass.

A summary of rows and one of others give that of both: the same one, whichever rows were together, but for the rounding
of the sums behind the means. The sample holds the rows whose hash of seed and id is the smallest: which ones they are
depends on the rows alone.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from transforms.attribution.baseline_config import SamplesBaseline, dataset_kind, draws
from transforms.attribution.config import AttributionConfig
from transforms.attribution.model.model_input import ModelInput
from transforms.errors import UsageError

Values = npt.NDArray[Any]
# Hash, file and row: the last two decide between rows of the same id.
Key = tuple[bytes, str, int]
# Of the rows that a median is taken of, and of those that samples are drawn from: the first that is reached.
SAMPLE_BYTES = 64 * 2**20
MEDIAN_ROWS, POOL_ROWS = 4096, 256
# of what the search for the greatest entropy needs
SEARCHED = {"min", "max", "mean"}


@dataclasses.dataclass(frozen=True)
class Wanted:
    """What is wanted of one explained input.

    Attributes:
        kinds: `min`, `max`, `mean`, `median`, `samples`, `max_entropy`.
        shape: of one row.
        dtype: of its points.
    """

    name: str
    kinds: frozenset[str]
    shape: tuple[int, ...]
    dtype: str

    def any_of(self, *kinds: str) -> bool:
        """Whether one of these kinds is wanted, or what is needed to find it."""
        return bool((self.kinds | (SEARCHED if "max_entropy" in self.kinds else set())) & set(kinds))


@dataclasses.dataclass(frozen=True)
class Request:
    """What is wanted of a dataset.

    Attributes:
        inputs: those of which something is wanted.
        draws: the most rows that one row draws.
    """

    inputs: tuple[Wanted, ...]
    draws: int
    seed: int

    @property
    def sampled(self) -> tuple[Wanted, ...]:
        """The inputs whose values in the sample's rows are kept."""
        return tuple(one for one in self.inputs if one.any_of("median", "samples"))

    @property
    def sample_rows(self) -> int:
        """Rows that are kept; 0 when none are needed."""
        return max(self._rows("median", MEDIAN_ROWS), self.pool_rows)

    @property
    def pool_rows(self) -> int:
        """Rows that samples are drawn from: the first of the sample."""
        return self._rows("samples", max(POOL_ROWS, self.draws))

    def _rows(self, kind: str, most: int) -> int:
        row_bytes = [int(np.prod(one.shape)) * np.dtype(one.dtype).itemsize for one in self.inputs if kind in one.kinds]
        return min(most, max(1, SAMPLE_BYTES // max(1, sum(row_bytes)))) if row_bytes else 0


def request(
    config: AttributionConfig, inputs: Sequence[ModelInput], shapes: Mapping[str, Sequence[int | None]]
) -> Request:
    """What a configuration wants of the dataset; of no input, mostly.

    Args:
        inputs: of the model.
        shapes: by input of the dataset, of one row; None where rows differ.

    Raises:
        UsageError: E_BASELINE_DATASET for an explained input that is not in the dataset, or differs in shape.
    """
    wanted, drawn = [], 0
    for spec in inputs:
        singles = [one for one, _ in draws(config.baseline_of(spec.name))] if spec.explained else []
        kinds = frozenset(kind for one in singles if (kind := dataset_kind(one)))
        drawn = max([drawn, *(one.samples for one in singles if isinstance(one, SamplesBaseline))])
        if kinds:
            wanted.append(Wanted(spec.name, kinds, _one_shape(spec.name, kinds, shapes), spec.point_dtype.name))
    return Request(tuple(wanted), drawn, config.seed)


def _one_shape(name: str, kinds: Iterable[str], shapes: Mapping[str, Sequence[int | None]]) -> tuple[int, ...]:
    sizes = list(shapes[name]) if name in shapes else [None]
    if None in sizes:
        raise UsageError(
            "E_BASELINE_DATASET",
            f"the baseline of {name!r} is {', '.join(sorted(kinds))} of the dataset, but {name!r} is no column of one"
            " shape there; give zeros, a constant, or one that is made of the row, such as blur",
        )
    return tuple(size or 0 for size in sizes)


@dataclasses.dataclass(frozen=True, eq=False)
class Summary:
    """Of some rows. By input, and only for those of which it is wanted.

    Attributes:
        rows: how many there are.
        low, high: the least and the largest of each value, [*shape].
        total: the sum of each value, float64 [*shape].
        keys: of the sample's rows, in their order.
        sample: their values, [len(keys), *shape].
    """

    rows: int
    low: Mapping[str, Values]
    high: Mapping[str, Values]
    total: Mapping[str, Values]
    keys: tuple[Key, ...]
    sample: Mapping[str, Values]


def sample_key(seed: int, row_id: str, file: str, row: int) -> Key:
    """What decides whether a row is in the sample: those with the smallest are."""
    return hashlib.sha256(f"{seed}/sample/{row_id}".encode()).digest()[:16], file, row


def summary_of(inputs: Mapping[str, Values], keys: Sequence[Key], wanted: Request) -> Summary:
    """The summary of rows [rows, *shape], of at least one."""
    typed = {one.name: inputs[one.name].astype(one.dtype, copy=False) for one in wanted.inputs}
    chosen = np.array(sorted(range(len(keys)), key=keys.__getitem__)[: wanted.sample_rows], np.int64)
    return Summary(
        len(keys),
        {one.name: typed[one.name].min(axis=0) for one in wanted.inputs if one.any_of("min")},
        {one.name: typed[one.name].max(axis=0) for one in wanted.inputs if one.any_of("max")},
        {one.name: typed[one.name].sum(axis=0, dtype=np.float64) for one in wanted.inputs if one.any_of("mean")},
        tuple(keys[row] for row in chosen),
        {one.name: typed[one.name][chosen] for one in wanted.sampled},
    )


def merged(first: Summary, second: Summary, wanted: Request) -> Summary:
    """The summary of both's rows."""
    if not (first.rows and second.rows):
        return first if first.rows else second
    keys, sample = _merged_samples(first, second, wanted.sample_rows)
    return Summary(
        first.rows + second.rows,
        {name: np.minimum(value, second.low[name]) for name, value in first.low.items()},
        {name: np.maximum(value, second.high[name]) for name, value in first.high.items()},
        {name: value + second.total[name] for name, value in first.total.items()},
        keys,
        sample,
    )


def nothing() -> Summary:
    """The summary of no rows."""
    return Summary(0, {}, {}, {}, (), {})


def _merged_samples(first: Summary, second: Summary, rows: int) -> tuple[tuple[Key, ...], Mapping[str, Values]]:
    keys = first.keys + second.keys
    chosen = sorted(range(len(keys)), key=keys.__getitem__)[:rows]
    if chosen == list(range(len(first.keys))):
        # mostly so, once there are many rows: nothing of the second gets in, and nothing is copied
        return first.keys, first.sample
    both = {name: np.concatenate([value, second.sample[name]])[chosen] for name, value in first.sample.items()}
    return tuple(keys[row] for row in chosen), both
