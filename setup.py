"""What is installed; tool settings and the build system are in pyproject.toml."""

import pathlib

from setuptools import find_packages, setup

FORMATS = ["pydicom>=3", "python-gdcm>=3", "soundfile>=0.13", "OpenEXR>=3.4"]

setup(
    name="attribeam",
    version="0.1.0",
    description="Explain whole datasets: integrated gradients as an Apache Beam job, with a proof of quality a row.",
    long_description=pathlib.Path(__file__).with_name("README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.10,<3.14",
    packages=find_packages(include=["pipeline", "pipeline.*", "transforms", "transforms.*"]),
    package_data={
        "pipeline": ["py.typed"],
        "pipeline.pages": ["templates/*.j2", "templates/*.css"],
        "pipeline.report": ["templates/*.j2", "templates/*.css", "templates/*.js"],
        "transforms": ["py.typed"],
    },
    install_requires=[
        "apache-beam>=2.77",
        "tensorflow>=2.16",
        "numpy>=1.26",
        "pyarrow>=16",
        "keras>=3.12.1",
        "h5py>=3.10",
        "obstore>=0.8",
        "google-crc32c>=1.5",
        "pydantic>=2.7",
        "pyyaml>=6",
        "typer>=0.12",
        "rich>=13",
        # the audit's report
        "jinja2>=3.1",
        "matplotlib>=3.8",
        "pillow>=10",
    ],
    extras_require={
        "examples": ["scikit-learn>=1.4"],
        "demo": ["mlxtend>=0.23"],
        "formats": FORMATS,
        # Flink's jars; Beam has a job server for each of its minor versions.
        "flink": ["apache-flink-libraries==1.20.*"],
        "dataflow": ["apache-beam[gcp]>=2.77"],
        # What the worker image adds; Dockerfile names the same Beam.
        "worker": [*FORMATS, "apache-beam[gcp]==2.77.0", "tensorflow[and-cuda]>=2.16"],
        "test": [
            *FORMATS,
            "duckdb",
            "hypothesis>=6.100",
            "mlxtend>=0.23",
            "moto[server]>=5",
            "mypy>=1.15",
            "nbformat>=5",
            "pandas",
            "playwright>=1.45",
            "polars",
            "pytest>=8",
            "pytest-cov",
            "pytest-timeout",
            "pytest-xdist>=3.5",
            "ruff>=0.12",
            "setuptools>=64",
            "types-PyYAML",
            "wheel",
        ],
        "docs": ["mkdocs-material>=9.5,<10"],
        # What building a request for Dataflow takes, of all that apache-beam[gcp] installs; the bounds are Beam's.
        "test-dataflow": [
            "google-auth-httplib2<0.3",
            "google-cloud-dataflow-client==0.13.*",
            "google-cloud-storage>=2.18.2,<4",
        ],
        # tensorflow-io has native ops for this TensorFlow only, and both are built for numpy 1.
        "tfio": [*FORMATS, "tensorflow==2.16.2", "tensorflow-io==0.37.1", "numpy<2"],
    },
    entry_points={"console_scripts": ["attribeam=pipeline.main:main"]},
)
