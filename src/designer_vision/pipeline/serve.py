"""`designer-vision serve`: a trained model behind a web server of this machine, with the requests of an endpoint on Azure ML."""

from __future__ import annotations

import errno
import signal
import socket
import sys
from collections.abc import Sequence
from contextlib import redirect_stdout
from pathlib import Path
from types import FrameType
from typing import Any

import click

from designer_vision.pipeline.predict import refuse_others
from designer_vision.pipeline.show import end
from designer_vision.runtime.console import printable
from designer_vision.runtime.errors import DesignerError, FileSystemError, ProcessSetupError
from designer_vision.runtime.without_compiler import leave_compiler_out

LOOPBACK = "127.0.0.1"
SECONDS_TO_END = 5
"""For requests that are being answered when it is stopped."""


@click.command()
@click.argument("model", type=click.Path(path_type=Path))
@click.option("--port", type=click.IntRange(0, 65535), default=5001, show_default=True, help="0 picks any free port.")
def serve(model: Path, port: int) -> None:
    """Answer requests for predictions until Ctrl-C, on this machine only.

    MODEL is the folder that Train PyTorch Model wrote.
    """
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        refuse_others(model)
        with _listening(port) as listener:
            _serve(model, listener)
    except KeyboardInterrupt:
        click.echo("stopped", err=True)
    except OSError as error:
        end(FileSystemError(f"{error}; check that file or disk and run the same command again"))
    except DesignerError as error:
        end(error)


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _listening(port: int) -> socket.socket:
    """The port, taken before the seconds that loading a model takes.

    Raises:
        ProcessSetupError: another program has it, or this user may not.
    """
    try:
        return socket.create_server((LOOPBACK, port))
    except OSError as error:
        reason = "is in use by another program" if error.errno == errno.EADDRINUSE else f"cannot be used: {error.strerror}"
        raise ProcessSetupError(f"port {port} {reason}; give another --port, or 0 for any that is free") from error


def _serve(folder: Path, listener: socket.socket) -> None:
    leave_compiler_out()
    from designer_vision.inference.scoring import read_trained_model

    with redirect_stdout(sys.stderr):
        model = read_trained_model(folder)
    click.echo(f"loading {printable(str(folder))}", err=True)
    import uvicorn

    from designer_vision.inference.serving import application

    class Server(uvicorn.Server):
        async def startup(self, sockets: Any = None) -> None:
            await super().startup(sockets=sockets)
            for line in _ready(listener.getsockname()[1]):
                print(line, flush=True)

    config = uvicorn.Config(application(model), log_level="warning", timeout_graceful_shutdown=SECONDS_TO_END)
    Server(config).run(sockets=[listener])


def _ready(port: int) -> Sequence[str]:
    """What to do with the server, once it answers; the line is for any shell, and for photos of any length."""
    address = f"http://{LOOPBACK}:{port}/invocations"
    photo = "(echo image; base64 < photo.jpg | tr -d '\\n')"
    return (
        f"answering at {address} until Ctrl-C; to try it, replace photo.jpg with a photo of yours:",
        f"{photo} | curl -sS -H 'Content-Type: text/csv' --data-binary @- {address}",
    )
