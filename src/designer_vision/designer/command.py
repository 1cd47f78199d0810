"""`designer-vision designer`: opens a canvas in the browser of this machine."""

from __future__ import annotations

import os
import secrets
import signal
import socket
import sys
import webbrowser
from contextlib import suppress
from pathlib import Path

import click

from designer_vision.pipeline.show import end
from designer_vision.runtime.console import printable
from designer_vision.runtime.errors import DesignerError, FileSystemError, PipelineError

DEFAULT = Path("pipeline.yaml")
HOST = "127.0.0.1"
HERE = Path("component")
"""A project's own components, where the command is started in its folder."""


@click.command()
@click.argument("pipeline", type=click.Path(path_type=Path), default=DEFAULT)
@click.option("--components", "folders", type=click.Path(path_type=Path), multiple=True, help="Another folder of components.")
@click.option("--output_dir", type=click.Path(path_type=Path), help="Where runs write; runs/designer/NAME by default.")
@click.option("--port", type=click.IntRange(0, 65535), default=0, help="A port of this machine; a free one by default.")
@click.option("--no_browser", is_flag=True, help="Only print the address.")
def designer(pipeline: Path, folders: tuple[Path, ...], output_dir: Path | None, port: int, no_browser: bool) -> None:
    """Open a canvas to draw, change, run and watch PIPELINE, a YAML that may be new.

    Only browsers of this machine come in, by the address that is printed. A run goes on when this command ends, and is
    found again.
    """
    try:
        _serve(pipeline, folders, output_dir, port, no_browser)
    except OSError as error:
        end(FileSystemError(f"{error}; check that file or disk and run the same command again"))
    except DesignerError as error:
        end(error)


def _serve(pipeline: Path, folders: tuple[Path, ...], output_dir: Path | None, port: int, no_browser: bool) -> None:
    try:
        import uvicorn

        from designer_vision.designer.components import OURS, Components
        from designer_vision.designer.server import Server, make_app
        from designer_vision.designer.session import Session
    except ImportError as error:
        raise PipelineError(
            f'the designer needs {error.name}; install it with pip install "designer_vision[designer]"'
        ) from error
    if pipeline.is_dir():
        raise PipelineError(f"{pipeline} is a folder; give a pipeline's YAML in it, which may be new")
    for folder in folders:
        if not folder.is_dir():
            raise PipelineError(f"{folder} is not a folder of components")
    listener = _listen(port)
    port, token = listener.getsockname()[1], secrets.token_urlsafe(24)
    address = f"http://{HOST}:{port}/?token={token}"
    components = Components([*folders, *([HERE] if HERE.is_dir() else []), OURS])
    session = Session(pipeline, components, output_dir, address)
    click.echo(printable(f"{pipeline}: {address}"))
    click.echo("Ctrl-C ends this command; a run that was started goes on.")
    sys.stdout.flush()
    config = uvicorn.Config(
        make_app(session, components, token, port), log_level="warning", access_log=False, timeout_graceful_shutdown=1
    )
    if not no_browser and _has_screen():
        webbrowser.open(address)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # which uvicorn raises again when all is closed
    with suppress(KeyboardInterrupt):  # the same of Ctrl-C
        Server(config, session).run(sockets=[listener])


def _listen(port: int) -> socket.socket:
    """A socket of the loopback interface.

    Raises:
        PipelineError: somebody else listens on that port.
    """
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((HOST, port))
        listener.listen(100)
    except OSError as error:
        listener.close()
        raise PipelineError(f"port {port} cannot be used ({error.strerror}); give another --port, or none") from error
    return listener


def _has_screen() -> bool:
    """Whether there is a desktop to open a browser on; a text browser in this terminal is none."""
    return sys.platform == "darwin" or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
