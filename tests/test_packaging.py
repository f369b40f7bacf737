"""The package as Beam ships it to workers: an sdist, installed elsewhere, with every module in it."""

import os
import pathlib
import subprocess
import sys
import tarfile

import pytest

ROOT = pathlib.Path(__file__).parent.parent


@pytest.fixture(scope="module")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """Built as Beam's stager builds it for `--setup_file`: `setup.py sdist`, in the folder of setup.py."""
    target = tmp_path_factory.mktemp("sdist")
    arguments = ["egg_info", "--egg-base", str(target), "sdist", "--dist-dir", str(target)]
    subprocess.run([sys.executable, "setup.py", "-q", *arguments], cwd=ROOT, check=True, capture_output=True)
    return next(target.glob("attribeam-*.tar.gz"))


def modules(root: pathlib.Path) -> set[str]:
    return {
        ".".join(file.relative_to(root).with_suffix("").parts).removesuffix(".__init__")
        for package in ("pipeline", "transforms")
        for file in (root / package).rglob("*.py")
    }


def test_the_sdist_installs_elsewhere_and_every_module_imports(sdist: pathlib.Path, tmp_path: pathlib.Path) -> None:
    site = tmp_path / "site"
    install = ["-m", "pip", "install", "-q", "--no-deps", "--no-build-isolation", "--target", str(site), str(sdist)]
    subprocess.run([sys.executable, *install], check=True, cwd=tmp_path)
    wanted = modules(ROOT)
    assert modules(site) == wanted
    script = f"import importlib; [importlib.import_module(name) for name in {sorted(wanted)!r}]; import transforms"
    script += "; print(transforms.__file__)"
    environment = {**os.environ, "PYTHONPATH": str(site), "PYTHONNOUSERSITE": "1"}
    ran = subprocess.run(
        [sys.executable, "-c", script], env=environment, cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert ran.stdout.strip().startswith(str(site))


def test_the_sdist_holds_no_tests_and_nothing_large(sdist: pathlib.Path) -> None:
    with tarfile.open(sdist) as archive:
        names = [member.name for member in archive]
        assert not [name for name in names if "/tests/" in name]
        assert sum(member.size for member in archive) < 2 * 2**20
