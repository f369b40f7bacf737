"""What every error must say, for tests."""

from __future__ import annotations

import pytest


def refusal(error: pytest.ExceptionInfo, code: str, *named: str) -> None:
    """The error has this code, is short, and names all of these."""
    assert error.value.code == code
    assert len(str(error.value)) <= 500
    for name in named:
        assert name in str(error.value)
