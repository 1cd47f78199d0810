"""What azure-ai-ml, which the CLI and the SDK use, would send for each component, pipeline and deployment.

`make golden` writes the golden files anew; look at the difference before committing it.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from azure.ai.ml import load_batch_endpoint, load_component, load_job, load_online_deployment, load_online_endpoint
from azure.ai.ml.entities._load_functions import load_model_batch_deployment
from azure_imitation import Service, imitated
from conftest import ROOT

import designer_vision

GOLDEN = Path(__file__).parent / "golden"
COMPONENTS = sorted((ROOT / "component").glob("*.yaml"))
REGISTERED = ROOT / "pipelines/train_and_score_registered.yaml"
PIPELINES = sorted(path for path in (ROOT / "pipelines").glob("*.yaml") if path != REGISTERED)


def plain(value: Any) -> Any:
    """A payload without what differs from machine to machine: paths and hashes."""
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items() if key not in ("client_component_hash", "componentId")}
    if isinstance(value, list):
        return [plain(item) for item in value]
    if not isinstance(value, str):
        return value
    return re.sub(r"\b[0-9a-f]{64}\b", "<hash>", value.replace(str(ROOT), "<root>"))


def check(name: str, payload: Any) -> None:
    """Compare a payload with its golden file."""
    path = GOLDEN / f"{name}.json"
    text = json.dumps(plain(payload), indent=1, sort_keys=True, default=str) + "\n"
    if os.environ.get("UPDATE_GOLDEN"):
        path.write_text(text)
    assert text == path.read_text(), f"{path.name} differs; see `make golden`"


@pytest.mark.parametrize("path", COMPONENTS, ids=lambda path: path.stem)
def test_the_payload_of_a_component_is_the_golden_one(path: Path) -> None:
    check(f"component_{path.stem}", load_component(path)._to_rest_object().as_dict())


@pytest.mark.parametrize("path", PIPELINES, ids=lambda path: path.stem)
def test_the_payload_of_a_pipeline_is_the_golden_one(path: Path) -> None:
    check(f"pipeline_{path.stem}", load_job(path)._to_rest_object().as_dict())


@pytest.fixture(scope="module")
def service() -> Iterator[Service]:
    with imitated() as service:
        yield service


@pytest.mark.parametrize("path", COMPONENTS, ids=lambda path: path.stem)
def test_the_client_sends_a_component_with_its_code_and_environment_registered(path: Path, service: Service) -> None:
    service.sent.clear()
    service.client().components.create_or_update(load_component(path))
    (body,) = service.put("components")
    spec = body["properties"]["componentSpec"]
    golden = json.loads((GOLDEN / f"component_{path.stem}.json").read_text())["properties"]["componentSpec"]
    assert plain({**spec, "code": 0, "environment": 0}) == {**golden, "code": 0, "environment": 0}
    assert re.search(r"/codes/[^/]+/versions/1$", spec["code"])
    assert re.search(r"/environments/CliV2AnonymousEnvironment/versions/[0-9a-f]{64}$", spec["environment"])


@pytest.mark.parametrize("path", PIPELINES, ids=lambda path: path.stem)
def test_the_client_sends_a_pipeline_with_its_components_registered(path: Path, service: Service, tmp_path: Path) -> None:
    service.sent.clear()
    job = load_job(path)
    for name, entry in job.inputs.items():
        if getattr(entry._data, "path", None) == "digits":
            (tmp_path / "a.png").write_bytes(b"1")
            job.inputs[name].path = str(tmp_path)
    service.client().jobs.create_or_update(job)
    (body,) = service.put("jobs")
    golden = json.loads((GOLDEN / f"pipeline_{path.stem}.json").read_text())["properties"]["jobs"]
    nodes = body["properties"]["jobs"]
    assert set(nodes) == set(golden)
    for name, node in nodes.items():
        assert plain({**node, "computeId": 0, "trial": 0}) == {**golden[name], "computeId": 0, "trial": 0}
        component = node.get("componentId") or node["trial"]["componentId"]
        assert re.search(r"/components/azureml_anonymous/versions/", str(component))


def test_the_registered_pipeline_is_train_and_score_on_components_of_this_version() -> None:
    raw = yaml.safe_load(REGISTERED.read_text())
    twin = yaml.safe_load((ROOT / "pipelines/train_and_score.yaml").read_text())
    for name, job in twin["jobs"].items():
        component = yaml.safe_load((ROOT / "pipelines" / job["component"]).resolve().read_text())
        assert raw["jobs"][name].pop("component") == f"azureml:{component['name']}:{designer_vision.__version__}"
        job.pop("component")
    assert raw["inputs"].pop("images") == {"type": "uri_folder", "path": "azureml:photos@latest"}
    twin["inputs"].pop("images")
    assert raw == twin


def test_the_client_sends_the_registered_pipeline_without_any_code(service: Service) -> None:
    for path in COMPONENTS:
        service.client().components.create_or_update(load_component(path))
    service.sent.clear()
    service.client().jobs.create_or_update(load_job(REGISTERED))
    (body,) = service.put("jobs")
    ids = {name: node["componentId"] for name, node in body["properties"]["jobs"].items()}
    assert len(ids) == 10
    assert all(re.search(rf"/components/\w+/versions/{re.escape(designer_vision.__version__)}$", found) for found in ids.values())
    assert service.put("codes") == service.put("environments") == []


@pytest.mark.parametrize("path", [*COMPONENTS, *sorted((ROOT / "environment").glob("*.yaml"))], ids=lambda path: path.stem)
def test_the_version_of_what_is_registered_is_the_packages(path: Path) -> None:
    """Versions are immutable there: a changed release under an old number would not arrive."""
    assert str(yaml.safe_load(path.read_text())["version"]) == designer_vision.__version__


DEPLOYMENTS = {
    "online_endpoint": load_online_endpoint,
    "online_deployment": load_online_deployment,
    "online_deployment_no_code": load_online_deployment,
    "batch_endpoint": load_batch_endpoint,
    "batch_deployment": load_model_batch_deployment,
}


@pytest.mark.parametrize("name", DEPLOYMENTS)
def test_the_client_takes_the_deployments(name: str) -> None:
    path = ROOT / "pipelines" / "deploy" / f"{name}.yaml"
    entity = DEPLOYMENTS[name](path)
    written = yaml.safe_load(path.read_text())
    assert entity.name == written["name"]
    if "endpoint_name" in written:
        endpoint = yaml.safe_load((path.parent / f"{name.partition('_')[0]}_endpoint.yaml").read_text())
        assert entity.endpoint_name == endpoint["name"]
        assert entity.model == "my_model@latest"


def written(pattern: str) -> dict[str, Any]:
    """The YAMLs below pipelines/, by stem."""
    return {path.stem: yaml.safe_load(path.read_text()) for path in (ROOT / "pipelines").glob(pattern)}


@pytest.mark.parametrize(("name", "minutes"), [("online_deployment", 10), ("online_deployment_no_code", 30)])
def test_a_deployment_waits_for_its_model_to_load(name: str, minutes: int) -> None:
    """Azure's own probes give up after 310 seconds."""
    deployment = written("deploy/*.yaml")[name]
    for probe in (deployment["liveness_probe"], deployment["readiness_probe"]):
        assert probe["initial_delay"] + probe["period"] * probe["failure_threshold"] >= 60 * minutes
    assert ("environment" in deployment) == ("code_configuration" in deployment) == (name == "online_deployment")


