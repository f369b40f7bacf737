"""What reaches a terminal or a log beside results: warnings and tracebacks, without what a terminal would obey."""

from __future__ import annotations

import logging
import tempfile
import traceback

from transforms.errors import printable, without_secrets


class _Plain(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return printable(without_secrets(super().format(record)))


def configure_logging() -> None:
    """Warnings of this package and of Beam; of what else they import, errors only."""
    handler = logging.StreamHandler()
    handler.setFormatter(_Plain("%(levelname)s %(message)s"))
    logging.basicConfig(level=logging.ERROR, handlers=[handler])
    for name in ("pipeline", "transforms", "apache_beam"):
        logging.getLogger(name).setLevel(logging.WARNING)


def first_line(error: BaseException) -> str:
    """What kind of error it is, and the beginning of what it says."""
    return printable(without_secrets(f"{type(error).__name__}: {error}").splitlines()[0][:300])


def write_log(error: BaseException) -> str:
    """The path of a new file with the error's traceback."""
    with tempfile.NamedTemporaryFile("w", prefix="attribeam-", suffix=".log", delete=False, encoding="utf-8") as log:
        log.write(printable(without_secrets("".join(traceback.format_exception(error)))))
    return log.name
