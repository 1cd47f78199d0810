"""The notebook runs from its first cell to its last against the imitated service, and the outputs kept in it are those.

`make notebook` keeps new ones; look at the difference before committing it.
"""

from __future__ import annotations

import base64
import json
import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nbformat
import pytest
from conftest import ROOT, make_photos
from nbclient import NotebookClient
from nbformat import NotebookNode

from designer_vision.inference import serving

NOTEBOOK = ROOT / "pipelines/notebooks/from_photos_to_endpoint.ipynb"
ANSWER = [
    {
        "Scored Probabilities_blue": 0.93,
        "Scored Probabilities_green": 0.04,
        "Scored Probabilities_red": 0.03,
        "Scored Labels": "blue",
        "Error": None,
    }
]
"""What the endpoint says of a photo."""
BEFORE = f"""
import sys
sys.path.append({str(ROOT / "tests")!r})
import azure.identity
import azure_imitation
patched = azure_imitation.imitated()
service = patched.__enter__()
service.outputs = {{"evaluation_results": {{"report.html": b"<title>a report</title>"}}}}
requests = []
service.score = lambda body: (requests.append(body if isinstance(body, str) else body.decode()), (200, {ANSWER!r}))[1]
azure.identity.DefaultAzureCredential = azure_imitation._Credential
"""
"""A cell in front: from here on no request of the kernel leaves it."""
AFTER = """
import json
import pathlib
seen = {"sent": service.sent, "uploaded": service.uploaded, "kept": sorted(service.kept), "requests": requests}
pathlib.Path("seen.json").write_text(json.dumps(seen))
"""
"""A cell behind: what the service received."""


@dataclass(frozen=True)
class Run:
    """One run of the notebook: it as it is now, and the folder that it ran in with what the service saw."""

    notebook: NotebookNode
    folder: Path
    sent: list[tuple[str, str, Any]]
    uploaded: list[str]
    kept: list[str]
    requests: list[str]

    def put(self, kind: str) -> dict[str, Any]:
        """The bodies of what was created of a kind, by path; of one that was changed the last."""
        return {path: body for method, path, body in self.sent if method == "PUT" and re.match(rf"/{kind}/", path)}


