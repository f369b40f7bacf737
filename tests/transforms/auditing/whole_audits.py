"""The audit of tables of rows, in one piece or in many that are merged in some order."""

import itertools
from collections.abc import Sequence

import pyarrow as pa

from transforms.auditing.aggregates import Aggregates
from transforms.auditing.audit_outputs import tables_of
from transforms.auditing.audit_plan import AuditPlan, plan_audit
from transforms.auditing.audit_tables import AuditTables
from transforms.auditing.laid_out import laid_out
from transforms.auditing.part_columns import PartColumns
from transforms.auditing.survey import Limits, Survey


def pieces(table: pa.Table, cuts: Sequence[int]) -> list[pa.Table]:
    """The rows between the cuts."""
    edges = [0, *sorted(min(cut, len(table)) for cut in cuts), len(table)]
    return [table.slice(start, stop - start) for start, stop in itertools.pairwise(edges)]


def planned(tables: Sequence[pa.Table], limits: Limits | None = None, classes: Sequence[str] = ()) -> AuditPlan:
    """The plan, of a survey of each table, merged from the last to the first."""
    surveys = []
    for table in tables:
        surveys.append(Survey(PartColumns.of(table.schema), classes, limits))
        surveys[-1].add(table)
    while len(surveys) > 1:
        last = surveys.pop()
        surveys[-1].merge(last)
    return plan_audit(surveys[0])


def aggregated(tables: Sequence[pa.Table], plan: AuditPlan, order: Sequence[int] = ()) -> Aggregates:
    """Each table's aggregates, merged two by two as the order says."""
    found = []
    for table in tables:
        found.append(Aggregates(plan))
        for rows in laid_out(table, plan):
            found[-1].add(rows)
    for place in order:
        if len(found) > 1:
            other = found.pop(place % len(found))
            found[(place // 7) % len(found)].merge(other)
    while len(found) > 1:
        found[0].merge(found.pop())
    return found[0]


def audited(table: pa.Table, limits: Limits | None = None, classes: Sequence[str] = ()) -> AuditTables:
    """The audit of one table, in one piece."""
    plan = planned([table], limits, classes)
    return AuditTables.of(tables_of(aggregated([table], plan)), {"limits": list(plan.limits)})
