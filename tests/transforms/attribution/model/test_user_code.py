"""Functions by `module:function`: imported only when trusted, from the current directory too, digested by content."""

from __future__ import annotations

import hashlib
import pathlib
import sys
from collections.abc import Iterator

import pytest

from transforms.attribution.model.user_code import load_function, source_digest
from transforms.errors import UsageError


@pytest.fixture
def here(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[pathlib.Path]:
    """An empty current directory; what is imported from it is forgotten afterwards."""
    monkeypatch.chdir(tmp_path)
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        del sys.modules[name]


def code_of(reference: str, trusted: list[str]) -> str:
    with pytest.raises(UsageError) as refused:
        load_function(reference, trusted)
    return refused.value.code


def test_a_function_of_the_current_directory(here: pathlib.Path) -> None:
    (here / "mine.py").write_text("import beside\n\ndef doubled(value):\n    return beside.FACTOR * value\n")
    (here / "beside.py").write_text("FACTOR = 2\n")
    before = list(sys.path)
    assert load_function("mine:doubled", ["other", "mine"])(21) == 42
    assert sys.path == before, "a stranger's files beside it stay out of reach"


def test_a_function_of_a_package(here: pathlib.Path) -> None:
    (here / "parts").mkdir()
    (here / "parts/inner.py").write_text("def one():\n    return 1\n")
    assert load_function("parts.inner:one", ["parts.inner"])() == 1
    assert code_of("parts.inner:one", ["parts"]) == "E_CODE_UNTRUSTED"


def test_what_is_installed_comes_before_what_lies_there(here: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (here / "fractions.py").write_text("raise SystemExit('a stranger’s file was run')\n")
    monkeypatch.delitem(sys.modules, "fractions", raising=False)
    assert load_function("fractions:Fraction", ["fractions"])(1, 2) * 2 == 1


def test_nothing_of_an_untrusted_module_is_run(here: pathlib.Path) -> None:
    (here / "evil").mkdir()
    for file in ("evil/__init__.py", "evil/deeper.py"):
        (here / file).write_text("import pathlib\npathlib.Path('ran').touch()\n\ndef act():\n    pass\n")
    for reference, trusted in (("evil:act", []), ("evil:act", ["evil.deeper"]), ("evil.deeper:act", ["evil"])):
        with pytest.raises(UsageError, match=rf"E_CODE_UNTRUSTED: .*{reference}.*--trust {reference[:-4]} "):
            load_function(reference, trusted)
    assert not (here / "ran").exists()


def test_what_is_not_there(here: pathlib.Path) -> None:
    (here / "mine.py").write_text("NUMBER = 1\n")
    (here / "broken.py").write_text("def (:\n")
    (here / "needy.py").write_text("import no_such_module_at_all\n")
    assert code_of("mine:missing", ["mine"]) == code_of("mine:NUMBER", ["mine"]) == "E_CODE_MISSING"
    assert code_of("broken:f", ["broken"]) == code_of("nowhere_at_all:f", ["nowhere_at_all"]) == "E_CODE_MISSING"
    with pytest.raises(UsageError, match=r"E_CODE_MISSING: .*no_such_module_at_all"):
        load_function("needy:f", ["needy"])


@pytest.mark.parametrize(
    "reference", ["", "module", ":function", "module:", "a:b:c", "../a:b", "a/b:c", "a..b:c", ".a:b", "a:b.c", "1:b"]
)
def test_what_is_no_reference(reference: str) -> None:
    assert code_of(reference, [reference, reference.partition(":")[0]]) == "E_CODE_REFERENCE"


def test_the_digest_is_that_of_the_file(here: pathlib.Path) -> None:
    source = b"def one():\n    return 1\n"
    (here / "digested.py").write_bytes(source)
    load_function("digested:one", ["digested"])
    assert source_digest("digested:one") == hashlib.sha256(source).hexdigest()
    for reference in ("never_imported:f", "sys:exit"):
        with pytest.raises(UsageError, match="E_CODE_MISSING"):
            source_digest(reference)
