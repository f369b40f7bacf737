"""What strangers may write, and what nobody should see: hostile names change nothing outside of OUT and command no
terminal; planted credentials stand in nothing that is written, sent or said."""

from __future__ import annotations

import base64
import bz2
import itertools
import logging
import pathlib
import re
import subprocess
import sys
import tempfile
from typing import Any

import datasets
import pyarrow as pa
import pytest
import yaml
from datasets import Command

from pipeline import runner, terminal
from pipeline.config import load_config, parse_config
from transforms.attribution.config import ModelConfig
from transforms.attribution.model.model import load_model
from transforms.attribution.model.user_code import load_function
from transforms.class_names import index_of, read_class_names
from transforms.errors import AttribeamError, Fault, UsageError, printable, quoted, without_secrets
from transforms.storage.listing import list_files
from transforms.storage.manifest import read_json
from transforms.storage.place import open_place
from transforms.storage.url import parse_url

NAMES = [
    "../../escape",
    "/etc/passwd",
    "*[a-z]?{a,b}",
    "nul\0byte",
    "\x1b[31mred\x1b[0m\x07\x9b2J",
    "\u202egnirts\u2066",
    "<script>alert(1)</script>",
    '=HYPERLINK("http://host.example")',
    "[bold]markup[/]",
    "%s%n{0}",
    "a\nline\r\u2028more",
    "n" * 10_000,
]
FILE = "\x1b[31m=evil <b>[x] %s \u202e.parquet"
PLAIN = {"model": {"path": "m"}, "input": {"files": "x", "features": {"x": "p"}}, "output": {"path": "out"}}
CANARY = "canary5f1d9e07"
SECRET_OPTIONS = [
    (f"--s3_secret_access_key={CANARY}",),
    ("--s3_secret_access_key", CANARY),
    (f"--s3_session_token={CANARY}",),
    (f"--azure_connection_string=AccountKey={CANARY}",),
    (f'--environment_config={{"command": "x", "env": {{"AWS_SECRET_ACCESS_KEY": "{CANARY}"}}}}',),
    ("--environment_option", f"AWS_SECRET_ACCESS_KEY={CANARY}"),
    (f"--job_endpoint=http://user:{CANARY}@host:1",),
]
PICKLED = re.compile(rb"QlpoOT[A-Za-z0-9+/]+=*")


def harmless(text: str) -> bool:
    return all(mark.isprintable() or mark == "\n" for mark in text)


@pytest.fixture
def hostile(tmp_path: pathlib.Path, job_of: Any) -> pathlib.Path:
    """A job in which everything that has a name has a bad one."""
    count = len(NAMES)
    rows = datasets.rows(count)
    classes = [NAMES[0], NAMES[4], NAMES[-1]]
    columns = {
        f"pixels{NAMES[4]}": rows["pixels"],
        f"id{NAMES[5]}": pa.array(NAMES),
        f"label{NAMES[6]}": pa.array([classes[row % 3] for row in range(count)]),
        **{f"kept{name}": pa.array(NAMES[number:] + NAMES[:number]) for number, name in enumerate(NAMES)},
    }
    path = datasets.write_parquet(tmp_path / "in" / FILE, columns)
    config = job_of(datasets.keras_classifier, path, out="out \x1b[31m<b>").model_dump(mode="json")
    config["model"]["classes"] = classes
    config["input"] |= {"id": f"id{NAMES[5]}", "label": f"label{NAMES[6]}", "keep": [f"kept{name}" for name in NAMES]}
    config["input"]["features"]["x"]["column"] = f"pixels{NAMES[4]}"
    config["output"]["groups"] = {"x": {NAMES[0]: [0, 1], NAMES[3]: [2]}}
    file = tmp_path / "job.yaml"
    file.write_text(yaml.safe_dump(config))
    return file


