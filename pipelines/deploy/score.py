"""What a managed online endpoint runs: the model's own code answers, Azure ML's inference server carries the requests."""

import os
import sys
from importlib import import_module
from pathlib import Path

from azureml_inference_server_http.api.aml_request import AMLRequest, rawhttp
from azureml_inference_server_http.api.aml_response import AMLResponse


def init() -> None:
    """Load the model, once in each process of the server."""
    global serving, model
    folder = next(Path(os.environ["AZUREML_MODEL_DIR"]).rglob("MLmodel")).parent
    sys.path.insert(0, str(folder / "code"))
    serving = import_module("designer_vision.inference.serving")
    model = serving.load(folder)


@rawhttp
def run(request: AMLRequest) -> AMLResponse:
    """Answer one request."""
    status, content = serving.answer(model, request.get_data())
    return AMLResponse(content, status, json_str=True)
