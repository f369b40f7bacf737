"""What is sent to Dataflow, and what is uploaded for it: the request is built by Beam's own client, only not sent."""

from __future__ import annotations

import base64
import bz2
import dataclasses
import importlib.metadata
import io
import json
import pathlib
import re
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import datasets
import pytest
from apache_beam.io.gcp import gcsio
from apache_beam.portability.api import beam_runner_api_pb2 as api
from apache_beam.runners.dataflow.internal import apiclient
from apache_beam.transforms.resources import AcceleratorHint, MinRamHint
from packaging.requirements import Requirement

from pipeline.launch import run
from pipeline.outcome import Outcome
from pipeline.resources import Resources
from transforms import errors

ROOT = pathlib.Path(__file__).parent.parent.parent
L4, IMAGE, BUCKET = "type:nvidia-l4;count:1;install-nvidia-driver", "images.example/attribeam:1", "gs://bucket"
CANARY = "canary-f3b1c9e07d"
SECRETS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AZURE_STORAGE_ACCOUNT_KEY", "GOOGLE_APPLICATION_CREDENTIALS")
OPTIONS = (
    "--runner=DataflowRunner",
    "--project=attributions",
    "--region=europe-west4",
    f"--temp_location={BUCKET}/temp",
    f"--template_location={BUCKET}/job.json",
    f"--sdk_container_image={IMAGE}",
    "--experiments=no_use_multiple_sdk_containers",
    "--no_auth",
)
# How Beam writes a pickled function: base64 of bz2, which begins with the letters BZh9.
PICKLED = re.compile(rb"QlpoOT[A-Za-z0-9+/]+=*")


@dataclasses.dataclass(frozen=True)
class Sent:
    """What leaves the launcher: objects by name (the last part of their URL), and what `run` gave."""

    objects: dict[str, bytes]
    outcome: Outcome

    @property
    def job(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.objects["job.json"])
        return found

    @property
    def pipeline(self) -> api.Pipeline:
        return api.Pipeline.FromString(self.objects["pipeline.pb"])

    def hints(self, step: str) -> dict[str, bytes]:
        """The resource hints of the environment of a step, by URN."""
        environment = self.pipeline.components.transforms[self._id(step)].environment_id
        return dict(self.pipeline.components.environments[environment].resource_hints)

    def steps(self) -> dict[str, str]:
        """The environment of every step that runs code of ours."""
        transforms = self.pipeline.components.transforms.values()
        return {one.unique_name: one.environment_id for one in transforms if one.spec.urn == "beam:transform:pardo:v1"}

    def _id(self, step: str) -> str:
        transforms = self.pipeline.components.transforms
        return next(key for key, one in transforms.items() if one.unique_name == step)


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """The wheel, as launch_scripts/dataflow.sh makes it."""
    folder = tmp_path_factory.mktemp("wheel")
    options = ["--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir", str(folder)]
    subprocess.run([sys.executable, "-m", "pip", "wheel", *options, str(ROOT)], check=True, cwd=folder)
    return next(folder.glob("attribeam-*.whl"))


