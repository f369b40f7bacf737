"""Names of classes, from lists and files, and what is refused."""

from __future__ import annotations

import pathlib

import pytest

from transforms.class_names import index_of, read_class_names
from transforms.errors import UsageError


@pytest.mark.parametrize("text", ["cat\ndog\nägypten\n", "cat\r\ndog\r\nägypten", "\ufeffcat\n dog \nägypten\n"])
def test_a_file_has_a_name_a_line(tmp_path: pathlib.Path, text: str) -> None:
    file = tmp_path / "classes [1].txt"
    file.write_text(text, encoding="utf-8", newline="")
    assert read_class_names(str(file)) == ("cat", "dog", "ägypten")


def test_a_list_is_taken_as_it_is() -> None:
    assert read_class_names(("b", "a")) == ("b", "a")
    assert read_class_names(None) == ()


@pytest.mark.parametrize(
    ("names", "says"),
    [(("a", "b", "a"), "entry 2 of model.classes is 'a' again, as entry 0"), (("a", ""), "entry 1 .* has no name")],
)
def test_names_that_tell_no_classes_apart(tmp_path: pathlib.Path, names: tuple[str, ...], says: str) -> None:
    (tmp_path / "names").write_text("\n".join(names) + "\n")
    for classes in (names, str(tmp_path / "names")):
        with pytest.raises(UsageError, match=f"E_TARGET_CLASSES: {says}"):
            read_class_names(classes)


def test_a_file_that_cannot_be_read(tmp_path: pathlib.Path) -> None:
    (tmp_path / "latin").write_bytes("ägypten".encode("latin-1"))
    for path in ("latin", "missing", "."):
        with pytest.raises(UsageError, match="E_TARGET_CLASSES"):
            read_class_names(str(tmp_path / path))


def test_the_nearest_name_is_offered() -> None:
    assert index_of("dog", ["cat", "dog"]) == 1
    with pytest.raises(UsageError, match=r"E_TARGET_NAME: 'dgo' is none of the 2 names .* nearest is 'dog'"):
        index_of("dgo", ["cat", "dog"])
    with pytest.raises(UsageError, match=r"E_TARGET_NAME: .*'dog', but there is no model.classes"):
        index_of("dog", [])
