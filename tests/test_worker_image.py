"""The worker image without Docker: its lock file against setup.py, and what its Dockerfile runs, as plain commands."""

from __future__ import annotations

import importlib.metadata
import os
import pathlib
import re
import shutil
import subprocess
import sys
import sysconfig
import venv

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = pathlib.Path(__file__).parent.parent
DOCKERFILE, LOCK = ROOT / "Dockerfile", ROOT / "launch_scripts/worker_image/requirements.txt"
# The environment that the lock file is made for.
IMAGE = {"python_version": "3.11", "python_full_version": "3.11.0", "sys_platform": "linux", "platform_system": "Linux"}
CUDA = "nvidia-"  # packages that only a GPU needs: 3 GB


def instructions(file: pathlib.Path) -> list[tuple[str, str]]:
    """A Dockerfile's instructions and their arguments, in order."""
    lines = [line for line in file.read_text(encoding="utf-8").splitlines() if line and not line.startswith("#")]
    return [(word, rest.strip()) for word, _, rest in (line.partition(" ") for line in lines)]


def locked() -> dict[str, list[str]]:
    """Every package of the lock file, as its name and version, with the lines of its entry."""
    entries = re.findall(r"^[a-z0-9].*(?:\n .*)*", LOCK.read_text(encoding="utf-8"), re.MULTILINE)
    assert len(entries) > 50
    return {entry.split()[0]: entry.splitlines() for entry in entries}


def test_the_lock_file_holds_what_setup_py_wants(tmp_path: pathlib.Path) -> None:
    subprocess.run([sys.executable, "setup.py", "-q", "egg_info", "--egg-base", tmp_path], cwd=ROOT, check=True)
    package = importlib.metadata.Distribution.at(tmp_path / "attribeam.egg-info")
    versions = {canonicalize_name(name): version for name, _, version in (pin.partition("==") for pin in locked())}
    wanted = [Requirement(text) for text in package.requires or []]
    of_image = [one for one in wanted if one.marker is None or one.marker.evaluate({**IMAGE, "extra": "worker"})]
    assert {"apache-beam", "tensorflow", "obstore", "pydicom"} <= {one.name for one in of_image}
    missing = [
        str(one) for one in of_image if not one.specifier.contains(versions.get(canonicalize_name(one.name), ""))
    ]
    assert not missing, "run launch_scripts/worker_image/lock.sh"
    assert any(name.startswith(CUDA) for name in versions)


def test_every_package_has_hashes_and_no_address_is_named() -> None:
    for pin, lines in locked().items():
        assert re.fullmatch(r"[a-z0-9._-]+==[0-9][0-9a-z.+!]*", pin)
        assert len(lines) > 1 and all(re.fullmatch(r" +--hash=sha256:[0-9a-f]{64}( \\)?", line) for line in lines[1:])
    assert not re.search(r"://|^--|@ ", LOCK.read_text(encoding="utf-8"), re.MULTILINE)


def test_beam_is_that_of_the_image_it_starts_from() -> None:
    ((_, image),) = [one for one in instructions(DOCKERFILE) if one[0] == "FROM"]
    assert f"apache-beam=={image.rpartition(':')[2]}" in locked()
    assert image.startswith("apache/beam_python3.11_sdk:") and "--python-version 3.11 " in lock_command()


def lock_command() -> str:
    return (LOCK.parent / "lock.sh").read_text(encoding="utf-8")


def carry_out(folder: pathlib.Path, installs_lock: bool) -> list[str]:
    """Do in a folder, with a fresh environment's Python, what the Dockerfile does; the lines that were run."""
    environment, work, ran = folder / "venv", folder / "image", list[str]()
    venv.create(environment, with_pip=True)
    if not installs_lock:  # the packages are this environment's own
        site = next((environment / "lib").glob("python3*/site-packages"))
        (site / "installed.pth").write_text(sysconfig.get_paths()["purelib"])
    kept = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    kept |= {"PATH": f"{environment / 'bin'}:{kept['PATH']}"}
    work.mkdir()
    for word, rest in instructions(DOCKERFILE):
        if word == "COPY":
            *sources, target = rest.split()
            for source in sources:
                copy(ROOT / source, work / target)
        elif word == "RUN" and (installs_lock or "requirements.txt" not in rest):
            subprocess.run(rest, shell=True, cwd=work, env=kept, check=True)
            ran.append(rest)
    script = "import pipeline, sys; print(pipeline.__file__); sys.exit(not pipeline.__file__.startswith(sys.prefix))"
    subprocess.run([environment / "bin/python", "-c", script], cwd=folder, env=kept, check=True)
    return ran


def copy(source: pathlib.Path, target: pathlib.Path) -> None:
    if source.is_dir():
        shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
    elif source == LOCK:
        text = "\n".join("\n".join(lines) for pin, lines in locked().items() if not pin.startswith(CUDA))
        (target / source.name).write_text(text + "\n")
    else:
        shutil.copy(source, target)


def test_what_the_dockerfile_runs_after_the_packages_works(tmp_path: pathlib.Path) -> None:
    assert len(carry_out(tmp_path, installs_lock=False)) == 2


@pytest.mark.campaign
@pytest.mark.timeout(1800)
@pytest.mark.skipif(sys.version_info[:2] != (3, 11), reason="the lock file is for Python 3.11")
def test_all_that_the_dockerfile_runs_works_but_for_cuda(tmp_path: pathlib.Path) -> None:
    assert len(carry_out(tmp_path, installs_lock=True)) == 3


def test_docker_is_given_what_the_dockerfiles_copy() -> None:
    let_in = [line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    for file in (DOCKERFILE, ROOT / "launch_scripts/dataflow/Dockerfile"):
        copied = [rest.split()[:-1] for word, rest in instructions(file) if word == "COPY" and "--from" not in rest]
        for source in (name for names in copied for name in names):
            assert source in let_in and (ROOT / source).exists()
