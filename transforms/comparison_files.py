"""What is written of a comparison: its tables, then the summary, which says what each of them held."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from transforms.compared_unit import ROWS, ComparisonJob
from transforms.comparing.slices import folded
from transforms.comparing.tables import features_table, slices_table, summary
from transforms.comparing.tally import MOVED, Tally
from transforms.errors import UsageError
from transforms.storage.manifest import read_json, sha256_of, to_json
from transforms.storage.place import Place, open_place

SUMMARY, FEATURES, SLICES, MOST_MOVED = "compare.json", "features.parquet", "slices.parquet", "moved.parquet"
TABLES = (FEATURES, SLICES, MOST_MOVED)


def publish(tally: Tally, job: ComparisonJob) -> str:
    """Write the tables and the summary; the summary's name.

    Raises:
        UsageError: E_COMPARE_ROWS where no row of the one run is one of the other.
    """
    if not tally.counts["pairs"]:
        raise UsageError(
            "E_COMPARE_ROWS",
            f"no row of {job.b.root} has the row_id and target of a row of {job.a.root}: {_alone(tally)}; compare runs"
            " over the same rows, with input.id where their files have other names",
        )
    features = features_table(tally, job.how.features, job.least_change)
    found = {FEATURES: features, SLICES: slices_table(tally), MOST_MOVED: tally.moved}
    place = open_place(job.root)
    for name, table in found.items():
        _publish_table(place, table, job.name(name))
    whole = {
        **job.about,
        **summary(tally, features),
        "limits": _limits(tally, job),
        "tables": {
            name: {"rows": table.num_rows, "sha256": sha256_of(place, job.name(name))[0]}
            for name, table in found.items()
        },
    }
    place.publish_bytes(to_json(whole), job.name(SUMMARY))
    return job.name(SUMMARY)


def clear(place: Place, folder: str) -> None:
    """Remove an earlier comparison: it is made anew, and nothing else may be taken for a part of it."""
    for name in place.names():
        own = name.removeprefix(folder)
        if name.startswith(folder) and (own in (SUMMARY, *TABLES) or own.startswith(f"{ROWS}/part-")):
            place.remove(name)


def read_comparison(place: Place, folder: str) -> tuple[dict[str, Any], dict[str, pa.Table]]:
    """The summary, and the tables by name."""
    tables = {}
    for name in TABLES:
        with place.open(folder + name) as file:
            tables[name] = pq.read_table(file, page_checksum_verification=True)
    return read_json(place, folder + SUMMARY), tables


def _publish_table(place: Place, table: pa.Table, name: str) -> None:
    with place.scratch() as scratch:
        pq.write_table(table, scratch / "table", compression="zstd", write_page_checksum=True)
        place.publish(scratch / "table", name)


def _alone(tally: Tally) -> str:
    counts = tally.counts
    return (
        f"{counts['only_a']:,} ids are in the first only, {counts['only_b']:,} in the second only,"
        f" {counts['other_target']:,} rows have another target"
    )


def _limits(tally: Tally, job: ComparisonJob) -> list[str]:
    """What was folded, pooled or bounded, in words."""
    found = [
        f"{name} has more values than are looked at apart: the others are (other)" for name in folded(tally.slices)
    ]
    found += [
        f"the values of {name} are taken together in blocks (an image's channels always are)"
        for name in job.how.features.pooled
    ]
    varying = [column.input for column, _ in job.how.columns if column.varying]
    found += [
        f"the rows of {name} have lengths of their own: it is one feature, all steps together" for name in varying
    ]
    thinned = [a.input for a, b in job.how.columns if a.top or b.top]
    found += [f"of {name} only the strongest values are stored (output.top); others count as 0" for name in thinned]
    return [*found, f"{MOST_MOVED} holds at most {MOVED} rows, {ROWS}/ all of them"]
