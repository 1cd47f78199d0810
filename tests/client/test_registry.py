"""Environments and components in a registry, which several workspaces share: what the client sends there."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from azure.ai.ml import load_component, load_environment
from azure.ai.ml.exceptions import ValidationException
from azure_imitation import Service, imitated
from conftest import ROOT

COMPONENTS = sorted((ROOT / "component").glob("*.yaml"))
ENVIRONMENTS = sorted((ROOT / "environment").glob("*.yaml"))
PLACE = "azureml://registries/R"
CPU = load_environment(ROOT / "environment/environment_cpu.yaml")


@pytest.fixture
def service() -> Iterator[Service]:
    with imitated() as service:
        yield service


def only(service: Service, kind: str) -> Any:
    """The properties of the one asset of a kind that was created in the registry."""
    (body,) = service.put(f"registries/R/{kind}")
    return body["properties"]


@pytest.mark.parametrize("path", ENVIRONMENTS, ids=lambda path: path.stem)
def test_a_registry_takes_an_environment_with_its_build_context(path: Path, service: Service) -> None:
    environment = load_environment(path)
    created = service.registry("R").environments.create_or_update(environment)
    assert created.id == f"{PLACE}/environments/{environment.name}/versions/{environment.version}"
    build = only(service, "environments")["build"]
    assert build["dockerfilePath"] in service.uploaded
    assert re.fullmatch(r"https://st\.blob\.core\.windows\.net/[\w-]+/environment/", build["contextUri"])


@pytest.mark.parametrize("path", COMPONENTS, ids=lambda path: path.stem)
def test_a_registry_takes_a_component_with_its_code_beside_it_and_an_environment_of_the_registry(
    path: Path, service: Service
) -> None:
    environment = f"{PLACE}/environments/{CPU.name}/versions/{CPU.version}"
    component = load_component(path, params_override=[{"environment": environment}])
    created = service.registry("R").components.create_or_update(component)
    assert created.id == f"{PLACE}/components/{path.stem}/versions/{component.version}"
    spec = only(service, "components")["componentSpec"]
    golden = json.loads((Path(__file__).parent / f"golden/component_{path.stem}.json").read_text())["properties"]["componentSpec"]
    parts = ("name", "version", "command", "inputs", "outputs", "distribution")
    assert {part: spec.get(part) for part in parts} == {part: golden.get(part) for part in parts}
    assert spec["environment"] == environment
    assert re.fullmatch(rf"{PLACE}/codes/[0-9a-f-]+/versions/1", spec["code"])
    assert only(service, "codes")["codeUri"].endswith("/src")
    assert f"{path.stem}.py" in service.uploaded


def test_a_registry_wants_the_full_name_of_an_environment(service: Service) -> None:
    component = load_component(COMPONENTS[0], params_override=[{"environment": f"azureml:{CPU.name}:{CPU.version}"}])
    with pytest.raises(ValidationException, match="fully qualified name"):
        service.registry("R").components.create_or_update(component)


def test_what_is_created_in_a_registry_is_found_there_and_not_in_a_workspace(service: Service) -> None:
    registry = service.registry("R")
    registry.environments.create_or_update(CPU)
    assert [path for path in service.kept if not path.startswith("/registries/R/")] == []
    assert registry.environments.get(CPU.name, CPU.version).name == CPU.name
