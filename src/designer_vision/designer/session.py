"""What all pages of one server share: the open pipeline, its run, and what azure-ai-ml says of it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any

from designer_vision.designer.azure_checks import AzureChecks
from designer_vision.designer.components import Components
from designer_vision.designer.document import ConflictError, Document
from designer_vision.designer.local_run import LocalRun
from designer_vision.designer.opened_once import OpenedOnce
from designer_vision.designer.outputs import Outputs
from designer_vision.designer.problems import AZURE, Problem
from designer_vision.pipeline.yaml_files import read_yaml
from designer_vision.runtime.errors import DesignerError, PipelineError

POLL_SECONDS, LOOK_SECONDS, SILENCE_SECONDS = 0.15, 2.0, 15.0
"""Between looks at a run's events and at what lies on the disk; and how long a stream stays silent."""
FIGURES_SECONDS = 2.0
"""Between what is told of a step that goes on running: a page that is drawn takes from the training beside it."""
DRAWING_SECONDS = 1.0
"""That a page has for its first graph, before azure-ai-ml is loaded and takes a core."""
MOST_FILES = 200
GRAPH, RUN = "graph", "run"


class Session:
    """The pipeline that is open, and everybody who looks at it."""

    def __init__(self, file: Path, components: Components, output_dir: Path | None, address: str) -> None:
        self._components, self._output_dir, self._address = components, output_dir, address
        self._azure = AzureChecks()
        self._azure_says: tuple[int, Sequence[Problem]] = (-1, ())
        self._streams: set[_Stream] = set()
        self._checks: asyncio.Task[None] | None = None
        self._opened: OpenedOnce | None = None
        self._take(file)

    def _take(self, file: Path) -> None:
        opened = OpenedOnce(file, self._address)
        try:
            document = Document(file, self._components)
        except DesignerError:
            opened.close()
            raise
        if self._opened:
            self._opened.close()
            document.revision = self.document.revision + 1  # an edit on its way to the pipeline before is not made to this one
        self._opened = opened
        self.document: Document = document
        self.run = LocalRun(file, self._output_dir or Path("runs") / "designer" / file.stem)
        self.outputs = Outputs(self.run.outputs)

    # What pages are told

    def graph(self) -> dict[str, Any]:
        """The open pipeline."""
        revision, problems = self._azure_says
        is_known = revision == self.document.revision
        return self.document.graph(problems if is_known else (), not is_known)

    async def stream(self) -> AsyncIterator[str]:
        """Server-sent events: the graph and the run at once, and whenever they change."""
        stream = _Stream({GRAPH: _json(self.graph()), RUN: _json(self.run.state)})
        self._streams.add(stream)
        asyncio.get_running_loop().call_later(DRAWING_SECONDS, self.check_by_azure)
        try:
            while not stream.is_over:
                for text in await stream.next():
                    yield text
        finally:
            self._streams.discard(stream)

    def tell(self, kind: str, graph: dict[str, Any] | None = None) -> None:
        """Tell all pages of a change; of the graph as it is now, where that has not been made yet."""
        if self._streams:
            text = _json((graph or self.graph()) if kind == GRAPH else self.run.state)
            for stream in self._streams:
                stream.put(kind, text)

    def hang_up(self) -> None:
        """End the streams of all pages."""
        for stream in self._streams:
            stream.end()

    # What pages do

    def change(self, make: Callable[[Document], None]) -> dict[str, Any]:
        """Change the document, and tell all pages.

        Raises:
            DesignerError: it cannot be changed so.
        """
        before = self.document.revision
        make(self.document)
        if self.document.revision != before:
            self.check_by_azure()
        graph = self.graph()
        self.tell(GRAPH, graph)
        return graph

    def open(self, path: str, discard: bool) -> dict[str, Any]:
        """Open another of the files that can be opened.

        Raises:
            ConflictError: what is open has changes that are not saved.
            PipelineError: that file cannot be opened.
        """
        if not discard and self.document.has_changes:
            raise ConflictError(f"{self.document.file} has changes that are not saved")
        if path not in self.files():
            raise PipelineError(f"{path} is none of the pipelines in this folder")
        self._take(Path(path))
        self._azure_says = (-1, ())
        self.check_by_azure()
        self.tell(GRAPH)
        self.tell(RUN)
        return self.graph()

    def files(self) -> list[str]:
        """The pipelines in the open one's folder."""
        found = []
        for file in sorted(self.document.file.parent.glob("*.y*ml"))[:MOST_FILES]:
            try:
                content = read_yaml(file)
            except DesignerError:
                continue
            if isinstance(content, dict) and content.get("type") == "pipeline":
                found.append(str(file))
        return found

    def start(self) -> dict[str, Any]:
        """Save, and run.

        Raises:
            DesignerError: it cannot run as it is, or runs already.
        """
        drawing = self.document.drawing
        if not drawing.steps:
            raise PipelineError("there is no step yet")
        self.document.refuse_changed()
        if not self.document.is_saved:
            self.document.save()
            self.tell(GRAPH)
        self.run.start()
        self.tell(RUN)
        return self.run.state

    def stop(self) -> dict[str, Any]:
        """Ask the run to end."""
        self.run.stop()
        return self.run.state

    async def submit(self) -> dict[str, str]:
        """Send the pipeline to Azure ML, or say how a person would."""
        file = self.document.file
        try:
            return {"url": await self._azure.submit(self.document.text, file)}
        except RuntimeError as error:
            return {"line": f"az ml job create -f {file}", "why": str(error)}

    # What goes on by itself

    def check_by_azure(self) -> None:
        """Ask azure-ai-ml about the text as it is; an answer to an older one is passed over."""
        if self._checks is None or self._checks.done():
            self._checks = asyncio.create_task(self._check())

    async def _check(self) -> None:
        while self._azure_says[0] != self.document.revision:
            document, revision = self.document, self.document.revision
            try:
                found = await self._azure.problems(document.text, document.file)
            except RuntimeError as error:  # its process was ended
                found = [Problem("", "", f"azure-ai-ml's checks do not answer: {error}", AZURE)]
            if document is self.document:
                self._azure_says = (revision, found)
                self.tell(GRAPH)

    async def watch(self) -> None:
        """Follow the run, and what others write to the disk, until the server ends."""
        changed, loop = self.document.has_changed_on_disk(), asyncio.get_running_loop()
        looked = told = loop.time()
        is_news = False
        while True:
            await asyncio.sleep(POLL_SECONDS)
            phases = self.run.phases
            is_news |= self.run.poll()
            if is_news and (self.run.phases != phases or loop.time() - told >= FIGURES_SECONDS):
                self.tell(RUN)
                told, is_news = loop.time(), False
            if loop.time() - looked >= LOOK_SECONDS:
                looked = loop.time()
                before, changed = changed, self.document.has_changed_on_disk()
                if self.document.look_again() or changed != before:
                    self.tell(GRAPH)

    def close(self) -> None:
        """End what is no run."""
        self._azure.close()
        if self._opened:
            self._opened.close()


class _Stream:
    """What one page has still to be told: of each kind the latest."""

    def __init__(self, pending: dict[str, str]) -> None:
        self._pending, self._is_new, self.is_over = pending, asyncio.Event(), False
        self._is_new.set()

    def put(self, kind: str, text: str) -> None:
        self._pending[kind] = text
        self._is_new.set()

    def end(self) -> None:
        """There will be nothing more."""
        self.is_over = True
        self._is_new.set()

    async def next(self) -> list[str]:
        """Events as they travel; a comment where there were none for a while, which finds out who is gone."""
        try:
            await asyncio.wait_for(self._is_new.wait(), SILENCE_SECONDS)
        except TimeoutError:
            return [": still here\n\n"]
        self._is_new.clear()
        told = [f"event: {kind}\ndata: {text}\n\n" for kind, text in self._pending.items()]
        self._pending.clear()
        return told


def _json(value: Any) -> str:
    return json.dumps(value)
