"""The parts of a run, read twice: the pure twin of `AuditAttributions`."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from transforms.auditing.aggregates import Aggregates
from transforms.auditing.audit_outputs import tables_of
from transforms.auditing.audit_plan import AuditPlan, plan_audit
from transforms.auditing.audit_tables import AuditTables
from transforms.auditing.laid_out import laid_out
from transforms.auditing.part_columns import PartColumns
from transforms.auditing.slicing import kinds_of
from transforms.auditing.survey import Limits, Survey
from transforms.errors import AttribeamError
from transforms.overlap import ahead
from transforms.records.part import damaged
from transforms.storage.manifest import quarantine_name
from transforms.storage.place import Place

# Of the first refusal that is shown of a code.
MESSAGE_CHARACTERS = 200


@dataclasses.dataclass(frozen=True)
class AuditJob:
    """What is audited.

    Attributes:
        root: the run's directory.
        classes: names of the output's entries.
        refused: whether rows were refused, so that there are files of them.
    """

    root: str
    classes: tuple[str, ...] = ()
    refused: bool = False
    limits: Limits = dataclasses.field(default_factory=Limits)


class Surveyed:
    """The survey of some parts and what was refused beside them; of no part, nothing.

    Attributes:
        refusals: rows by code, and the first message of each in the alphabet.
    """

    def __init__(self) -> None:
        self.survey: Survey | None = None
        self.refused, self.messages = Counter[str](), dict[str, str]()

    def add(self, table: pa.Table, job: AuditJob) -> None:
        """Look at rows of a part."""
        if self.survey is None:
            self.survey = Survey(PartColumns.of(table.schema), job.classes, job.limits)
        self.survey.add(table)

    def add_refused(self, table: pa.Table) -> None:
        """Look at rows of a quarantine file."""
        for code, message in zip(table["code"].to_pylist(), table["message"].to_pylist(), strict=True):
            self._refuse(code, 1, message)

    def merge(self, other: Surveyed) -> None:
        """Look at what another one looked at."""
        if other.survey is not None:
            if self.survey is None:
                self.survey = Survey(other.survey.columns, other.survey.classes, other.survey.limits)
            self.survey.merge(other.survey)
        for code, rows in other.refused.items():
            self._refuse(code, rows, other.messages[code])

    def quarantine(self) -> pa.Table:
        """The table of what was refused, most rows first."""
        codes = sorted(self.refused, key=lambda code: (-self.refused[code], code))
        return pa.table(
            {
                "code": pa.array(codes, pa.string()),
                "rows": pa.array([self.refused[code] for code in codes], pa.int64()),
                "message": pa.array([self.messages[code][:MESSAGE_CHARACTERS] for code in codes], pa.string()),
            }
        )

    def _refuse(self, code: str, rows: int, message: str) -> None:
        self.refused[code] += rows
        self.messages[code] = min(self.messages.get(code, message), message)


def plan_of(surveyed: Surveyed) -> AuditPlan | None:
    """How the parts are looked at again; None where there is no row."""
    return plan_audit(surveyed.survey) if surveyed.survey is not None else None


def survey_parts(names: Iterable[str], job: AuditJob, place: Place) -> Surveyed:
    """The first look at parts.

    Raises:
        AttribeamError: E_PART_DAMAGED, E_PART_MISSING.
    """
    names, found = list(names), Surveyed()
    for table in _row_groups_of(names, place):
        found.add(table, job)
    if job.refused:
        beside = [other for other in map(quarantine_name, names) if place.exists(other)]
        for table in _row_groups_of(beside, place):
            found.add_refused(table)
    return found


def aggregate_parts(names: Iterable[str], plan: AuditPlan, place: Place) -> Aggregates:
    """The second look at parts.

    Raises:
        AttribeamError: E_PART_DAMAGED, E_PART_MISSING.
    """
    found = Aggregates(plan)
    tables = (table for name in names for table in _row_groups(place, name))
    for rows in ahead((rows for table in tables for rows in laid_out(table, plan)), 1):
        found.add(rows)
    return found


def audit_tables(found: Aggregates | None, surveyed: Surveyed) -> AuditTables:
    """The audit as tables; what is known of the run itself is not yet said."""
    quarantine = {"quarantine": surveyed.quarantine()}
    if found is None:
        return AuditTables.of(quarantine, {"inputs": {}, "slices": {}, "limits": ["there is no row"], "duplicates": {}})
    return AuditTables.of(tables_of(found) | quarantine, _about(found.plan))


def audit_parts(names: Iterable[str], job: AuditJob, place: Place) -> AuditTables:
    """The audit of these parts.

    Raises:
        AttribeamError: E_PART_DAMAGED, E_PART_MISSING.
    """
    names = list(names)
    surveyed = survey_parts(names, job, place)
    plan = plan_of(surveyed)
    return audit_tables(aggregate_parts(names, plan, place) if plan is not None else None, surveyed)


def _row_groups_of(names: Iterable[str], place: Place) -> Iterator[pa.Table]:
    """The rows of parts, row group by row group, the next one read while this one is looked at.

    One thread reads all parts: what a thread of each had freed would stay Arrow's for a while after its end.
    """
    return ahead((table for name in names for table in _row_groups(place, name)), 1)


def _row_groups(place: Place, name: str) -> Iterator[pa.Table]:
    try:
        with place.open(name) as file:
            parquet = pq.ParquetFile(file, pre_buffer=False, read_dictionary=["source_file"])
            for group in range(parquet.num_row_groups):
                yield parquet.read_row_group(group, use_threads=False)
    except FileNotFoundError as error:
        raise AttribeamError("E_PART_MISSING", f"{name} is not there; run the same command again") from error
    except (pa.ArrowException, OSError) as error:
        raise damaged(name, "it cannot be read") from error


def _about(plan: AuditPlan) -> dict[str, Any]:
    return {
        "inputs": {
            one.column.input: {
                "shape": list(one.column.shape or [one.size]),
                "kind": one.column.kind,
                "positions": one.size,
                "pooled": list(one.pool.shape) if one.pool else None,
                "strongest": one.strongest,
                "tokens": one.words[0] if one.words else None,
            }
            for one in plan.maps
        },
        "slices": {kind: sum(own == kind for own, _ in plan.slices) for kind in kinds_of(plan.slices)},
        "limits": list(plan.limits),
        "duplicates": plan.duplicates,
    }
