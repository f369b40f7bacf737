"""A kill campaign: `PYTHONPATH=tests python -m campaigns.kill [--long]`, from the root. It prints a line a scenario.

Launchers and workers are killed (SIGKILL) before and after each call to storage, and at random moments; attempts race
at every shard, with and without a lock, beside another configuration; stopped workers go on after `_SUCCESS`. All the
while a reader looks. After each round the same command is given again, and what is there then is compared with an
undisturbed run, to the byte. Every wait has an end. `campaigns.kill_commands` does the like with real models and
Beam.
"""

from __future__ import annotations

import json
import os
import pathlib
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator

from campaigns import kill_world as world
from campaigns.kill_world import DONE, HUNG, LOST, REFUSED, Task, ended, forked
from campaigns.steps import signalled

OURS, OTHER = "ours", "another configuration"
SLOW_S = 0.01  # for each batch of rows


class Campaign:
    """Rounds, each in an output directory of its own; `counts` of what happened in all of them."""

    def __init__(self, folder: pathlib.Path, seed: int) -> None:
        self.folder, self.dice, self.counts, self.faults = folder, random.Random(seed), Counter[str](), list[str]()
        self.wanted = {OURS: self._undisturbed("a", 8), OTHER: self._undisturbed("b", 9)}
        self.steps, self.slow_s = self._steps(folder / "steps"), self._slow_s()

    def _steps(self, counted: pathlib.Path) -> int:
        def act(number: int, what: str, subject: object) -> None:
            counted.write_text(str(number))

        assert self.end(self.launch(Task(self.job("counted"), act))) == DONE
        return int(counted.read_text())

    def _slow_s(self) -> float:
        """What a launcher takes whose model is slow: moments to kill it at are drawn from all of that."""
        started = time.monotonic()
        assert self.end(self.launch(Task(self.job("slow"), seconds=SLOW_S))) == DONE
        return time.monotonic() - started

    def job(self, out: str, steps: int = 8) -> world.JobConfig:
        """A job that writes to a folder."""
        return world.job_in(self.folder, out, steps)

    def _undisturbed(self, out: str, steps: int) -> dict[str, str]:
        job = self.job(out, steps)
        code = ended(forked(lambda: world.launched(Task(job)), self.folder / "said"))
        assert code == DONE, (self.folder / "said").read_text()
        return world.contents(pathlib.Path(job.output.path))

    def round(self, disturb: Callable[[world.JobConfig, world.JobConfig], None], locked: bool = True) -> None:
        """Disturb a run while a reader looks, then give the same command again."""
        out, log = self.folder / "out", self.folder / "faults"
        shutil.rmtree(out, ignore_errors=True)
        jobs = {OURS: self.job("out"), OTHER: self.job("out", 9)}
        reader = forked(lambda: world.reading(out, self.wanted, log), log)
        disturb(jobs[OURS], jobs[OTHER])
        self._count(ended(forked(lambda: world.mended(jobs, self.wanted, locked), log)), "mended")
        os.kill(reader, signal.SIGTERM)
        self._count(ended(reader), "read")
        self.counts["rounds"] += 1
        if log.exists():
            self.faults.append(log.read_text())
            log.unlink()

    def end(self, pid: int) -> int:
        """Wait for a disturbed child; however it ends, but for hanging, is right here."""
        code = ended(pid)
        self.counts["kills"] += code == LOST
        self.counts["hung"] += code == HUNG
        self.counts["refused"] += code == REFUSED
        return code

    def launch(self, task: Task) -> int:
        """A launcher, as a process."""
        return forked(lambda: world.launched(task), self.folder / "said")

    def attempt(self, task: Task) -> int:
        """A worker that begins when there is a plan, as a process."""
        order, plan = random.Random(self.dice.random()), pathlib.Path(task.job.output.path, "_plan.parquet")

        def begin() -> None:
            end = time.monotonic() + world.DEADLINE_S / 2
            while not plan.exists() and time.monotonic() < end:
                time.sleep(0.001)
            world.attempted(task, order)

        return forked(begin, self.folder / "said")

    def _count(self, code: int, what: str) -> None:
        self.counts["hung"] += code == HUNG
        if code != DONE:
            self.faults.append(f"{what}: ended with {code}")


def at_each_step(campaign: Campaign, steps: Iterator[int]) -> None:
    """The launcher, at a step; then its successors, none to four of them, at others."""
    for at in steps:

        def disturb(job: world.JobConfig, other: world.JobConfig, at: int = at) -> None:
            campaign.end(campaign.launch(Task(job, signalled(at, signal.SIGKILL))))
            for _ in range(campaign.dice.randrange(5)):
                again = campaign.dice.randrange(1, campaign.steps)
                campaign.end(campaign.launch(Task(job, signalled(again, signal.SIGKILL))))

        campaign.round(disturb)


