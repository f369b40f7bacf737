"""A user's own functions. A configuration may name one, but only who starts the program can allow it to be imported."""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import pathlib
import re
import sys
from collections.abc import Callable, Collection, Iterator
from typing import Any

from transforms.errors import UsageError, quoted

_REFERENCE = re.compile(r"([^\W\d]\w*(?:\.[^\W\d]\w*)*):([^\W\d]\w*)")


def load_function(reference: str, trusted: Collection[str]) -> Callable[..., Any]:
    """Import the function that `module:function` names, from what is installed or else from the current directory.

    Args:
        trusted: modules that may be imported; nothing is looked for, let alone run, of another.

    Raises:
        UsageError: E_CODE_REFERENCE for anything that is not `module:function`, E_CODE_UNTRUSTED, E_CODE_MISSING when
            the module cannot be imported or has no such function.
    """
    module, function = _parts(reference)
    if module not in trusted:
        raise UsageError(
            "E_CODE_UNTRUSTED",
            f"the configuration wants to run {reference}; if you trust that code, add --trust {module} to the command"
            f" (in Python: trusted=[{module!r}])",
        )
    try:
        with _current_directory():
            found = getattr(importlib.import_module(module), function, None)
    except (ImportError, SyntaxError) as error:
        raise UsageError(
            "E_CODE_MISSING",
            f"the module of {reference} cannot be imported: {str(error)[:200]}; install it, or start where it lies",
        ) from error
    if not callable(found):
        raise UsageError("E_CODE_MISSING", f"the module {module} has no function {function!r}; check the name")
    return found  # type: ignore[no-any-return]


def source_digest(reference: str) -> str:
    """sha256 of the file of a module that `load_function` imported: its code decides values.

    Raises:
        UsageError: E_CODE_REFERENCE, E_CODE_MISSING for a module without a file.
    """
    module, _ = _parts(reference)
    file = getattr(sys.modules.get(module), "__file__", None)
    if file is None:
        raise UsageError("E_CODE_MISSING", f"the module {module} has no file; put the function of {reference} into one")
    return hashlib.sha256(pathlib.Path(file).read_bytes()).hexdigest()


def _parts(reference: str) -> tuple[str, str]:
    match = _REFERENCE.fullmatch(reference)
    if match is None:
        raise UsageError("E_CODE_REFERENCE", f"{quoted(reference)} names no function; write module:function")
    return match[1], match[2]


@contextlib.contextmanager
def _current_directory() -> Iterator[None]:
    """Modules of the current directory in reach, behind all others, and only as long as this lasts: of a directory
    full of a stranger's files, nothing is to be imported that nobody named."""
    here = str(pathlib.Path.cwd())
    importlib.invalidate_caches()
    sys.path.append(here)
    try:
        yield
    finally:
        del sys.path[len(sys.path) - 1 - sys.path[::-1].index(here)]
