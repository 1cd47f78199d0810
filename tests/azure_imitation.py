"""An imitation of the two services that azure-ai-ml's client talks to: Azure Resource Manager and blob storage.

It answers as much as the client asks for when components and jobs are created, from what Microsoft's REST reference says of these
answers, and records every request. Nothing leaves the process.
"""

from __future__ import annotations

import io
import json
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from unittest import mock

import requests
from azure.ai.ml import MLClient
from azure.core.credentials import AccessToken

WORKSPACE = "/subscriptions/s/resourceGroups/rg/providers/Microsoft.MachineLearningServices/workspaces/ws"
PROPERTIES = {
    "workspaces": {"discoveryUrl": "https://example/discovery", "workspaceId": "w", "storageAccount": "st"},
    "codes": {"codeUri": "https://st.blob.core.windows.net/c/src", "isAnonymous": True, "properties": {"hash_sha256": "h"}},
    "data": {"dataType": "uri_folder", "dataUri": "azureml://datastores/d/paths/p", "latestVersion": "1"},
    "models": {"modelType": "mlflow_model", "modelUri": "azureml://datastores/d/paths/p", "flavors": {}, "latestVersion": "1"},
    "computes": {"computeType": "AmlCompute", "properties": {}},
    "datastores": {
        "datastoreType": "AzureBlob", "accountName": "st", "containerName": "c", "endpoint": "core.windows.net", "protocol": "https",
        "isDefault": True, "credentials": {"credentialsType": "AccountKey"},
    },
}  # fmt: skip
"""What an asset of each kind has."""
TOKEN = "e30.eyJhdWQiOiAiaHR0cHM6Ly9tbC5henVyZS5jb20ifQ.e30"
"""A JSON web token for the audience https://ml.azure.com, not signed."""


class _Credential:
    """What DefaultAzureCredential is elsewhere."""

    def get_token(self, *scopes: str, **options: Any) -> AccessToken:
        return AccessToken(TOKEN, int(time.time()) + 3600)


@dataclass
class Service:
    """The requests that came, and a client that makes them.

    Attributes:
        sent: method, path without the workspace, and body of each request to the resource manager.
        uploaded: names of the blobs that were stored.
    """

    sent: list[tuple[str, str, Any]] = field(default_factory=list)
    uploaded: list[str] = field(default_factory=list)

    def client(self) -> MLClient:
        return MLClient(_Credential(), "s", "rg", "ws")

    def put(self, kind: str) -> list[Any]:
        """The bodies of what was created of a kind, such as `components` or `jobs`."""
        return [body for method, path, body in self.sent if method == "PUT" and path.startswith(f"/{kind}/")]

    def answer(self, request: requests.PreparedRequest) -> tuple[int, Any]:
        """The status and the body of the answer to a request."""
        path = re.sub(r"^https://[^/]+", "", str(request.url)).partition("?")[0]
        if "blob.core" in str(request.url):
            if request.method == "HEAD":
                return 404, {}
            self.uploaded.append(path.rpartition("/")[2])
            return (200 if "comp=metadata" in str(request.url) else 201), {}
        body = json.loads(request.body) if request.body else None
        path = path.removeprefix(WORKSPACE)
        self.sent.append((str(request.method), path, body))
        if request.method == "PUT":
            return 200, body | {"id": WORKSPACE + path, "name": path.rpartition("/")[2], "type": "x"}
        kind = path.split("/")[1] if path else "workspaces"
        if path.endswith("/listSecrets"):
            return 200, {"secretsType": "AccountKey", "key": "eA=="}
        if kind in ("components", "environments", "jobs"):
            return 404, {"error": {"code": "NotFound", "message": "not found"}}
        whole = f"{path}/1" if path.endswith("/versions") else path
        asset = {"id": WORKSPACE + whole, "name": whole.rpartition("/")[2], "type": "x", "location": "westeurope"}
        asset["properties"] = PROPERTIES.get(kind, {})
        return 200, {"value": [asset]} if path.endswith("/versions") else asset


@contextmanager
def imitated() -> Iterator[Service]:
    """In the block no request leaves the process; all of them come to the service."""
    service = Service()

    def send(session: requests.Session, request: requests.PreparedRequest, **options: Any) -> requests.Response:
        if hasattr(request.body, "read"):
            request.body = request.body.read()
        status, content = service.answer(request)
        response = requests.Response()
        response.status_code, response.request, response.url = status, request, str(request.url)
        response.headers["Content-Type"] = "application/json"
        response.raw = io.BytesIO(json.dumps(content).encode())
        return response

    with mock.patch.object(requests.Session, "send", send):
        yield service
