"""A store that fails: `PYTHONPATH=tests python -m campaigns.store_faults [--long]`, from the root.

The n-th request of a run fails once, or every one from there on, for every n (the short form: some), on a server that
speaks S3 (moto), and, for every third n, on the same in the words of Cloud Storage: 503, 403, an answer that is late,
cut, lost or too short, a request that is cut. What passes does not show; what lasts is named with the object and the
operation; and the same command ends well afterwards. The model is none (`fake_explainer`).
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import itertools
import os
import pathlib
import random
import re
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

import stores
from campaigns import kill_world as world
from stores import BUCKET, HASTY, SHORT, Fault, FaultyProxy

from transforms.errors import StoreError
from transforms.runs.verify import verify_run
from transforms.storage import bucket
from transforms.storage.place import open_place
from transforms.storage.url import parse_url

DENIED: dict[str, Any] = {"status": 403, "body": b"<Error><Code>AccessDenied</Code></Error>"}
KINDS: dict[str, dict[str, Any]] = {
    "503": {"status": 503},
    "403": DENIED,
    "cut answer": {"cut": True},
    "lost answer": {"swallowed": True},
    "short answer": {"short": True},
    "cut request": {"torn": True},
    "late answer": {"wait_s": 2 * HASTY.answer_s},
}
NAMED = re.compile(r"^E_STORE_\w+: (reading|writing|listing|looking for|removing) ")


@dataclasses.dataclass
class Store:
    """A prefix of a store behind a proxy that fails, and what happened so far."""

    root: str
    proxy: FaultyProxy
    folder: pathlib.Path
    numbers: Iterator[int] = dataclasses.field(default_factory=itertools.count)
    found: list[str] = dataclasses.field(default_factory=list)
    counts: Counter[str] = dataclasses.field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.proxy.fail()
        rows = pathlib.Path(world.job_in(self.folder, "local").input.files[0])
        url = parse_url(f"{self.root}/rows.parquet")
        assert bucket.Bucket(url).create(url.key, rows)
        self.files = [str(url)]
        self.proxy.fail()
        job = self.job()
        world.launched(world.Task(job))
        self.requests, self.wanted = len(self.proxy.requests), contents(job)
        assert len(self.wanted) > 3, "parts, and quarantine files"

    def job(self) -> world.JobConfig:
        """One that writes where nothing is yet."""
        job, out = world.job_in(self.folder, "local", shard_bytes=1000), f"{self.root}/out-{next(self.numbers)}"
        update = {"input": job.input.model_copy(update={"files": self.files})}
        return job.model_copy(update={**update, "output": job.output.model_copy(update={"path": out})})

    def one(self, at: int, kind: str, lasting: bool) -> None:
        """One run with a fault at a request, or from there on."""
        job, times = self.job(), float("inf") if lasting else 1
        bucket.PATIENCE = HASTY if kind == "late answer" else SHORT
        self.proxy.fail(Fault(".", times, after=at, **KINDS[kind]))
        what = f"{kind} {'from' if lasting else 'at'} request {at}"
        try:
            world.launched(world.Task(job))
            ended_well = True
        except StoreError as error:
            ended_well = False
            if not NAMED.match(str(error)) or self.root not in str(error):
                self.found.append(f"{what}: {error}")
        except Exception as error:  # noqa: BLE001 - any other is a fault of ours
            ended_well = False
            self.found.append(f"{what}: {type(error).__name__}: {str(error)[:300]}")
        # a fault that comes once passes, but for a refusal; a second try may also meet what the first one did
        if not ended_well and not lasting and kind != "403":
            self.found.append(f"{what}: it was not tried again")
        self.counts.update({"faults": 1, "ended well": ended_well, "failed by name": not ended_well})
        self._mended(job, what)

    def _mended(self, job: world.JobConfig, what: str) -> None:
        self.proxy.fail()
        bucket.PATIENCE = SHORT
        there = contents(job)
        if any(self.wanted.get(name) != digest for name, digest in there.items()):
            self.found.append(f"{what}: a part is not whole")
        world.launched(world.Task(job))
        if contents(job) != self.wanted or verify_run(open_place(job.output.path), deep=True):
            self.found.append(f"{what}: the same command does not end well")


def contents(job: world.JobConfig) -> dict[str, str]:
    """The sha256 of every part and every file of refused rows, by name."""
    place = open_place(job.output.path)
    names = [name for name in place.names() if name.startswith(("part-", "_quarantine/part-"))]
    return {name: hashlib.sha256(place.read(name)).hexdigest() for name in names}


@contextlib.contextmanager
def served() -> Iterator[dict[str, Store]]:
    """Both kinds of store, with credentials in the environment, and little patience."""
    bucket.PATIENCE = SHORT
    with stores.s3_server() as s3, stores.serving(s3.upstream) as gs, tempfile.TemporaryDirectory() as name:
        os.environ.update({**stores.environment(s3.url), **stores.speaking_gs(gs)})
        folder = pathlib.Path(name)
        yield {"s3": Store(f"s3://{BUCKET}/faults", s3, folder), "gs": Store(f"gs://{BUCKET}/faults-gs", gs, folder)}


def main(long: bool) -> int:
    """All faults; 1 if one of them was not borne."""
    dice, failed = random.Random(0), 0
    with served() as both:
        for name, store in both.items():
            started, kinds = time.monotonic(), itertools.cycle([kind for kind in KINDS if kind != "late answer"])
            every = range(0, store.requests, 1 if name == "s3" else 3)
            for at in every if long else sorted(dice.sample(every, 3 if name == "s3" else 1)):
                kind = next(kinds)
                store.one(at, kind, lasting=False)
                if (at % 5 == 4) if long else (dice.random() < 0.4):
                    store.one(at, kind, lasting=True)
                if long and at % 20 == 0:
                    store.one(at, "late answer", lasting=at % 40 == 0)
            counts = {"requests": store.requests, **store.counts, "not borne": len(store.found)}
            print(f"{name}: {counts} ({time.monotonic() - started:.0f} s)", *store.found[:10], sep="\n", flush=True)
            failed += len(store.found)
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main("--long" in sys.argv[1:]))
