"""The designer's server: what the page asks for, by HTTP on the loopback interface."""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

import anyio.to_thread
import msgspec
import uvicorn
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response, StreamingResponse
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from designer_vision.designer.components import Components
from designer_vision.designer.document import ConflictError
from designer_vision.designer.drawing import component_as_json
from designer_vision.designer.edit_kinds import AnyEdit
from designer_vision.designer.gates import MOST_BYTES, REPORT_POLICY, Gates
from designer_vision.designer.session import Session
from designer_vision.runtime.errors import DesignerError, FileSystemError, PipelineError

PAGE = Path(__file__).parent / "page"
"""What `make page` built."""
MOST_THUMBNAILS_AT_ONCE = 2
WHOLE = re.compile(r"-?\d{1,15}", re.ASCII)
LONG_CACHE = "public, max-age=31536000, immutable"
"""Of files whose names change with their content."""


class Edits(msgspec.Struct, forbid_unknown_fields=True):
    """What `/api/edit` takes."""

    revision: int
    edits: list[AnyEdit]


class Open(msgspec.Struct, forbid_unknown_fields=True):
    """What `/api/open` takes."""

    path: str
    discard: bool = False


class Save(msgspec.Struct, forbid_unknown_fields=True):
    """What `/api/save` takes."""

    overwrite: bool = False


class Positions(msgspec.Struct, forbid_unknown_fields=True):
    """What `/api/positions` takes."""

    positions: dict[str, tuple[float, float]]


class Nothing(msgspec.Struct, forbid_unknown_fields=True):
    """What the others take."""


Body = TypeVar("Body")


def make_app(session: Session, components: Components, token: str, port: int) -> Starlette:
    """The whole server.

    Args:
        session: what is open.
        components: for the palette.
        token: that lets a browser in.
        port: that it listens on.
    """
    return Starlette(
        routes=[
            Route("/", _index),
            *_document_routes(session, components),
            *_run_routes(session),
            *_output_routes(session),
            *([Mount("/", _Built(directory=PAGE))] if PAGE.is_dir() else []),
        ],
        middleware=[Middleware(Gates, token=token, port=port), Middleware(GZipMiddleware, minimum_size=1000)],
        exception_handlers={ConflictError: _refused, DesignerError: _refused, OSError: _broken, 404: _not_found},
        lifespan=_living_with(session),
    )


class Server(uvicorn.Server):
    """Ends the streams of pages before it waits for answers: they would never end by themselves."""

    def __init__(self, config: uvicorn.Config, session: Session) -> None:
        super().__init__(config)
        self._session = session

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Close everything."""
        self._session.hang_up()
        await super().shutdown(sockets)


def _living_with(session: Session) -> Callable[[Starlette], Any]:
    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        watching = asyncio.create_task(session.watch())
        try:
            yield
        finally:
            watching.cancel()
            with suppress(asyncio.CancelledError):
                await watching
            session.close()

    return lifespan


# The page


class _Built(StaticFiles):
    """The page's files; all but index.html have a hash in their names."""

    def file_response(self, *arguments: Any, **more: Any) -> Response:
        response = super().file_response(*arguments, **more)
        response.headers["Cache-Control"] = LONG_CACHE
        return response


async def _index(request: Request) -> Response:
    if not (PAGE / "index.html").is_file():
        return Response("The page is not built; run make page.", 500, media_type="text/plain")
    return FileResponse(PAGE / "index.html")


# What goes wrong


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, DesignerError)
    return JSONResponse({"error": error.message}, 409 if isinstance(error, ConflictError) else 422)


async def _broken(request: Request, error: Exception) -> Response:
    assert isinstance(error, OSError)
    said = f"{error.filename}: {error.strerror}" if error.filename else str(error)
    return JSONResponse({"error": FileSystemError(f"{said}; check that file or disk").message}, 500)


async def _not_found(request: Request, error: Exception) -> Response:
    return JSONResponse({"error": f"there is nothing at {request.url.path}"}, 404)


async def _body(request: Request, kind: type[Body]) -> Body:
    """A request's body.

    Raises:
        PipelineError: it is not what was expected.
    """
    content = bytearray()
    async for part in request.stream():
        content += part
        if len(content) > MOST_BYTES:
            raise PipelineError(f"a request has at most {MOST_BYTES:,} bytes")
    try:
        return msgspec.json.decode(content or b"{}", type=kind)
    except (msgspec.DecodeError, RecursionError) as error:
        raise PipelineError(f"the request is not understood: {error}") from error


# The open pipeline


