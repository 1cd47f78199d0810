"""An imitation of the services that azure-ai-ml's client talks to: Azure Resource Manager, registries and blob storage.

It answers as much as the client asks for when assets, jobs and endpoints are created, followed, called and deleted, from what Microsoft's
REST reference says of these answers, keeps what was created, and records every request. Nothing leaves the process.
"""

from __future__ import annotations

import io
import json
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from unittest import mock
from urllib.parse import parse_qs, urlsplit

import requests
from azure.ai.ml import MLClient
from azure.core.credentials import AccessToken

WORKSPACE = "/subscriptions/s/resourceGroups/rg/providers/Microsoft.MachineLearningServices/workspaces/ws"
REGISTRY = re.compile(
    r"^/mferp/managementfrontend/subscriptions/s/resourceGroups/rg/providers/Microsoft.MachineLearningServices(/registries/[^/]+)"
)
"""Where a registry's own service has it, as its discovery says."""
PROPERTIES = {
    "workspaces": {"discoveryUrl": "https://example/discovery", "workspaceId": "w", "storageAccount": "st"},
    "codes": {"codeUri": "https://st.blob.core.windows.net/c/src", "isAnonymous": True, "properties": {"hash_sha256": "h"}},
    "data": {"dataType": "uri_folder", "dataUri": "azureml://datastores/d/paths/p", "latestVersion": "1", "nextVersion": "2"},
    "models": {"modelType": "mlflow_model", "modelUri": "azureml://datastores/d/paths/p", "flavors": {}, "latestVersion": "1", "nextVersion": "2"},
    "computes": {"computeType": "AmlCompute", "properties": {}},
    "datastores": {
        "datastoreType": "AzureBlob", "accountName": "st", "containerName": "c", "endpoint": "core.windows.net", "protocol": "https",
        "isDefault": True, "credentials": {"credentialsType": "AccountKey"},
    },
}  # fmt: skip
"""What an asset of each kind has."""
SECRETS = {
    "datastores": {"secretsType": "AccountKey", "key": "eA=="},
    "onlineEndpoints": {"primaryKey": "k", "secondaryKey": "k", "accessToken": "t", "expiryTimeUtc": 2000000000, "refreshAfterTimeUtc": 1, "tokenType": "Bearer"},
}  # fmt: skip
"""What is asked for by POST: keys and tokens."""
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
        kept: what was created, by path.
        outputs: files by name of every finished job's outputs, by name.
        score: what every online endpoint answers to a request's body.
    """

    sent: list[tuple[str, str, Any]] = field(default_factory=list)
    uploaded: list[str] = field(default_factory=list)
    kept: dict[str, Any] = field(default_factory=dict)
    outputs: dict[str, dict[str, bytes]] = field(default_factory=dict)
    score: Callable[[bytes], tuple[int, Any]] = lambda body: (200, [])

    def client(self) -> MLClient:
        return MLClient(_Credential(), "s", "rg", "ws")

    def registry(self, name: str) -> MLClient:
        """A client of a registry; what it creates lies below `/registries/NAME`."""
        return MLClient(_Credential(), registry_name=name)

    def put(self, kind: str) -> list[Any]:
        """The bodies of what was created of a kind, such as `components` or `jobs`."""
        return [body for method, path, body in self.sent if method == "PUT" and path.startswith(f"/{kind}/")]

    def answer(self, request: requests.PreparedRequest) -> tuple[int, Any]:
        """The status and the body of the answer to a request."""
        path = re.sub(r"^https://[^/]+", "", str(request.url)).partition("?")[0]
        if "blob.core" in str(request.url):
            return self.stored(request, path.rpartition("/")[2])
        if path.endswith("/score"):
            return self.score(request.body)
        body = json.loads(request.body) if request.body else None
        path = REGISTRY.sub(r"\1", path.removeprefix(WORKSPACE))
        self.sent.append((str(request.method), path, body))
        kind = path.split("/")[1] if path else "workspaces"
        if kind in ("registries", "registrymanagement"):
            return self.registered(str(request.method), path, body)
        match request.method:
            case "PUT":
                self.kept[path] = self.made(path, body)
                return 200, self.kept[path]
            case "DELETE":
                self.kept = {kept: what for kept, what in self.kept.items() if not f"{kept}/".startswith(f"{path}/")}
                return 200, {}
            case "POST" if kind in SECRETS:
                return 200, SECRETS[kind]
            case "POST" if path.endswith("/cancel"):
                return 200, {}
        if path == "/discovery":
            return 200, {"api": "https://westeurope.api.azureml.ms"}
        if match := re.search(r"/runs/([^/]+)/details$", path):
            return 200, {"runId": match[1], "status": "Completed", "logFiles": {}, "properties": {}}
        if path.endswith("/rundata"):
            outputs = {name: {"assetId": name, "type": "uri_folder"} for name in self.outputs}
            return 200, {"runMetadata": {"runId": body["runId"], "outputs": outputs}}
        if path.endswith("/batchGetResolvedUris"):
            place = f"azureml:/{WORKSPACE.replace('/providers/Microsoft.MachineLearningServices', '')}/datastores/workspaceblobstore/paths"
            return 200, {"values": {name: {"uri": f"{place}/{name}"} for name in self.outputs}}
        if path in self.kept:
            return 200, self.kept[path]
        if kind in ("components", "environments", "jobs"):
            return 404, {"error": {"code": "NotFound", "message": "not found"}}
        listed = path.endswith(("/versions", "/datastores"))
        whole = f"{path}/1" if listed else path
        asset = {"id": WORKSPACE + whole, "name": whole.rpartition("/")[2], "type": "x", "location": "westeurope"}
        asset["properties"] = PROPERTIES.get(kind, {})
        return 200, {"value": [asset]} if listed else asset

    def registered(self, method: str, path: str, body: Any) -> tuple[int, Any]:
        """What a registry answers: where it is, where to upload, and what was created in it."""
        if match := re.fullmatch(r"/registrymanagement/v1.0/registries/([^/]+)/discovery", path):
            place = {
                "primaryRegion": "westeurope",
                "primaryRegionResourceProviderUri": "https://cert-westeurope.experiments.azureml.net/",
            }
            return 200, {"registryName": match[1], "subscriptionId": "s", "resourceGroup": "rg", "registryFqdns": {}} | place
        if "/tempdatarefs/" in path:
            place = "https://st.blob.core.windows.net/" + re.sub(r"\W+", "-", path.rpartition("tempdatarefs/")[2])
            credential = {"credentialType": "SAS", "sasUri": f"{place}?sv=2024&sig=s"}
            return 200, {"blobReferenceForConsumption": {"blobUri": place, "credential": credential}}
        if method == "PUT":
            asset_id = "azureml:/" + path
            self.kept[path] = self.made(path.partition("/registries/")[2].partition("/")[2], body) | {"id": asset_id}
            return 200, self.kept[path]
        return (200, self.kept[path]) if path in self.kept else (404, {"error": {"code": "NotFound", "message": "not found"}})

    def stored(self, request: requests.PreparedRequest, name: str) -> tuple[int, Any]:
        """What blob storage answers: it takes every blob, and has the files of the outputs."""
        if "comp=list" in str(request.url):
            (prefix,) = parse_qs(urlsplit(str(request.url)).query)["prefix"]
            blobs = "".join(
                f"<Blob><Name>{prefix}/{file}</Name><Properties><BlobType>BlockBlob</BlobType></Properties></Blob>"
                for file in self.outputs[prefix]
            )
            return 200, f"<EnumerationResults><Blobs>{blobs}</Blobs><NextMarker/></EnumerationResults>".encode()
        if request.method == "GET":
            return 200, next(files[name] for files in self.outputs.values() if name in files)
        if request.method == "HEAD":
            return 404, {}
        self.uploaded.append(name)
        return (200 if "comp=metadata" in str(request.url) else 201), {}

    def made(self, path: str, body: Any) -> Any:
        """What was created, as it is when everything went well."""
        kind, _, last = path[1:].rpartition("/")
        properties = dict(body.get("properties") or {}) | {"provisioningState": "Succeeded"}
        if kind.startswith("models"):
            properties |= {"flavors": {}}
        elif "deployments" in kind:
            properties |= {"scaleSettings": {"scaleType": "Default"}}
        elif kind == "onlineEndpoints":
            properties |= {"scoringUri": f"https://{last}.westeurope.inference.ml.azure.com/score"}
        elif kind == "jobs":
            properties |= {"status": "Completed", "services": {"Studio": {"endpoint": f"https://ml.azure.com/runs/{last}"}}}
        return body | {"id": WORKSPACE + path, "name": last, "type": "x", "properties": properties}


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
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        response.headers["Content-Type"] = "application/xml" if data.startswith(b"<Enum") else "application/json"
        response.headers["Content-Length"] = str(len(data))
        if request.method == "GET" and isinstance(content, bytes):
            response.headers["Content-Range"] = f"bytes 0-{len(data) - 1}/{len(data)}"
        response.raw = io.BytesIO(data)
        return response

    with mock.patch.object(requests.Session, "send", send):
        yield service
