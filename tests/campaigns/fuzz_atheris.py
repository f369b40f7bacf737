"""Coverage-guided fuzzing: `PYTHONPATH=tests python -m campaigns.fuzz_atheris TARGET CORPUS [libFuzzer's options]`.

Needs `pip install atheris` (Python 3.11, Linux). libFuzzer mutates the seeds of the target and keeps what reaches new
branches of this package; the targets and what must hold are those of `fuzz`. It stops at the first finding.
Example: ... config /tmp/corpus -runs=20000 -timeout=60 -rss_limit_mb=6000
"""

from __future__ import annotations

import pathlib
import sys
import tempfile

import atheris

with atheris.instrument_imports(include=["transforms", "pipeline"]):
    from campaigns.fuzz_targets import built


def main() -> None:
    """Hand the target over to libFuzzer."""
    name, corpus, *options = sys.argv[1:]
    with tempfile.TemporaryDirectory(prefix="atheris-", dir="/dev/shm") as folder:
        own, grown = pathlib.Path(folder, "own"), pathlib.Path(folder, "grown")
        own.mkdir()
        grown.mkdir()
        _, seeds, run = built(name, pathlib.Path(corpus).resolve(), own)
        run(seeds[0], 0)
        longest = 2 * max(map(len, seeds))
        atheris.Setup(
            [sys.argv[0], f"-max_len={longest}", *options, str(grown), f"{corpus}/{name}"], lambda data: run(data, 0)
        )
        atheris.Fuzz()


if __name__ == "__main__":
    main()
