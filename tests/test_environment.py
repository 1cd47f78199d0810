"""The image's lock, the package's own requirements and the Dockerfiles agree; the build context is small."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from azure.ai.ml import load_environment
from conftest import ROOT
from packaging.requirements import Requirement

FOLDER = ROOT / "environment"
DOCKERFILES = [FOLDER / "Dockerfile", FOLDER / "Dockerfile.cpu"]
ENVIRONMENTS = [FOLDER / "environment.yaml", FOLDER / "environment_cpu.yaml"]
IN_THE_IMAGE = {"mlflow": "mlflow-skinny"}
"""azureml-mlflow brings the small one of the same version."""
NOT_IN_THE_IMAGE = {"azure-ai-ml", "mlflow", "flask", "gunicorn", "sqlalchemy", "alembic", "docker", "pytest"}
"""Clients and servers, which a component does not need."""
MOST_FILES, MOST_BYTES = 100, 2**20
"""Of a build context on Azure."""


def locked() -> dict[str, str]:
    """Name to version."""
    return dict(re.findall(r"^([a-z0-9._-]+)==(\S+) \\$", (FOLDER / "requirements.txt").read_text(), re.MULTILINE))


def required(path: Path) -> list[Requirement]:
    return [Requirement(line) for line in path.read_text().splitlines() if line and not line.startswith("#")]


def test_the_lock_has_a_hash_for_every_package() -> None:
    entries = re.split(r"^(?=[a-z0-9])", (FOLDER / "requirements.txt").read_text(), flags=re.MULTILINE)[1:]
    assert len(entries) == len(locked()) > 50
    assert [entry for entry in entries if not re.search(r"--hash=sha256:[0-9a-f]{64}", entry)] == []


def test_the_lock_holds_what_is_asked_for_in_that_version() -> None:
    for requirement in required(FOLDER / "requirements.in"):
        assert requirement.specifier.contains(locked()[requirement.name]), requirement


def test_the_lock_satisfies_the_packages_own_requirements() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    for requirement in map(Requirement, project["dependencies"]):
        name = IN_THE_IMAGE.get(requirement.name, requirement.name)
        assert requirement.specifier.contains(locked()[name]), requirement
    assert set(locked()) & NOT_IN_THE_IMAGE == set()


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.name)
def test_the_dockerfile_installs_the_lock_for_the_python_it_was_made_for(path: Path) -> None:
    text = path.read_text()
    (python,) = set(re.findall(r"Python (3\.\d+)", (FOLDER / "requirements.txt").read_text().splitlines()[0]))
    assert set(re.findall(r"python(3\.\d+)", text)) == {python}
    assert "pip install --no-cache-dir --require-hashes --requirement /tmp/requirements.txt" in text
    assert "USER" not in text
    assert "MLFLOW_DISABLE_TELEMETRY=true" in text
    assert text.startswith("# The image")


def test_both_images_differ_in_their_base_only() -> None:
    lines, others = (path.read_text().splitlines()[1:] for path in DOCKERFILES)
    assert [(line, other) for line, other in zip(lines, others, strict=True) if line != other] == [
        (
            "FROM mcr.microsoft.com/azureml/openmpi5.0-cuda13.1-ubuntu24.04:latest",
            "FROM mcr.microsoft.com/azureml/openmpi5.0-ubuntu24.04:latest",
        )
    ]


@pytest.mark.parametrize("path", ENVIRONMENTS, ids=lambda path: path.stem)
def test_azures_client_takes_the_environment(path: Path) -> None:
    environment = load_environment(path)
    assert (FOLDER / environment.build.path / environment.build.dockerfile_path).is_file()


def test_the_build_context_is_small() -> None:
    files = [path for path in FOLDER.rglob("*") if path.is_file()]
    assert len(files) < MOST_FILES
    assert sum(path.stat().st_size for path in files) < MOST_BYTES
