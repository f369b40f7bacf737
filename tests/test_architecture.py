"""The shape of the code: who may import whom, how long a file and a function may be, every error documented."""

import ast
import pathlib
import re
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parent.parent
FILES = sorted([*ROOT.glob("pipeline/**/*.py"), *ROOT.glob("transforms/**/*.py")])
MAX_FILE_LINES, MAX_FUNCTION_LINES, MAX_PARAMETERS = 250, 40, 6


def imported(file: pathlib.Path) -> set[str]:
    """Every module that a file imports, wherever in it."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: import absolutely"
            found |= {str(node.module)} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def functions(file: pathlib.Path) -> list[ast.FunctionDef]:
    return [node for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))) if isinstance(node, ast.FunctionDef)]


def offenders(pattern: str, folder: str) -> list[str]:
    """The files below a folder that import a module whose name matches."""
    files = [file for file in FILES if file.is_relative_to(ROOT / folder)]
    assert files, f"no files below {folder}: the test would prove nothing"
    return [str(file) for file in files if any(re.match(pattern, name) for name in imported(file))]


def test_transforms_never_import_the_pipeline() -> None:
    assert not offenders(r"pipeline\b", "transforms")


@pytest.mark.parametrize("folder", ["attribution", "records", "storage"])
def test_the_core_knows_neither_beam_nor_its_siblings(folder: str) -> None:
    siblings = {"attribution", "records", "storage"} - {folder}
    forbidden = rf"(apache_beam|transforms\.({'|'.join(sorted(siblings))}|attribute|explaining|finalize|runs))\b"
    assert not offenders(forbidden, f"transforms/{folder}")


@pytest.mark.parametrize("folder", ["auditing", "comparing"])
def test_what_reads_a_run_knows_neither_beam_nor_what_computed_it(folder: str) -> None:
    forbidden = r"(apache_beam|tensorflow|keras|transforms\.(attribution|attribute|explaining|finalize|runs)\b)"
    assert not offenders(forbidden, f"transforms/{folder}")


def test_few_files_know_beam() -> None:
    assert len([file for file in FILES if any(name.startswith("apache_beam") for name in imported(file))]) <= 17


def test_the_command_line_starts_without_tensorflow_or_beam() -> None:
    heavy = "{'tensorflow', 'keras', 'apache_beam', 'pyarrow', 'matplotlib'} & set(sys.modules)"
    program = f"import sys, pipeline.main; print(sorted({heavy}))"
    assert (
        subprocess.run([sys.executable, "-c", program], check=True, stdout=subprocess.PIPE, cwd=ROOT).stdout == b"[]\n"
    )


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(ROOT)))
def test_files_and_functions_are_short(file: pathlib.Path) -> None:
    assert len(file.read_text(encoding="utf-8").splitlines()) <= MAX_FILE_LINES
    for node in functions(file):
        length = (node.end_lineno or 0) - node.lineno + 1
        assert length <= MAX_FUNCTION_LINES, f"{node.name} has {length} lines"
        parameters = [argument.arg for argument in node.args.args if argument.arg not in ("self", "cls")]
        assert len(parameters) <= MAX_PARAMETERS, f"{node.name} has {len(parameters)} parameters"


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(ROOT)))
def test_everything_public_has_a_docstring(file: pathlib.Path) -> None:
    tree = ast.parse(file.read_text(encoding="utf-8"))
    assert ast.get_docstring(tree), "a module says what it is"
    public = [node for node in tree.body if isinstance(node, ast.FunctionDef | ast.ClassDef) and node.name[0] != "_"]
    missing = [node.name for node in public if not ast.get_docstring(node)]
    assert not missing


def test_every_error_code_is_documented_and_every_documented_one_exists() -> None:
    code = re.compile(r"""["'](E_[A-Z0-9_]+)["']""")
    raised = {found for file in FILES for found in code.findall(file.read_text(encoding="utf-8"))}
    documented = set(re.findall(r"^\| `(E_[A-Z0-9_]+)`", (ROOT / "docs/errors.md").read_text(encoding="utf-8"), re.M))
    assert raised == documented


def test_nothing_is_named_after_its_being_useful() -> None:
    vague = {"utils", "util", "helpers", "helper", "common", "misc"}
    assert not [file for file in FILES if vague & set(file.with_suffix("").parts)]
