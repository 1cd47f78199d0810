"""The pages on Azure ML, line by line against the imitated service: what is not run is named there."""

from __future__ import annotations

import base64
import json
import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import az
import pytest
from azure_imitation import Service, imitated
from conftest import ROOT, make_photos

FIRST, REGISTER, REST = (ROOT / "docs" / "azure_ml.md").read_text().partition("\n## Register, deploy, call, delete\n")
CHAPTER = FIRST + (ROOT / "docs" / "many_gpus.md").read_text() + REGISTER + REST
"""As it is read: the page on GPUs after the first training."""
BLOCKS = re.findall(r"^```sh\n(.*?)^```", CHAPTER, re.DOTALL | re.MULTILINE)
NOT_RUN = ("az extension", "az login", "az group", "az ml workspace", "az configure")
"""They need Azure itself."""
ELSEWHERE = ("make ", ".venv/bin/designer-vision serve", "python3 -m venv", ".venv_azure/bin/pip", "az ml batch-endpoint invoke")
"""Tested by other tests, or by hand; a batch endpoint is called at an address that only Azure has."""


def lines(block: str) -> list[str]:
    return [line for line in block.replace("\\\n", " ").splitlines() if line]


LINES = [line for block in BLOCKS for line in lines(block)]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where a newcomer stands: a clone in a folder with a space in its name, photos of theirs in it."""
    tmp_path = tmp_path / "My clone"
    tmp_path.mkdir()
    for name in ("pipelines", "component", "environment", "src"):
        (tmp_path / name).symlink_to(ROOT / name)
    photos = make_photos(tmp_path / "FOLDER", per_class=2)
    (tmp_path / "photo.jpg").write_bytes(next(photos.rglob("*.png")).read_bytes())
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def service(folder: Path) -> Iterator[Service]:
    with imitated() as service:
        for path in sorted((ROOT / "component").glob("*.yaml")):  # as `make register` leaves them
            service.client().components.create_or_update(az.load_component(path))
        service.outputs = {"evaluation_results": {"report.html": b"<p>good</p>"}}
        service.sent.clear()
        yield service


def run(line: str, variables: dict[str, str], service: Service) -> None:
    """One line of a shell, with `az` replaced by the client."""
    if match := re.fullmatch(r"([A-Z]+)=(\S+)", line):
        variables[match[1]] = match[2].replace("$RANDOM", "123")
        return
    for name, value in variables.items():
        line = line.replace(f"${name}", value)
    if line.startswith("echo "):
        subprocess.run(["bash", "-c", line], check=True)
        return
    words = shlex.split(line)
    assert words[:2] == ["az", "ml"], line
    command, flags = az.parsed(words[2:])
    command.call(service.client(), flags)


def test_every_line_that_can_be_run_here_is_taken_by_the_client(folder: Path, service: Service) -> None:
    variables = {"PWD": str(folder)}
    asked: list[bytes] = []

    def score(body: bytes) -> tuple[int, Any]:
        asked.append(body)
        return 200, []

    service.score = score
    for line in LINES:
        if not line.startswith((*NOT_RUN, *ELSEWHERE)):
            before = len(service.sent)
            run(line, variables, service)
            assert len(service.sent) > before or "=" in line.split()[0] or line.startswith("echo"), line
    assert (folder / "named-outputs/evaluation_results/report.html").read_bytes() == b"<p>good</p>"
    (body,) = asked
    (row,) = json.loads(body)["input_data"]["data"]
    assert base64.b64decode(row[0]) == (folder / "photo.jpg").read_bytes()
    deleted = [path for method, path, _ in service.sent if method == "DELETE"]
    assert deleted == ["/onlineEndpoints/photos-123123", "/batchEndpoints/tables-123123"]
    by_name = {path: body["properties"] for method, path, body in service.sent if method == "PUT"}
    assert by_name["/models/my_model/versions/2"]["modelUri"] == "azureml://jobs/photos-123123/outputs/trained_model"
    assert by_name["/onlineEndpoints/photos-123123/deployments/blue"]["codeConfiguration"]["scoringScript"] == "score.py"
    changed = {path: body["componentSpec"]["environment"] for path, body in by_name.items() if path.startswith("/components/")}
    assert changed["/components/train_pytorch_model_cpu/versions/0.2.0"].endswith(
        "/environments/designer_vision_cpu/versions/0.2.0"
    )
    assert changed["/components/score_image_model_gpu/versions/0.2.0"].endswith("/environments/designer_vision/versions/0.2.0")
    jobs = service.put("jobs")
    assert {job["properties"]["inputs"]["images"]["uri"] for job in jobs if "images" in job["properties"]["inputs"]} != set()
    train = [job["properties"]["jobs"]["train"] for job in jobs]
    assert train[2]["resources"]["instance_type"] == "Standard_NC24ads_A100_v4"
    assert train[2]["resources"]["shm_size"] == "8g"
    assert train[4]["queue_settings"] == {"job_tier": "Spot"}
    outputs = [job["properties"]["outputs"]["trained_model"] for job in jobs]
    assert outputs[4]["uri"] == "azureml://datastores/workspaceblobstore/paths/runs/photos"
    assert (outputs[5]["jobOutputType"], outputs[5]["assetName"]) == ("mlflow_model", "my_model")
    assert train[5]["outputs"]["trained_model"]["value"] == "${{parent.outputs.trained_model}}"


def test_a_folder_that_is_not_absolute_counts_from_the_yaml(folder: Path, service: Service) -> None:
    """Why the page has $PWD."""
    with pytest.raises(Exception, match=r"pipelines/FOLDER|FOLDER"):
        run("az ml job create -f pipelines/photos.yaml --set inputs.images.path=FOLDER", {}, service)


def test_what_is_not_run_is_named_in_the_readme() -> None:
    tried = CHAPTER.partition("## What was tried, and what was not")[2]
    for words in NOT_RUN:
        assert f"`{words}`" in tried, words
        assert [line for line in LINES if line.startswith(words)], words
    assert "batch endpoint" in tried


SENT = {
    "settings.force_rerun=true": '"force_rerun": true',
    "identity.type=user_identity": '"identityType": "UserIdentity"',
    "settings.default_compute=azureml:NAME": "/computes/NAME",
}


@pytest.mark.parametrize("text", SENT)
def test_what_the_readme_says_of_set_arrives(folder: Path, service: Service, text: str) -> None:
    assert f"--set {text}" in CHAPTER
    run(f"az ml job create -f pipelines/photos.yaml --set inputs.images.path=azureml:photos@latest --set {text}", {}, service)
    (job,) = service.put("jobs")
    assert SENT[text] in json.dumps(job["properties"])


def test_a_model_of_ones_own_is_sent_as_a_model_and_not_as_data(folder: Path, service: Service) -> None:
    line = next(
        line for line in (ROOT / "pipelines/photos.yaml").read_text().splitlines() if "inputs.trained_model.path=azureml" in line
    )
    changes = line.partition("Azure ML:")[2]
    run(f"az ml job create -f pipelines/photos.yaml --set inputs.images.path=azureml:photos@latest {changes}", {}, service)
    (job,) = service.put("jobs")
    assert "/models/my_model/versions/" in job["properties"]["jobs"]["network"]["inputs"]["trained_model"]["uri"]
