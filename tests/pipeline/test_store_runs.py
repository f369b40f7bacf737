"""Whole jobs whose model, inputs and output stand in an object store: the same rows, and no fault that is not named."""

from __future__ import annotations

import pathlib
import tempfile
from collections.abc import Callable, Iterator
from typing import Any

import datasets
import pyarrow as pa
import pytest
import yaml
from datasets import Command, launch, read
from stores import SECRETS, SHORT, Fault, Store

from pipeline.config import JobConfig
from pipeline.launch import run
from transforms.errors import AttribeamError
from transforms.runs.verify import verify_run
from transforms.storage.own_folder import STAGED
from transforms.storage.place import open_place

# bytes that do not depend on what the machine does fastest, in several shards
GIVEN: dict[str, Any] = {"attribution": {"batch_size": 16}, "output": {"shard_bytes": 600}, "input": {"id": "name"}}
SHARDS = 4
OBJECTS = {"parquet": "data/rows [1] #é%20.parquet", "none": "data/rows.tfrecord", "gzip": "data/rows.tfrecord.gz"}


@pytest.fixture(autouse=True)
def temporary(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[pathlib.Path]:
    """The temporary directory, for this test alone; no copy is left there."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    yield folder
    assert list(folder.glob(f"{STAGED}*")) == []


@pytest.fixture
def stored(job_of: Any, s3: Store) -> Callable[..., JobConfig]:
    """`job_of`, with model, inputs and output in the store."""

    def made(make: Any, kind: str = "parquet", out: str = "out", **parts: Any) -> JobConfig:
        return s3.take(job_of(make, kind, out, **GIVEN | parts), out, f"{out}-{OBJECTS[kind]}")

    return made


def rows(folder: pathlib.Path) -> pa.Table:
    """A run's rows, but for the names of their files, which say where those stand."""
    return read(folder).drop_columns(["source_file"])


def assert_same(found: pa.Table, wanted: pa.Table) -> None:
    assert found.column_names == wanted.column_names
    assert found.num_rows == wanted.num_rows == datasets.ROWS
    for name in wanted.column_names:
        assert found[name].to_pylist() == wanted[name].to_pylist(), name


@pytest.mark.parametrize("kind", ["parquet", "gzip"])
def test_a_run_from_and_to_a_store_has_the_rows_of_a_local_one(
    stored: Any, job_of: Any, s3: Store, tmp_path: pathlib.Path, kind: str
) -> None:
    make = datasets.saved_model if kind == "gzip" else datasets.keras_classifier
    local = launch(job_of(make, kind, "local", **GIVEN))
    config = stored(make, kind)
    s3.proxy.fail()
    remote = run(config, tmp_path)
    assert remote.manifest["shards"] == local.manifest["shards"] == (1 if kind == "gzip" else SHARDS)
    assert_same(rows(s3.download(tmp_path / "copy") / "out"), rows(pathlib.Path(local.root)))
    place = open_place(remote.root)
    assert verify_run(place, deep=True) == []
    assert remote.root == f"{s3.url}/out"


def test_tfrecord_is_fetched_once_for_all_shards(stored: Any, s3: Store, tmp_path: pathlib.Path) -> None:
    requests = []
    for shard_bytes, shards in ((600, SHARDS), (10**6, 1)):
        config = stored(datasets.keras_classifier, "none", f"out-{shards}", output={"shard_bytes": shard_bytes})
        s3.proxy.fail()
        assert run(config, tmp_path).manifest["shards"] == shards
        requests.append(len(s3.proxy.matching("^GET .*data/rows")))
    assert requests[0] == requests[1]


def test_a_run_is_resumed_where_it_stopped(stored: Any, s3: Store, tmp_path: pathlib.Path) -> None:
    config = stored(datasets.keras_classifier)
    run(config, tmp_path)
    first = rows(s3.download(tmp_path / "first") / "out")
    place = open_place(config.output.path)
    parts = [name for name in place.names() if name.startswith("part-")]
    for name in ("_SUCCESS", "_manifest.json", "_files.parquet", parts[2]):
        place.remove(name)
    outcome = run(config, tmp_path)
    assert outcome.computed == 1
    assert_same(rows(s3.download(tmp_path / "again") / "out"), first)
    s3.proxy.fail()
    assert run(config, tmp_path).computed == 0
    assert not s3.proxy.matching("^PUT .*part-|^GET .*data/")


def test_faults_that_pass_do_not_show(stored: Any, s3: Store, tmp_path: pathlib.Path) -> None:
    config = stored(datasets.keras_classifier)
    faults = [
        Fault(f"^{method} .*{what}", times=SHORT.tries - 1, **kind)
        for method, what, kind in (
            ("PUT", "/out/part-00001", {"status": 503}),
            ("PUT", "/out/part-00002", {"swallowed": True}),
            ("PUT", "/out/part-00003", {"torn": True}),
            ("PUT", "/out/_run", {"swallowed": True}),
            ("PUT", "/out/_SUCCESS", {"status": 500}),
            ("GET", "data/", {"cut": True}),
            ("GET", "keras", {"cut": True}),
            ("GET", "list-type", {"cut": True}),
            ("GET", "/out/part-00000", {"cut": True}),
        )
    ]
    s3.proxy.fail(*faults)
    outcome = run(config, tmp_path)
    assert s3.proxy.befallen() == {fault: fault.times for fault in faults}, "each was met"
    assert outcome.manifest["rows"] == datasets.ROWS
    assert verify_run(open_place(outcome.root), deep=True) == []


LASTING = [
    (Fault("^PUT .*/out/part-00002", status=503), "E_STORE_UNAVAILABLE", "writing {url}/out/part-00002"),
    (Fault("^PUT .*/out/part-00001", status=403), "E_STORE_DENIED", "writing {url}/out/part-00001"),
    (Fault("^GET .*/out/part-00003", cut=True), "E_STORE_UNAVAILABLE", "reading {url}/out/part-00003"),
    (Fault("^GET .*data/", cut=True), "E_STORE_UNAVAILABLE", "reading {url}/out-data/rows"),
    (Fault("^GET .*keras", status=500), "E_STORE_UNAVAILABLE", "reading {url}/out-model/keras_classifier.keras"),
]


@pytest.mark.parametrize(("fault", "code", "named"), LASTING, ids=[f"{one[0].request[1:]}-{one[1]}" for one in LASTING])
def test_a_fault_that_lasts_is_named_and_leaves_nothing_half(
    stored: Any, s3: Store, tmp_path: pathlib.Path, fault: Fault, code: str, named: str
) -> None:
    config = stored(datasets.keras_classifier)
    s3.proxy.fail(fault)
    with pytest.raises(AttribeamError, match=code) as caught:
        run(config, tmp_path)
    assert named.format(url=s3.url) in str(caught.value)
    s3.proxy.fail()
    place = open_place(config.output.path)
    assert "_SUCCESS" not in place.names()
    outcome = run(config, tmp_path)
    assert outcome.computed < SHARDS or "out-" in named
    assert verify_run(place, deep=True) == []
    assert not [name for name in place.names() if "damaged" in name], "nothing was taken for damaged"


def test_a_store_that_fails_makes_no_part_look_damaged(stored: Any, s3: Store, tmp_path: pathlib.Path) -> None:
    config = stored(datasets.keras_classifier)
    run(config, tmp_path)
    open_place(config.output.path).remove("_SUCCESS")
    before = [name for name in s3.names() if "part-" in name]
    s3.proxy.fail(Fault("^GET .*/out/part-00003", status=500))
    with pytest.raises(AttribeamError, match=r"E_STORE_UNAVAILABLE: reading .*part-00003"):
        run(config, tmp_path)
    s3.proxy.fail()
    assert [name for name in s3.names() if "part-" in name] == before and before


def test_every_command_takes_urls_and_shows_no_secret(
    attribeam: Command, stored: Any, s3: Store, tmp_path: pathlib.Path, temporary: pathlib.Path
) -> None:
    config = stored(datasets.keras_classifier)
    (tmp_path / "classes.txt").write_text("\n".join("abc"))
    classes = s3.put(tmp_path / "classes.txt")
    path, out = tmp_path / "job.yaml", config.output.path
    path.write_text(yaml.safe_dump(config.model_dump(mode="json")))
    said = []
    for command in (
        ["plan", path, "--set", f"model.classes={classes}"],
        ["run", path, "--set", f"model.classes={classes}"],
        ["status", out],
        ["verify", out, "--deep"],
        ["evaluate", out, "--rows", "4", "--metric", "deletion"],
        ["inspect", config.model.path],
        ["inspect", config.input.files[0]],
    ):
        code, *texts = attribeam(*command)
        assert code == 0, (command, texts)
        said += texts
    s3.proxy.fail(Fault("GET", status=403, body="".join(SECRETS.values()).encode()))
    for command in (["status", out], ["verify", out], ["inspect", config.model.path], ["run", path]):
        code, *texts = attribeam(*command)
        assert code == 1
        assert "E_STORE_DENIED: " in texts[1]
        assert f"{s3.url}/" in texts[1]
        said += texts
    s3.proxy.fail()
    logs = list(temporary.glob("*.log"))
    written = [s3.get(name) for name in s3.names()] + [log.read_bytes() for log in logs]
    assert len(logs) == 4
    assert len(written) > 15
    for secret in SECRETS.values():
        assert not [text for text in said if secret in text]
        assert not [data for data in written if secret.encode() in data]


@pytest.mark.parametrize("key", ["model.path", "input.files", "output.path", "model.classes"])
def test_credentials_in_a_configured_url_are_refused(attribeam: Command, tmp_path: pathlib.Path, key: str) -> None:
    (tmp_path / "job.yaml").write_text(
        yaml.safe_dump(
            {"model": {"path": "m"}, "input": {"files": "x", "features": {"x": "p"}}, "output": {"path": "out"}}
        )
    )
    for url in ("s3://AKIA:canarysecret@bucket/x", "az://c/x?sig=canarysecret"):
        code, out, err = attribeam("plan", tmp_path / "job.yaml", "--set", f"{key}={url}")
        assert (code, "E_STORE_SECRET" in err) == (2, True)
        assert "canary" not in out + err
    for command in ("status", "verify", "inspect"):
        code, out, err = attribeam(command, "s3://AKIA:canarysecret@bucket/x")
        assert (code, "E_STORE_SECRET" in err, "canary" in out + err) == (2, True, False)