@pytest.fixture
def staged(monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    """Uploads are kept here; nothing goes over the network."""
    kept: dict[str, bytes] = {}

    def keep(self: Any, folder: str, name: str, stream: io.IOBase, *_: Any, **__: Any) -> None:
        assert folder.startswith(BUCKET)
        kept[name] = stream.read()

    monkeypatch.setattr(apiclient.DataflowApplicationClient, "stage_file", keep)
    monkeypatch.setattr(gcsio.GcsIO, "is_soft_delete_enabled", lambda *_: False)
    return kept


def job(build: Any, inputs: Any, folder: pathlib.Path, **attribution: Any) -> Any:
    built = build(datasets.keras_classifier)
    return datasets.job(
        folder / "out",
        built.model,
        inputs["parquet"],
        built.features,
        attribution=built.attribution | {"steps": 8} | attribution,
        input={"label": "label"},
    )


@pytest.fixture
def sent(
    build: Any,
    inputs: Any,
    tmp_path: pathlib.Path,
    package: pathlib.Path,
    staged: dict[str, bytes],
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Sent]:
    """One job, sent from a machine whose environment holds secrets."""
    for name in SECRETS:
        monkeypatch.setenv(name, f"{CANARY}-{name}")
    options = (*OPTIONS, f"--extra_package={package}")
    outcome = run(job(build, inputs, tmp_path), tmp_path, options, resources=Resources(L4, "16GiB"))
    yield Sent(staged, outcome)


@pytest.mark.parametrize("name", ["google-auth-httplib2", "google-cloud-dataflow-client", "google-cloud-storage"])
def test_googles_packages_are_of_versions_that_beam_takes(name: str) -> None:
    """The extra `test-dataflow` installs these alone. Without the first, Beam would quietly look for no credentials."""
    wanted = [Requirement(text) for text in importlib.metadata.requires("apache-beam") or []]
    (taken,) = [one for one in wanted if one.name == name and one.marker and one.marker.evaluate({"extra": "gcp"})]
    assert taken.specifier.contains(importlib.metadata.version(name))


def test_the_request(sent: Sent, package: pathlib.Path) -> None:
    attributing = sent.hints("AttributeShards")
    assert attributing == {AcceleratorHint.urn: L4.encode(), MinRamHint.urn: str(16 * 2**30).encode()}
    steps = sent.steps()
    ours = {name for name in steps if name.startswith("AttributeShards")}
    others = {name for name in steps if not name.startswith("AttributeShards")}
    assert ours and {name.split("/")[0] for name in others} >= {"Shards", "FinalizeRun"}
    environments = sent.pipeline.components.environments
    assert all(dict(environments[steps[name]].resource_hints) == attributing for name in ours)
    assert not any(environments[steps[name]].resource_hints for name in others)

    images = {api.DockerPayload.FromString(one.payload).container_image for one in environments.values()}
    assert images == {IMAGE}
    environment = sent.job["environment"]
    (pool,) = environment["workerPools"]
    assert {one["containerImage"] for one in pool["sdkHarnessContainerImages"]} == {IMAGE}
    assert "no_use_multiple_sdk_containers" in environment["experiments"]
    assert sent.job["type"] in (1, "JOB_TYPE_BATCH")
    assert package.name in {one["name"] for one in pool["packages"]}
    assert sent.objects[package.name] == package.read_bytes()
    assert not sent.outcome.manifest and "--template_location" in sent.outcome.describe()


def test_no_secret_is_sent(sent: Sent) -> None:
    pickled = [bz2.decompress(base64.b64decode(found)) for found in PICKLED.findall(sent.objects["pipeline.pb"])]
    assert any(b"AttributionJob" in one for one in pickled), "the functions are not found: nothing would be proved"
    texts = [*sent.objects.values(), *pickled]
    texts += [base64.b64decode(found) for text in texts for found in re.findall(rb"[A-Za-z0-9+/]{64,}={0,2}", text)]
    assert not [text[:100] for text in texts if CANARY.encode() in text]


def test_a_template_cannot_hold_the_job_that_computes_a_baseline(
    build: Any, inputs: Any, tmp_path: pathlib.Path, staged: dict[str, bytes]
) -> None:
    with pytest.raises(errors.UsageError) as refused:
        run(job(build, inputs, tmp_path, baseline="mean"), tmp_path, OPTIONS)
    assert refused.value.code == "E_TEMPLATE_BASELINES"
    assert not staged


@pytest.mark.parametrize(
    "given", [{"accelerator": "nvidia-l4"}, {"accelerator": "type:nvidia-l4;count:0"}, {"min_ram": "16"}]
)
def test_a_hint_that_dataflow_would_not_take_is_refused(given: dict[str, str]) -> None:
    with pytest.raises(errors.UsageError) as refused:
        Resources(**given)
    assert refused.value.code == "E_RESOURCES"


def test_the_template_calls_the_command_with_its_parameters(tmp_path: pathlib.Path) -> None:
    source, folder = tmp_path / "given.yaml", tmp_path / "copy"
    source.write_text("model: {path: gs://bucket/model}\n")
    folder.mkdir()
    arguments = [
        f"--config={source}",
        "--min_ram=16GiB",
        f"--accelerator={L4}",
        "--runner=DataflowRunner",
        "--region=r",
    ]
    script = f"import sys, pathlib, template; print(template.command({arguments!r}, pathlib.Path({str(folder)!r})))"
    called = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT / "launch_scripts/dataflow", capture_output=True, text=True, check=True
    )
    copy = folder / "config.yaml"
    wanted = [
        "run",
        str(copy),
        "--accelerator",
        L4,
        "--min-ram",
        "16GiB",
        "--",
        "--runner=DataflowRunner",
        "--region=r",
    ]
    assert called.stdout.strip() == repr(wanted)
    assert copy.read_text() == source.read_text()


def test_the_templates_metadata_takes_what_the_command_takes() -> None:
    metadata = json.loads((ROOT / "launch_scripts/dataflow/metadata.json").read_text())
    patterns = {one["name"]: re.compile(one["regexes"][0]) for one in metadata["parameters"]}
    assert set(patterns) == {"config", "accelerator", "min_ram"}
    for value in (L4, "type:nvidia-tesla-t4;count:2", "nvidia-l4", "type:nvidia-l4;count:0"):
        assert bool(patterns["accelerator"].search(value)) == _taken(accelerator=value)
    for value in ("16GiB", "1.5TB", "16"):
        assert bool(patterns["min_ram"].search(value)) == _taken(min_ram=value)


def _taken(**given: str) -> bool:
    try:
        Resources(**given)
    except errors.UsageError:
        return False
    return True