def test_hostile_names_stay_what_they_are_and_where_they_belong(
    hostile: pathlib.Path, attribeam: Command, tmp_path: pathlib.Path
) -> None:
    config = load_config(hostile)
    out, source = pathlib.Path(config.output.path), pathlib.Path(config.input.files[0])
    before = set(tmp_path.rglob("*"))
    for command in (
        ("plan", hostile),
        ("run", hostile),
        ("status", out),
        ("inspect", tmp_path / "in"),
        ("inspect", config.model.path),
        ("verify", out, "--deep"),
    ):
        code, *said = attribeam(*command)
        assert code == 0, command
        assert harmless("".join(said)), command
    made = set(tmp_path.rglob("*")) - before
    assert made and all(path == out or path.is_relative_to(out) for path in made)
    assert all(re.fullmatch(r"[\w.-]+", path.name) for path in made - {out})
    table = datasets.read(out)
    assert table["row_id"].to_pylist() == NAMES
    assert table[f"kept{NAMES[0]}"].to_pylist() == NAMES
    assert set(table.column_names) >= {f"kept{name}" for name in NAMES}
    assert set(table["source_file"].to_pylist()) == {f"in/{source.name}"}
    (out / f"{NAMES[4]}.parquet").write_text("foreign")
    code, *said = attribeam("verify", out)
    assert (code, harmless("".join(said)), "[31mred" in said[0]) == (1, True, True)


BAD = {
    "unknown keys": lambda name: parse_config({**PLAIN, name: 1}),
    "unknown keys of a group": lambda name: parse_config({**PLAIN, "model": {"path": "m", name: 1}}),
    "values": lambda name: parse_config({**PLAIN, "model": {"path": "m", "sha256": name}}),
    "inputs": lambda name: parse_config({**PLAIN, "input": {"files": "x", "features": {name: {"kolumn": name}}}}),
    "overrides": lambda name: load_config(pathlib.Path("none.yaml"), [name]),
    "paths": lambda name: list_files([f"none{name}"]),
    "models": lambda name: load_model(ModelConfig(path=f"none{name}")),
    "classes": lambda name: index_of(f"{name}!", NAMES),
    "twice the same class": lambda name: read_class_names([name, name]),
    "functions": lambda name: load_function(name, ()),
    "URLs": lambda name: parse_url(f"x://{name}"),
    "runs": lambda name: read_json(open_place(str(pathlib.Path(tempfile.gettempdir()) / name[:100])), "_run.json"),
}


@pytest.mark.parametrize("about", BAD)
def test_an_error_about_a_hostile_name_is_one_short_line(about: str) -> None:
    for name in NAMES:
        try:
            BAD[about](name)
        except AttribeamError as error:
            assert len(str(error)) <= 500
            assert harmless(str(error)) and "\n" not in str(error)
        except ValueError as error:
            assert "null byte" in str(error), "no file can have such a name"
        else:
            pytest.fail(f"{name[:50]!r} was taken")


@pytest.mark.parametrize("options", SECRET_OPTIONS, ids=lambda options: options[0].partition("=")[0])
@pytest.mark.parametrize("chosen", ["FnApiRunner", "DataflowRunner", "FlinkRunner"])
def test_credentials_among_beams_options_are_refused_and_not_repeated(options: tuple[str, ...], chosen: str) -> None:
    with pytest.raises(UsageError, match="E_STORE_SECRET") as caught:
        runner.parse_options([f"--runner={chosen}", *options])
    assert CANARY not in repr(caught.value)


@pytest.mark.parametrize(
    "options", [(), ("--labels=team=vision",), ("--dataflow_kms_key=projects/p/keys/k",), ("--temp_location=gs://b/t",)]
)
def test_other_options_are_no_secrets(options: tuple[str, ...]) -> None:
    runner.parse_options(["--runner=FnApiRunner", *options])


