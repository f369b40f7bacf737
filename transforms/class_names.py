"""Names of a model's classes: from a list or a text file, and back to the index that each stands for."""

from __future__ import annotations

import difflib
import pathlib
from collections.abc import Sequence

from transforms.errors import UsageError, quoted


def read_class_names(classes: Sequence[str] | str | None) -> tuple[str, ...]:
    """The names in the order of the output's entries.

    Args:
        classes: the names, the path of a UTF-8 text file with one a line, or None for none.

    Raises:
        UsageError: E_TARGET_CLASSES when there is no such file, or a name is empty or there twice.
    """
    names = _lines(classes) if isinstance(classes, str) else tuple(classes or ())
    first = dict[str, int]()
    for index, name in enumerate(names):
        if not name or first.setdefault(name, index) < index:
            found = f"is {quoted(name)} again, as entry {first[name]}" if name else "has no name"
            raise UsageError(
                "E_TARGET_CLASSES", f"entry {index} of model.classes {found}; give each class its own name"
            )
    return names


def index_of(name: str, names: Sequence[str]) -> int:
    """Which class a name stands for.

    Raises:
        UsageError: E_TARGET_NAME, with the nearest known name.
    """
    if not names:
        raise UsageError(
            "E_TARGET_NAME", f"the target names the class {quoted(name)}, but there is no model.classes; list the names"
        )
    if name not in names:
        raise UsageError("E_TARGET_NAME", unknown(name, names))
    return list(names).index(name)


def unknown(name: str, names: Sequence[str]) -> str:
    """What is wrong with a name that no class has."""
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.0)
    return f"{quoted(name)} is none of the {len(names)} names of model.classes; the nearest is {quoted(near[0])}"


def _lines(path: str) -> tuple[str, ...]:
    file = pathlib.Path(path)
    try:
        if not file.is_file():
            raise UsageError(
                "E_TARGET_CLASSES", f"model.classes is {path}, which is no file; list the names, or give one"
            )
        return tuple(line.strip() for line in file.read_text(encoding="utf-8-sig").splitlines())
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError("E_TARGET_CLASSES", f"model.classes, {path}, cannot be read: {str(error)[:200]}") from error