def test_an_endpoint_serves_as_many_requests_at_once_as_it_has_workers() -> None:
    deployment = written("deploy/*.yaml")["online_deployment"]
    assert deployment["request_settings"]["max_concurrent_requests_per_instance"] == int(
        deployment["environment_variables"]["WORKER_COUNT"]
    )


def test_no_pipeline_names_a_cluster_that_nobody_has() -> None:
    for name, pipeline in written("*.yaml").items():
        assert pipeline["settings"]["default_compute"] == "serverless", name
        assert not [job for job in pipeline["jobs"].values() if "compute" in job], name
    deployment = (ROOT / "pipelines/deploy/batch_deployment.yaml").read_text()
    cluster = yaml.safe_load(deployment)["compute"].removeprefix("azureml:")
    assert f"az ml compute create --name {cluster} " in deployment


def test_no_pipeline_feeds_a_file_into_a_port_for_folders() -> None:
    for name, pipeline in written("*.yaml").items():
        kinds = {entry["type"] for entry in pipeline["inputs"].values() if isinstance(entry, dict)}
        assert kinds <= {"uri_folder", "mlflow_model"}, name


def test_the_mount_that_training_reads_in_every_epoch_is_told_so_on_the_node() -> None:
    """In an image's ENV the variable has no effect: the mount is made in another container, from the job's variables."""
    variable = "DATASET_MOUNT_BLOCK_BASED_CACHE_ENABLED"
    nodes = [pipeline["jobs"].get("train") for pipeline in written("*.yaml").values()]
    trainings = [node for node in nodes if node and node["type"] == "command"]
    assert len(trainings) == 7
    assert all(node["environment_variables"] == {variable: "true"} for node in trainings)
    assert not [path for path in (ROOT / "environment").glob("Dockerfile*") if variable in path.read_text()]


def test_a_training_on_spot_machines_writes_to_a_fixed_place() -> None:
    """Or the same pipeline, submitted again, would find nothing to resume from."""
    spot = {name: raw for name, raw in written("*.yaml").items() if "job_tier: Spot" in yaml.safe_dump(raw)}
    assert [*spot] == ["imagenet_resnet50"]
    assert spot["imagenet_resnet50"]["outputs"]["trained_model"]["path"].startswith("azureml://datastores/")
    sent = load_job(ROOT / "pipelines/imagenet_resnet50.yaml")._to_rest_object().as_dict()["properties"]
    assert sent["outputs"]["trained_model"]["uri"] == spot["imagenet_resnet50"]["outputs"]["trained_model"]["path"]
    assert sent["jobs"]["train"]["queue_settings"] == {"job_tier": "Spot"}


def test_the_same_sources_have_the_same_hash_whatever_python_leaves_beside_them(tmp_path: Path) -> None:
    """Or every registration would be a new version."""
    import shutil

    from azure.ai.ml._utils._asset_utils import get_ignore_file, get_object_hash

    code = shutil.copytree(ROOT / "src", tmp_path / "src", ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    before = get_object_hash(code, get_ignore_file(str(code)))
    for name in (
        "designer_vision.egg-info/PKG-INFO",
        "designer_vision/__pycache__/x.pyc",
        "designer_vision/entry/__pycache__/y.pyc",
    ):
        (code / name).parent.mkdir(parents=True, exist_ok=True)
        (code / name).write_text("x")
    assert get_object_hash(code, get_ignore_file(str(code))) == before
    (code / "designer_vision/new.py").write_text("x")
    assert get_object_hash(code, get_ignore_file(str(code))) != before