def test_planted_credentials_are_nowhere(
    job_of: Any, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, attribeam: Command
) -> None:
    """In the environment, in URLs and in options; a run that ends well, and commands that fail."""
    temporary, graphs = tmp_path / "temporary", list[bytes]()
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    for name in ("AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AZURE_STORAGE_ACCOUNT_KEY", "DATABASE_PASSWORD"):
        monkeypatch.setenv(name, CANARY)

    class Watched(runner.FnApiRunner):  # type: ignore[misc]
        def run_pipeline(self, pipeline: Any, options: Any) -> Any:
            graphs.append(pipeline.to_runner_api().SerializeToString() + str(options.display_data()).encode())
            return super().run_pipeline(pipeline, options)

    Watched.__name__ = "FnApiRunner"
    monkeypatch.setattr(runner, "FnApiRunner", Watched)
    file = tmp_path / "job.yaml"
    file.write_text(yaml.safe_dump(job_of(datasets.keras_classifier).model_dump(mode="json")))
    said = [attribeam("run", file), attribeam("status", tmp_path / "out")]
    assert [code for code, *_ in said] == [0, 0]
    for options in SECRET_OPTIONS:
        said.append(attribeam("run", file, "--", *options))
    for key, url in itertools.product(
        ("model.path", "input.files", "output.path", "attribution.target", "model.sha256", "model.{}"),
        (f"s3://AKIA:{CANARY}@bucket/x", f"az://c/x?sig={CANARY}", f"gs://b/x?a=b&x-goog-signature={CANARY}"),
    ):
        said.append(attribeam("plan", file, "--set", f"{key}={url}"))
    said.append(attribeam("plan", file, "--set", f"s3://AKIA:{CANARY}@bucket/x"))
    assert all(code == 2 for code, *_ in said[2:])
    pickled = [bz2.decompress(base64.b64decode(found)) for graph in graphs for found in PICKLED.findall(graph)]
    assert any(b"AttributionJob" in one for one in pickled), "the functions are not found: nothing would be proved"
    files = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]
    assert len(files) > 5
    assert not [one for one in (*files, *graphs, *pickled) if CANARY.encode() in one]
    assert not [texts for texts in said if CANARY in "".join(texts[1:])]


def test_a_traceback_keeps_no_url_with_credentials(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    error = OSError(f"GET https://user:{CANARY}@host/x?X-Amz-Signature={CANARY}&a=1 \x1b[31m")
    log = pathlib.Path(terminal.write_log(error)).read_text()
    assert "https://…@host/x?X-Amz-Signature=…&a=1" in log
    for text in (log, terminal.first_line(error), str(AttribeamError("E_TEST", str(error))), quoted(str(error))):
        assert CANARY not in text
        assert harmless(text)


def test_a_log_record_commands_no_terminal() -> None:
    script = (
        "import logging; from pipeline.terminal import configure_logging; configure_logging();"
        f" logging.getLogger('transforms.x').warning('%s', 'a\\x1b[31mb https://u:{CANARY}@h/')"
    )
    said = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stderr
    assert said == "WARNING a\\x1b[31mb https://…@h/\n"
    assert logging.getLogger("transforms").level in (logging.NOTSET, logging.WARNING)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("s3://AKIA:x@b/k", "s3://…@b/k"),
        ("s3://b/user@host", "s3://b/user@host"),
        ("https://h/x?sig=a%2Fb&sv=1", "https://h/x?sig=…&sv=1"),
        ("a 'az://c/x?access_token=abc' b", "a 'az://c/x?access_token=…' b"),
        ("design = 3 & key=4", "design = 3 & key=4"),
    ],
)
def test_credentials_in_a_url_are_cut_out(text: str, shown: str) -> None:
    assert without_secrets(text) == shown
    assert Fault("E_TEST", text).message == shown


@pytest.mark.parametrize("name", NAMES, ids=range(len(NAMES)))
def test_what_is_printed_can_be_read_back(name: str) -> None:
    shown = printable(name)
    assert harmless(shown)
    assert shown.encode("latin-1", "backslashreplace").decode("unicode_escape") == name
