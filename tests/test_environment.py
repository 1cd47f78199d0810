"""The images' locks, the package's own requirements and the Dockerfiles agree; the build context is small."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
import yaml
from azure.ai.ml import load_environment
from conftest import ROOT
from packaging.requirements import Requirement

from designer_vision.inference import serving

FOLDER = ROOT / "environment"
LOCKS = {"Dockerfile": "requirements", "Dockerfile.cpu": "requirements_cpu", "Dockerfile.serving": "requirements_serving"}
ENVIRONMENTS = sorted(FOLDER.glob("*.yaml"))
IN_THE_IMAGE = {"mlflow": "mlflow-skinny"}
"""azureml-mlflow brings the small one of the same version."""
NOT_IN_THE_IMAGE = {"azure-ai-ml", "mlflow", "flask", "gunicorn", "sqlalchemy", "alembic", "docker", "pytest"}
"""Clients and servers, which a component does not need."""
CUDA = re.compile(r"^(nvidia|cuda|triton)")
WITHOUT_CUDA = {"torch", "torchvision"}
"""Installed from PyTorch's own index, by version."""
MOST_FILES, MOST_BYTES = 100, 2**20
"""Of a build context on Azure."""


def locked(name: str) -> dict[str, str]:
    """Name to version."""
    return dict(re.findall(r"^([a-z0-9._-]+)==(\S+) \\$", (FOLDER / f"{name}.txt").read_text(), re.MULTILINE))


def required(name: str) -> list[Requirement]:
    lines = (FOLDER / f"{name}.in").read_text().splitlines()
    return [Requirement(line) for line in lines if line and not line.startswith("#")]


@pytest.mark.parametrize("name", LOCKS.values())
def test_a_lock_has_a_hash_for_every_package(name: str) -> None:
    entries = re.split(r"^(?=[a-z0-9])", (FOLDER / f"{name}.txt").read_text(), flags=re.MULTILINE)[1:]
    assert len(entries) == len(locked(name)) > 50
    assert [entry for entry in entries if not re.search(r"--hash=sha256:[0-9a-f]{64}", entry)] == []


@pytest.mark.parametrize(
    ("lock", "name"), [("requirements", "requirements"), ("requirements_cpu", "requirements"), ("requirements_serving",) * 2]
)
def test_a_lock_holds_what_is_asked_for_in_that_version(lock: str, name: str) -> None:
    left_out = WITHOUT_CUDA if lock != "requirements" else set()
    for requirement in required(name):
        if requirement.name not in left_out:
            assert requirement.specifier.contains(locked(lock)[requirement.name]), requirement


def test_the_image_without_cuda_has_the_same_packages_but_cudas() -> None:
    cuda = {name for name in locked("requirements") if CUDA.match(name)}
    assert len(cuda) > 10
    kept = {name: version for name, version in locked("requirements").items() if name not in cuda | WITHOUT_CUDA}
    assert locked("requirements_cpu") == kept


@pytest.mark.parametrize("name", ["requirements_cpu", "requirements_serving"])
def test_an_image_for_cpus_has_nothing_of_cuda(name: str) -> None:
    assert [package for package in locked(name) if CUDA.match(package) or package in WITHOUT_CUDA] == []


def test_the_lock_satisfies_the_packages_own_requirements() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    for requirement in map(Requirement, project["dependencies"]):
        name = IN_THE_IMAGE.get(requirement.name, requirement.name)
        assert requirement.specifier.contains(locked("requirements")[name]), requirement
    assert set(locked("requirements")) & NOT_IN_THE_IMAGE == set()


def test_the_image_of_an_endpoint_has_what_a_served_model_imports() -> None:
    images = {name: version for lock in LOCKS.values() for name, version in locked(lock).items()}
    for name in set(serving.REQUIREMENTS) - WITHOUT_CUDA | {"pyarrow"}:
        assert locked("requirements_serving")[name] == images[name]
    (server,) = [pin for pin in serving.ON_AZURE if "server" in pin]
    assert locked("requirements_serving")["azureml-inference-server-http"] == server.partition("==")[2]


@pytest.mark.parametrize("dockerfile", LOCKS)
def test_a_dockerfile_installs_its_lock_for_the_python_it_was_made_for(dockerfile: str) -> None:
    text, lock = (FOLDER / dockerfile).read_text(), f"{LOCKS[dockerfile]}.txt"
    (python,) = set(re.findall(r"Python (3\.\d+)", (FOLDER / lock).read_text().splitlines()[0]))
    assert set(re.findall(r"python(3\.\d+)", text)) == {python}
    assert (
        f"COPY {lock} /tmp/requirements.txt\nRUN pip install --no-cache-dir --require-hashes --requirement /tmp/requirements.txt"
        in text
    )
    assert "USER" not in text
    assert text.startswith("# The image")
    own = {f"{name}=={version}" for name, version in locked("requirements").items() if name in WITHOUT_CUDA}
    if dockerfile == "Dockerfile":
        assert "cuda" in text.partition("FROM ")[2].splitlines()[0]
        assert "LD_LIBRARY_PATH=/usr/local/cuda/compat:$LD_LIBRARY_PATH" in text
    else:
        assert "cuda" not in text.partition("FROM ")[2].splitlines()[0]
        (words,) = re.findall(r"--index-url https://download.pytorch.org/whl/cpu (.*) \\", text)
        assert set(words.split()) == own
    if dockerfile != "Dockerfile.serving":
        assert "MLFLOW_DISABLE_TELEMETRY=true" in text


def test_training_alone_runs_in_the_image_with_cuda() -> None:
    """Or every small step would pull gigabytes."""
    images = {path.stem: yaml.safe_load(path.read_text())["environment"] for path in (ROOT / "component").glob("*.yaml")}
    assert images.pop("train_pytorch_model") == "file:../environment/environment.yaml"
    assert set(images.values()) == {"file:../environment/environment_cpu.yaml"}
    assert len(images) == 12


@pytest.mark.parametrize("path", ENVIRONMENTS, ids=lambda path: path.stem)
def test_azures_client_takes_the_environment(path: Path) -> None:
    environment = load_environment(path)
    assert (FOLDER / environment.build.path / environment.build.dockerfile_path).is_file()


def test_the_build_context_is_small() -> None:
    files = [path for path in FOLDER.rglob("*") if path.is_file()]
    assert len(files) < MOST_FILES
    assert sum(path.stat().st_size for path in files) < MOST_BYTES