def copy_of_the_repository(folder: Path) -> Path:
    """What the notebook reads, with photos and a workspace's file beside it; the folder of the notebook."""
    for name in ("component", "environment", "pipelines", "src"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__", "digits*", "*.egg-info"))
    beside = folder / NOTEBOOK.parent.relative_to(ROOT)
    make_photos(beside / "photos", per_class=2)
    workspace = {"subscription_id": "s", "resource_group": "rg", "workspace_name": "ws"}
    (beside / "config.json").write_text(json.dumps(workspace))
    return beside


def names_made_up(run: dict[str, Any]) -> dict[str, str]:
    """Names that differ from run to run, and what stands for them in the outputs that are kept."""
    paths = [path for method, path, _ in run["sent"] if method == "PUT"]
    (job,) = {path.rpartition("/")[2] for path in paths if path.startswith("/jobs/")}
    (endpoint,) = {path.split("/")[2] for path in paths if path.startswith("/onlineEndpoints/")}
    return {job: "brave_photo_0123456789", endpoint: "photos-0123abcd"}


def joined(outputs: list[NotebookNode]) -> list[NotebookNode]:
    """Outputs with what was printed in several goes, and with a progress bar in between, as one text."""
    together: list[NotebookNode] = []
    for output in outputs:
        if together and output.output_type == together[-1].output_type == "stream":
            together[-1].text += output.text
        else:
            together.append(output)
    return together


def kept(cell: NotebookNode, names: dict[str, str], count: int) -> NotebookNode:
    """A cell with its outputs as they are kept: without progress bars, and with the same names in every run."""
    cell = nbformat.from_dict({key: value for key, value in cell.items() if key != "metadata"} | {"metadata": {}})
    if cell.cell_type == "code":
        text = json.dumps(joined([output for output in cell.outputs if output.get("name") != "stderr"]))
        for name, stands_for_it in names.items():
            text = text.replace(name, stands_for_it)
        cell.outputs = [nbformat.from_dict(output) for output in json.loads(text)]
        cell.execution_count = count
        for output in cell.outputs:
            if "execution_count" in output:
                output.execution_count = count
    return cell


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """The notebook run once, its own cells unchanged."""
    folder = copy_of_the_repository(tmp_path_factory.mktemp("repository"))
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    cells = [nbformat.v4.new_code_cell(BEFORE), *notebook.cells, nbformat.v4.new_code_cell(AFTER)]
    whole = nbformat.v4.new_notebook(cells=cells)
    NotebookClient(whole, timeout=120, kernel_name="python3", resources={"metadata": {"path": str(folder)}}).execute()
    seen = json.loads((folder / "seen.json").read_text())
    names, count, cells = names_made_up(seen), 0, []
    for cell in whole.cells[1:-1]:
        count += cell.cell_type == "code"
        cells.append(kept(cell, names, count))
    now = nbformat.from_dict(notebook | {"cells": cells})
    if os.environ.get("UPDATE_NOTEBOOK"):
        nbformat.write(now, NOTEBOOK)
    return Run(now, folder, **seen)


def test_the_outputs_kept_are_those_of_a_run_today(run: Run) -> None:
    before = nbformat.read(NOTEBOOK, as_version=4)
    assert run.notebook.cells == before.cells, "see `make notebook`"


def test_no_cell_ends_in_an_error_and_no_output_shows_this_machine(run: Run) -> None:
    outputs = [output for cell in run.notebook.cells for output in cell.get("outputs", [])]
    assert "error" not in {output.output_type for output in outputs}
    assert not re.search(rf"{ROOT}|/tmp/|/home/|\d\d:\d\d", json.dumps(outputs))


def test_the_notebook_is_short_and_says_first_that_its_outputs_are_samples(run: Run) -> None:
    cells = run.notebook.cells
    assert 12 <= len(cells) <= 16
    assert max(cell.source.count("\n") for cell in cells) < 10
    assert "imitated service" in cells[0].source


def test_the_service_receives_the_photos_as_a_data_asset(run: Run) -> None:
    ((_, body),) = run.put("data").items()
    assert body["properties"]["dataType"] == "uri_folder"
    assert {"photo 0.png", "photo 1.png"} <= {name.replace("%20", " ") for name in run.uploaded}


def test_the_service_receives_the_graph_with_the_data_asset_as_its_input(run: Run) -> None:
    ((_, body),) = run.put("jobs").items()
    job = body["properties"]
    assert set(job["jobs"]) >= {"convert", "hold_out", "split", "network", "train", "score", "evaluate"}
    assert len(job["jobs"]) >= 10
    assert re.search(r"/data/photos/versions/\d+$", job["inputs"]["images"]["uri"])
    assert job["experimentName"] == "photos"
    assert set(job["outputs"]) == {"trained_model", "evaluation_results"}


def test_the_report_lies_where_the_notebook_says(run: Run) -> None:
    (cell,) = [cell for cell in run.notebook.cells if cell.id == "download"]
    said = cell.outputs[-1].text.strip()
    assert (run.folder / said).read_text() == "<title>a report</title>"


def test_the_jobs_own_model_is_registered_and_deployed(run: Run) -> None:
    ((job, _),) = run.put("jobs").items()
    ((model, registered),) = run.put("models").items()
    assert registered["properties"]["modelType"] == "mlflow_model"
    assert registered["properties"]["modelUri"] == f"azureml:/{job}/outputs/trained_model"
    deployment = next(body for path, body in run.put("onlineEndpoints").items() if "/deployments/" in path)["properties"]
    assert deployment["model"].endswith(model)
    assert deployment["codeConfiguration"]["scoringScript"] == "score.py"
    assert re.search(r"/codes/[^/]+/versions/1$", deployment["codeConfiguration"]["codeId"])
    assert re.search(r"/environments/designer_vision_serving/versions/", deployment["environmentId"])


def test_the_endpoint_has_a_name_of_its_own_and_all_traffic_goes_to_the_deployment(run: Run) -> None:
    endpoint, deployment = sorted(run.put("onlineEndpoints"))
    assert re.fullmatch(r"/onlineEndpoints/photos-[0-9a-f]{8}", endpoint)
    assert deployment == f"{endpoint}/deployments/blue"
    assert run.put("onlineEndpoints")[endpoint]["properties"]["traffic"] == {"blue": 100}


def test_the_request_is_one_that_our_models_answer_and_the_answer_has_the_form_that_the_imitated_one_has(
    run: Run, trained_model: Path
) -> None:
    (request,) = run.requests
    ((image,),) = json.loads(request)["input_data"]["data"]
    assert base64.b64decode(image) == (run.folder / "photos/blue/photo 0.png").read_bytes()
    status, answer = serving.answer(serving.load(trained_model), request.encode())
    assert status == 200
    assert [list(row) for row in answer] == [list(row) for row in ANSWER]


def test_the_last_cell_deletes_the_endpoint_with_its_deployment(run: Run) -> None:
    endpoint, _ = sorted(run.put("onlineEndpoints"))
    assert [path for method, path, _ in run.sent if method == "DELETE"] == [endpoint]
    assert not [path for path in run.kept if path.startswith("/onlineEndpoints")]
    assert [path for path in run.kept if path.startswith("/models")]
