"""What a Flink cluster is started from: Java, Flink's jars, and Beam's job server for them."""

from __future__ import annotations

import dataclasses
import os
import pathlib
import re
import shutil
import subprocess
from importlib import metadata

from apache_beam.utils.subprocess_server import JavaJarServer

from transforms.errors import UsageError

OLDEST_JAVA = 11
CACHE = pathlib.Path.home() / ".cache" / "attribeam"
MAVEN_PLUGIN = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1"
MAVEN_TIMEOUT_S = 900


@dataclasses.dataclass(frozen=True)
class Distribution:
    """Flink on this machine.

    Attributes:
        java: the program that runs it.
        libraries: folder of Flink's jars, its `lib`.
        version: `1.20`, say: Beam has a job server for each.
        job_server: Beam's, for that version.
    """

    java: str
    libraries: pathlib.Path
    version: str
    job_server: pathlib.Path

    @property
    def class_path(self) -> str:
        """Flink's classes, then Beam's runner: of one that comes only with a job, the task managers end every worker
        with its stage (Beam: FlinkExecutableStageContextFactory releases such contexts at once)."""
        return f"{self.libraries}/*:{self.job_server}"


def find_distribution(job_server: pathlib.Path | None = None) -> Distribution:
    """FLINK_HOME's Flink, or that of the package `apache-flink-libraries`, a Java that runs it, and Beam's job server:
    the one that is named, or the one of the Beam that is installed.

    Raises:
        UsageError: E_FLINK_JAVA, E_FLINK_HOME, E_FLINK_JOB_SERVER.
    """
    libraries = _home() / "lib"
    found = [re.fullmatch(r"flink-dist-(\d+\.\d+)\..*\.jar", path.name) for path in sorted(libraries.glob("*.jar"))]
    versions = [match[1] for match in found if match]
    if len(versions) != 1:
        raise UsageError(
            "E_FLINK_HOME",
            f"{libraries} holds {len(versions)} jars flink-dist-*.jar, not one; set FLINK_HOME to a Flink distribution,"
            " or install the extra: pip install 'attribeam[flink]'",
        )
    java = find_java()
    return Distribution(java, libraries, versions[0], job_server or find_job_server(versions[0], CACHE))


def find_java() -> str:
    """JAVA_HOME's Java, or that on the path, of a version that runs Flink.

    Raises:
        UsageError: E_FLINK_JAVA.
    """
    home = os.environ.get("JAVA_HOME")
    java = shutil.which("java", path=f"{home}/bin") if home else shutil.which("java")
    said = subprocess.run([java, "-version"], capture_output=True, text=True, check=False).stderr if java else ""
    version = re.search(r'version "(\d+)', said)
    if java is None or version is None or int(version[1]) < OLDEST_JAVA:
        raise UsageError(
            "E_FLINK_JAVA",
            f"Flink needs Java {OLDEST_JAVA} or 17; found {version[0] if version else 'none'}; install one (Debian:"
            " openjdk-17-jre-headless), or set JAVA_HOME",
        )
    return java


def find_job_server(version: str, folder: pathlib.Path) -> pathlib.Path:
    """Beam's job server for a version of Flink, of the Beam that is installed: through Maven, where there is one, else
    as Beam itself downloads it.

    Args:
        folder: where Maven's copy is kept.

    Raises:
        UsageError: E_FLINK_JOB_SERVER.
    """
    name, beam = f"beam-runners-flink-{version}-job-server", metadata.version("apache-beam")
    jar = folder / f"{name}-{beam}.jar"
    if not jar.exists() and shutil.which("mvn"):
        _copy_with_maven(f"org.apache.beam:{name}:{beam}", folder)
    if jar.exists():
        return jar
    try:
        url = JavaJarServer.path_to_beam_jar(f":runners:flink:{version}:job-server:shadowJar")
        return pathlib.Path(JavaJarServer.local_jar(url))
    except (RuntimeError, OSError) as error:
        raise UsageError(
            "E_FLINK_JOB_SERVER",
            f"{jar.name} can be had neither through Maven nor by Beam's own download: get it where there is a network"
            " (Maven Central, org.apache.beam) and name it with --job-server-jar",
        ) from error


def _home() -> pathlib.Path:
    """FLINK_HOME is Flink's own variable; without it, where pip has put the jars."""
    if "FLINK_HOME" in os.environ:
        return pathlib.Path(os.environ["FLINK_HOME"])
    try:
        return pathlib.Path(str(metadata.distribution("apache-flink-libraries").locate_file("pyflink")))
    except metadata.PackageNotFoundError as error:
        raise UsageError(
            "E_FLINK_HOME",
            "there is no Flink: neither FLINK_HOME nor the package apache-flink-libraries; install the extra:"
            " pip install 'attribeam[flink]'",
        ) from error


def _copy_with_maven(artifact: str, folder: pathlib.Path) -> None:
    """Into the folder, if Maven can; if not, there is another way."""
    command = ["mvn", "--batch-mode", "--quiet", f"{MAVEN_PLUGIN}:copy", f"-Dartifact={artifact}"]
    subprocess.run(
        [*command, f"-DoutputDirectory={folder}"], timeout=MAVEN_TIMEOUT_S, check=False, stdout=subprocess.DEVNULL
    )