def at_random(campaign: Campaign, kills: int) -> None:
    """The launcher, at a moment, again and again until it gets through; so many kills. Moments are drawn from what a
    run takes, which is less once shards are done: where one gets through, earlier ones."""
    longest_s = campaign.slow_s
    while campaign.counts["kills"] < kills:

        def disturb(job: world.JobConfig, other: world.JobConfig) -> None:
            nonlocal longest_s
            for _ in range(3):
                pid = campaign.launch(Task(job, seconds=SLOW_S))
                time.sleep(campaign.dice.uniform(0.0, longest_s))
                os.kill(pid, signal.SIGKILL)
                if campaign.end(pid) == DONE:
                    longest_s *= 0.9
                    break
                longest_s = min(campaign.slow_s, longest_s * 1.1)

        campaign.round(disturb)


def races(campaign: Campaign, rounds: int) -> None:
    """Two launchers and two more attempts at every shard, without a lock; every third time another configuration
    besides. One to three of them are killed at a step."""
    for number in range(rounds):

        def disturb(job: world.JobConfig, other: world.JobConfig, number: int = number) -> None:
            def task(config: world.JobConfig, killed: bool) -> Task:
                at = campaign.dice.randrange(1, campaign.steps)
                return Task(config, signalled(at if killed else 0, signal.SIGKILL), locked=False, seconds=0.002)

            killed = campaign.dice.sample([True, True, False, False], 4)
            pids = [campaign.launch(task(job, killed[0])), campaign.launch(task(job, killed[1]))]
            pids += [campaign.attempt(task(job, one)) for one in killed[2:]]
            if number % 3 == 0:
                pids.insert(1, campaign.launch(task(other, campaign.dice.random() < 0.5)))
            for pid in pids:
                campaign.end(pid)

        campaign.round(disturb, locked=False)


def zombies(campaign: Campaign, rounds: int) -> None:
    """Two workers stop at a step, the run is finished without them, and then they go on; one is killed after all."""
    for _ in range(rounds):

        def disturb(job: world.JobConfig, other: world.JobConfig) -> None:
            dice, half = campaign.dice, campaign.steps // 2
            stopped = [campaign.launch(Task(job, signalled(dice.randrange(half // 3, half), signal.SIGKILL), False))]
            campaign.end(stopped.pop())
            for _ in range(2):
                act = signalled(dice.randrange(1, half), signal.SIGSTOP)
                stopped.append(campaign.attempt(Task(job, act, False)))
            time.sleep(0.3)
            if campaign.end(campaign.launch(Task(job, locked=False))) != DONE:
                campaign.faults.append("a run beside stopped workers did not finish")
            before = finals(campaign.folder / "out")
            for pid in stopped:
                os.kill(pid, signal.SIGCONT)
            time.sleep(dice.uniform(0.0, 0.05))
            os.kill(stopped[0], signal.SIGKILL)
            for pid in stopped:
                campaign.end(pid)
            if finals(campaign.folder / "out") != before:
                campaign.faults.append("a finished run was changed")

        campaign.round(disturb, locked=False)


def finals(out: pathlib.Path) -> dict[str, bytes]:
    """Every file of a run, with what is in it."""
    found = (path for path in out.rglob("*") if path.is_file() and "_scratch" not in path.parts)
    return {str(path): path.read_bytes() for path in found}


def main(long: bool, seed: int = 0) -> int:
    """All scenarios; 1 if anything was lost, doubled, foreign, damaged or hung."""
    failed = 0
    with tempfile.TemporaryDirectory(prefix="attribeam-kill-") as folder:
        campaign = Campaign(pathlib.Path(folder), seed)
        every = range(1, campaign.steps + 1)
        scenarios: dict[str, Callable[[], None]] = {
            f"at each of {campaign.steps} steps": lambda: at_each_step(
                campaign, iter(every if long else campaign.dice.sample(every, 4))
            ),
            "at random": lambda: at_random(campaign, 120 if long else 4),
            "races": lambda: races(campaign, 45 if long else 2),
            "zombies": lambda: zombies(campaign, 20 if long else 1),
        }
        for name, scenario in scenarios.items():
            started = time.monotonic()
            campaign.counts.clear()
            scenario()
            looks = sum(map(int, (campaign.folder / "looks").read_text().split()))
            (campaign.folder / "looks").unlink()
            rows = world.ROWS * campaign.counts["rounds"]
            counts = {**campaign.counts, "rows compared": rows, "looks": looks, "faults": len(campaign.faults)}
            print(f"{name}: {json.dumps(counts)} ({time.monotonic() - started:.0f} s)", flush=True)
            print(*campaign.faults[:5], sep="\n", end="" if not campaign.faults else "\n")
            failed += len(campaign.faults) + campaign.counts["hung"]
            campaign.faults.clear()
        if failed and (campaign.folder / "said").exists():
            print((campaign.folder / "said").read_text()[-4000:])
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main("--long" in sys.argv[1:]))
