"""The components as folders for the studio's *New component*, read by the client that the studio's back end shares its format with."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from azure.ai.ml import load_component, load_environment
from conftest import ROOT

COMPONENTS = sorted((ROOT / "component").glob("*.yaml"))
NAMES = [path.stem for path in COMPONENTS]
ENVIRONMENTS = {path.stem: load_environment(path) for path in (ROOT / "environment").glob("*.yaml")}


def make(folder: Path) -> subprocess.CompletedProcess[str]:
    """The script as `make bundle` starts it, in a Python that has no packages."""
    command = [sys.executable, "-I", "-S", str(ROOT / "pipelines/bundle.py"), str(folder)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The bundles, and what the script said."""
    folder = tmp_path_factory.mktemp("bundle")
    result = make(folder)
    assert result.returncode == 0, result.stderr
    return folder, result.stdout


def spec(path: Path) -> dict[str, Any]:
    """What the client sends for a component, without the places of its code and environment."""
    sent = load_component(path)._to_rest_object().as_dict()["properties"]["componentSpec"]
    return {key: value for key, value in sent.items() if key not in ("code", "environment")}


def test_every_component_has_a_folder_of_its_own(made: tuple[Path, str]) -> None:
    folder, _ = made
    assert sorted(path.name for path in folder.iterdir()) == NAMES
    assert {path.name for name in NAMES for path in (folder / name).iterdir()} == {"src", *(f"{name}.yaml" for name in NAMES)}


@pytest.mark.parametrize("path", COMPONENTS, ids=NAMES)
def test_the_client_takes_the_bundle_and_sends_what_it_sends_for_the_component(path: Path, made: tuple[Path, str]) -> None:
    bundle = made[0] / path.stem / path.name
    component = load_component(bundle)
    result = component._validate()
    assert result.passed, result.error_messages
    assert spec(bundle) == spec(path)
    assert component.code == "./src"
    environment = ENVIRONMENTS["environment" if path.stem == "train_pytorch_model" else "environment_cpu"]
    assert component.environment == f"{environment.name}:{environment.version}"
    assert f"environment: azureml:{environment.name}:{environment.version}\n" in bundle.read_text()


def test_the_sources_are_all_there_without_what_python_leaves_beside_them(made: tuple[Path, str]) -> None:
    ours = re.compile(r"__pycache__|egg-info")
    there = {path.relative_to(ROOT / "src") for path in (ROOT / "src").rglob("*") if not ours.search(str(path))}
    for name in NAMES:
        source = made[0] / name / "src"
        assert {path.relative_to(source) for path in source.rglob("*")} == there


def test_the_entry_of_a_bundle_starts_from_its_own_folder(made: tuple[Path, str]) -> None:
    command = [sys.executable, "-m", "designer_vision.entry.resnet", "--help"]
    result = subprocess.run(
        command, cwd=made[0] / "resnet/src", env={"PYTHONDONTWRITEBYTECODE": "1"}, capture_output=True, text=True, timeout=60
    )
    assert "--untrained_model" in result.stdout, result.stderr


def test_the_last_lines_name_the_environments_that_the_bundles_need(made: tuple[Path, str]) -> None:
    folder, said = made
    created = [ENVIRONMENTS[Path(name).stem] for name in re.findall(r"az ml environment create -f (\S+)", said)]
    needed = {load_component(folder / name / f"{name}.yaml").environment for name in NAMES}
    assert {f"{environment.name}:{environment.version}" for environment in created} == needed


def test_a_second_bundle_replaces_the_first_and_nothing_else(tmp_path: Path) -> None:
    assert make(tmp_path).returncode == 0
    stale = tmp_path / "resnet/src/designer_vision/gone.py"
    stale.write_text("x")
    assert make(tmp_path).returncode == 0
    assert not stale.exists()
    photos = tmp_path / "other/resnet/photo.png"
    photos.parent.mkdir(parents=True)
    photos.write_text("x")
    refused = make(tmp_path / "other")
    assert refused.returncode == 1
    assert refused.stderr == f"{photos.parent} is there and is not a bundle; delete it or give another folder\n"
    assert photos.exists()
