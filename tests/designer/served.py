"""A designer as tests have it: the real command in a process of its own, and what a browser would send to it."""

from __future__ import annotations

import http.client
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from conftest import ROOT, hear_ctrl_c

COMMAND = Path(sys.executable).parent / "designer-vision"


@dataclass
class Served:
    """A designer that runs.

    Attributes:
        process: of the command.
        address: that it printed.
        folder: the working directory.
    """

    process: subprocess.Popen[str]
    address: str
    folder: Path

    @property
    def port(self) -> int:
        return int(re.findall(r":(\d+)/", self.address)[0])

    @property
    def token(self) -> str:
        return self.address.partition("token=")[2]

    @property
    def headers(self) -> dict[str, str]:
        """What the page's own requests have."""
        return {
            "Host": f"127.0.0.1:{self.port}",
            "Origin": f"http://127.0.0.1:{self.port}",
            "Content-Type": "application/json",
            "Cookie": f"designer_vision_{self.port}={self.token}",
        }

    def ask(
        self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None
    ) -> tuple[int, dict[str, str], bytes]:
        """Status, headers and content of an answer."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        content = body if isinstance(body, bytes) else json.dumps(body if body is not None else {}).encode()
        connection.request(method, path, content if method == "POST" else None, self.headers if headers is None else headers)
        answer = connection.getresponse()
        found = answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()
        connection.close()
        return found

    def get(self, path: str) -> Any:
        status, _, content = self.ask("GET", f"/api/{path}")
        assert status == 200, content
        return json.loads(content)

    def post(self, name: str, /, **body: Any) -> Any:
        status, _, content = self.ask("POST", f"/api/{name}", body)
        assert status == 200, content
        return json.loads(content)

    def told(self, kind: str, enough: Callable[[Any], bool], seconds: float = 120) -> Any:
        """The first graph, or run, of the stream that is enough."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=seconds)
        connection.request("GET", "/api/stream", headers=self.headers)
        answer, deadline, event = connection.getresponse(), time.monotonic() + seconds, ""
        try:
            while time.monotonic() < deadline:
                line = answer.readline().decode()
                if line.startswith("event: "):
                    event = line.removeprefix("event: ").strip()
                elif line.startswith("data: ") and event == kind and enough(found := json.loads(line.removeprefix("data: "))):
                    return found
        finally:
            connection.close()
        raise AssertionError(f"no such {kind} in {seconds} s")


@contextmanager
def designer(folder: Path, pipeline: str, *words: object, stderr: int | None = None, **variables: str) -> Iterator[Served]:
    """The command, ended with the block."""
    own = {"XDG_RUNTIME_DIR": str(folder), "PYTHONPATH": str(ROOT / "src"), **variables}
    process = subprocess.Popen(
        [COMMAND, "designer", pipeline, "--no_browser", *map(str, words)],
        cwd=folder,
        env={name: value for name, value in os.environ.items() if name != "MLFLOW_TRACKING_URI"} | own,
        stdout=subprocess.PIPE,
        stderr=stderr,
        text=True,
        preexec_fn=hear_ctrl_c,
    )
    assert process.stdout
    try:
        line = process.stdout.readline()
        assert "http://" in line, line
        served = Served(process, line.strip().rpartition(" ")[2], folder)
        wait_until(lambda: served.ask("GET", "/api/pipelines")[0] == 200)
        yield served
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(20)
        finally:
            process.kill()


def wait_until(is_so: Callable[[], bool], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            if is_so():
                return
        except OSError:  # it does not listen yet
            pass
        time.sleep(0.1)
    raise AssertionError(f"not so after {seconds} s")


def project(folder: Path) -> Path:
    """A folder with the product's pipelines and components, as a checkout has them."""
    shutil.copytree(ROOT / "component", folder / "component")
    for name in ("src", "environment"):
        (folder / name).symlink_to(ROOT / name)
    (folder / "pipelines").mkdir()
    for file in (ROOT / "pipelines").glob("*.yaml"):
        shutil.copy(file, folder / "pipelines")
    return folder
