"""Attempts at one shard that disagree about which of its rows crash their process: the first to publish wins, the
others adopt its part; and where the quarantine file of one meets the part of another, no row is lost or told twice."""

from __future__ import annotations

import dataclasses
import functools
import pathlib
from collections.abc import Callable, Iterator
from typing import Any

import datasets
import pyarrow.parquet as pq
import pytest

from pipeline import plan
from pipeline.damage import set_damaged_aside
from pipeline.prepare import Prepared, prepare
from transforms.attribute import attribute_shard, read_examples
from transforms.attribution.config import AttributionConfig, ModelConfig
from transforms.attribution.explainer import Explainer
from transforms.errors import AttribeamError, Fault
from transforms.finalize import RunPlan, every_shard, finalize_run
from transforms.isolation.bounds import Bounds
from transforms.isolation.oversight import Oversight
from transforms.isolation.poison import Poison, healthy, refusals
from transforms.records.examples import Examples, Refusal
from transforms.runs.attribution_job import AttributionJob
from transforms.runs.checked_parts import check_parts
from transforms.runs.plan_file import write_plan
from transforms.runs.shard import Shard
from transforms.runs.verify import verify_run
from transforms.runs.work_done import ShardResult, WorkDone
from transforms.storage import manifest as names
from transforms.storage.place import LocalPlace

Act = Callable[[], Any]


class Overtaken(LocalPlace):
    """A place where something happens just before the file of one name is published, once."""

    before: tuple[str, Act] | None = None

    def publish(self, file: pathlib.Path, name: str) -> bool:
        if self.before is not None and self.before[0] == name:
            (_, act), self.before = self.before, None
            act()
        return super().publish(file, name)


@dataclasses.dataclass
class Run:
    """One of a single shard, with a plan, and nothing published yet."""

    prepared: Prepared
    explainer: Explainer

    def __post_init__(self) -> None:
        self.job = dataclasses.replace(self.prepared.job, isolation=Bounds(60.0, None, 1))
        (self.shard,), self.place = self.prepared.shards[:], Overtaken(self.job.root)
        self.name = self.job.part_of(self.shard)
        self.place.publish_bytes(b"{}\n", names.RUN)
        write_plan(self.place, self.job.fingerprint, self.prepared.shards.with_files(), self.job.layout)

    def attempt(self, *poisoned: int, reading: Act = int, publishing: Act | None = None) -> ShardResult:
        """As by a child that leaves these rows out; what happens just before it reads, and before its part stands."""
        poison = [Poison(row, row + 1, Fault("E_POISON_CRASH", "it died")) for row in poisoned]
        read = functools.partial(read_without, poison, reading)
        self.place.before = None if publishing is None else (self.name, publishing)
        oversight = Oversight(read, refused=refusals(self.shard, poison))
        return attribute_shard(self.shard, self.job, self.explainer, self.place, oversight=oversight)

    def finalize(self) -> dict[str, Any]:
        """Without Beam."""
        planned = RunPlan(self.job, 1, self.shard.size, 0.5, 0.0, {})
        checked = (check_parts(numbers, self.job, self.place) for numbers in every_shard(planned, self.place))
        return finalize_run(planned, self.place, checked, WorkDone())

    def mend(self, *poisoned: int) -> None:
        """What the launcher does where finalizing finds damage: away with it, and once more."""
        set_damaged_aside(self.job, 1, self.place, {})
        assert not self.place.exists(self.name)
        self.attempt(*poisoned)
        self.finalize()

    def holds(self, *poisoned: int) -> None:
        """Each row is in the part or in its quarantine file, and `verify` finds no fault."""
        refused = pathlib.Path(self.place.root, names.quarantine_name(self.name))
        assert (pq.read_table(refused)["source_row"].to_pylist() if refused.exists() else []) == [*poisoned]
        others = [row for row in range(self.shard.size) if row not in poisoned]
        assert datasets.read(self.place.root)["source_row"].to_pylist() == others
        assert verify_run(self.place, deep=True) == []


def read_without(
    poison: list[Poison], begin: Act, shard: Shard, job: AttributionJob, batch_rows: int
) -> Iterator[tuple[Examples, list[Refusal]]]:
    begin()
    for rows in healthy(shard.rows, poison):
        yield from read_examples(dataclasses.replace(shard, rows=rows), job, batch_rows)


@pytest.fixture(scope="module")
def explainer(build: Any) -> Explainer:
    return Explainer.load(ModelConfig(**build(datasets.linear).model), AttributionConfig(steps=8, batch_size=16))


@pytest.fixture
def run(job_of: Any, explainer: Explainer) -> Run:
    config = job_of(datasets.linear, input={"label": None}, attribution={"batch_size": 16})
    return Run(prepare(config, pathlib.Path("/"), explainer, plan.Known()), explainer)


def test_who_finds_no_poison_adopts_the_part_of_one_who_did(run: Run) -> None:
    winners = list[ShardResult]()
    loser = run.attempt(publishing=lambda: winners.append(run.attempt(5)))
    assert ([winner.published for winner in winners], loser.published) == ([True], False)
    for result in (*winners, loser):
        assert (result.rows, result.quarantined, result.refused) == (datasets.ROWS - 1, 1, {"E_POISON_CRASH": 1})
    assert run.finalize()["quarantined_by_code"] == {"E_POISON_CRASH": 1}
    run.holds(5)


def test_who_finds_poison_when_a_part_stands_already_refuses_nothing(run: Run) -> None:
    loser = run.attempt(5, reading=run.attempt)
    assert (loser.rows, loser.quarantined, loser.published, loser.refused) == (datasets.ROWS, 0, False, {})
    assert run.finalize()["quarantined"] == 0
    run.holds()


def test_a_quarantine_file_beside_a_part_that_has_its_rows_is_damage(run: Run) -> None:
    """Whoever wrote it was overtaken, or killed, before a part of its own stood there."""
    loser = run.attempt(5, publishing=run.attempt)
    assert (loser.rows, loser.quarantined, loser.published) == (datasets.ROWS, 0, False)
    with pytest.raises(AttribeamError, match=r"E_PART_DAMAGED: _quarantine/part-.*rows that are in the part"):
        run.finalize()
    run.mend()
    run.holds()


def test_a_quarantine_file_of_other_rows_than_the_part_lacks_is_damage(run: Run) -> None:
    """As many, so that by their counts nothing would be wrong, and row 5 would be nowhere."""
    run.attempt(6, publishing=lambda: run.attempt(5))
    with pytest.raises(AttribeamError, match=r"E_PART_DAMAGED: _quarantine/part-.*other rows than those"):
        run.finalize()
    run.mend(5)
    run.holds(5)


def test_a_row_that_a_part_has_twice_is_damage(run: Run) -> None:
    run.attempt()
    table = pq.read_table(pathlib.Path(run.place.root, run.name))
    doubled = table.take([0, 0, *range(2, datasets.ROWS)])
    pq.write_table(doubled, pathlib.Path(run.place.root, run.name), write_page_checksum=True)
    with pytest.raises(AttribeamError, match=r"E_PART_DAMAGED: part-.*some too often"):
        run.finalize()