def _document_routes(session: Session, components: Components) -> list[Route]:
    async def stream(request: Request) -> Response:
        return StreamingResponse(session.stream(), media_type="text/event-stream", headers={"Content-Encoding": "identity"})

    async def palette(request: Request) -> Response:
        return JSONResponse(list(map(component_as_json, components.all())))

    async def pipelines(request: Request) -> Response:
        return JSONResponse({"current": str(session.document.file), "files": session.files()})

    async def open_(request: Request) -> Response:
        body = await _body(request, Open)
        return JSONResponse(session.open(body.path, body.discard))

    async def edit(request: Request) -> Response:
        body = await _body(request, Edits)
        return JSONResponse(session.change(lambda document: document.edit(body.revision, body.edits)))

    async def undo(request: Request) -> Response:
        await _body(request, Nothing)
        return JSONResponse(session.change(lambda document: document.undo()))

    async def redo(request: Request) -> Response:
        await _body(request, Nothing)
        return JSONResponse(session.change(lambda document: document.redo()))

    async def save(request: Request) -> Response:
        body = await _body(request, Save)
        return JSONResponse(session.change(lambda document: document.save(body.overwrite)))

    async def reload(request: Request) -> Response:
        await _body(request, Nothing)
        return JSONResponse(session.change(lambda document: document.reload()))

    async def positions(request: Request) -> Response:
        body = await _body(request, Positions)
        session.document.place(body.positions)
        return JSONResponse({})

    return [
        Route("/api/stream", stream),
        Route("/api/palette", palette),
        Route("/api/pipelines", pipelines),
        *(_post(f"/api/{name}", answer) for name, answer in (("open", open_), ("edit", edit), ("undo", undo), ("redo", redo))),
        *(_post(f"/api/{name}", answer) for name, answer in (("save", save), ("reload", reload), ("positions", positions))),
    ]


def _post(path: str, answer: Callable[[Request], Awaitable[Response]]) -> Route:
    return Route(path, answer, methods=["POST"])


# Its run


def _run_routes(session: Session) -> list[Route]:
    async def run(request: Request) -> Response:
        await _body(request, Nothing)
        await anyio.to_thread.run_sync(session.run.wait_for_end)
        return JSONResponse(session.start())

    async def stop(request: Request) -> Response:
        await _body(request, Nothing)
        return JSONResponse(session.stop())

    async def submit(request: Request) -> Response:
        await _body(request, Nothing)
        return JSONResponse(await session.submit())

    return [_post("/api/run", run), _post("/api/stop", stop), _post("/api/submit", submit)]


# What it wrote


def _output_routes(session: Session) -> list[Route]:
    at_once = anyio.CapacityLimiter(MOST_THUMBNAILS_AT_ONCE)

    async def output(request: Request) -> Response:
        return JSONResponse(await anyio.to_thread.run_sync(session.outputs.describe, *_names(request)))

    async def images(request: Request) -> Response:
        start, count = _whole(request, "start", 0), _whole(request, "count", 100)
        label = request.query_params.get("label", "")
        return JSONResponse(await anyio.to_thread.run_sync(session.outputs.images, *_names(request), label, start, count))

    async def thumbnail(request: Request) -> Response:
        row, side = int(request.path_params["row"]), _whole(request, "side", 128)
        content = await anyio.to_thread.run_sync(session.outputs.thumbnail, *_names(request), row, side, limiter=at_once)
        return Response(content, media_type="image/jpeg", headers={"Cache-Control": "private, max-age=60"})

    async def report(request: Request) -> Response:
        return _shown(session.outputs.report(*_names(request)))

    async def sweep(request: Request) -> Response:
        return _shown(session.outputs.sweep(request.path_params["step"]))

    async def logs(request: Request) -> Response:
        return JSONResponse({"names": await anyio.to_thread.run_sync(session.outputs.logs, request.path_params["step"])})

    async def log(request: Request) -> Response:
        step, name = request.path_params["step"], request.path_params["name"]
        return JSONResponse(await anyio.to_thread.run_sync(session.outputs.log, step, name, _whole(request, "from", 0)))

    return [
        Route("/api/outputs/{step}/{port}", output),
        Route("/api/outputs/{step}/{port}/images", images),
        Route("/api/outputs/{step}/{port}/thumbnails/{row:int}", thumbnail),
        Route("/api/outputs/{step}/{port}/report", report),
        Route("/api/sweeps/{step}", sweep),
        Route("/api/logs/{step}", logs),
        Route("/api/logs/{step}/{name:path}", log),
    ]


def _shown(page: Path) -> Response:
    return FileResponse(page, media_type="text/html", headers={"Content-Security-Policy": REPORT_POLICY})


def _names(request: Request) -> tuple[str, str]:
    return request.path_params["step"], request.path_params["port"]


def _whole(request: Request, name: str, default: int) -> int:
    text = request.query_params.get(name, str(default))
    if not WHOLE.fullmatch(text):
        raise PipelineError(f"{name} is {text[:100]!r}, expected a whole number")
    return int(text)
