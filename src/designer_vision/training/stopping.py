"""SIGTERM and SIGINT: noted, so that the ranks can agree on a step, save and end; and obeyed at once the second time."""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress

from designer_vision.runtime.console import last_words
from designer_vision.runtime.errors import JobStoppedError

SIGNALS = (signal.SIGTERM, signal.SIGINT)
GRACE_SECONDS, GRACE_ON_AZURE_SECONDS = 9.0, 25.0
"""Who sends signals seldom waits longer than 10; a spot machine of Azure's is gone after 30."""
ONE_REQUEST_SECONDS = 1.0
"""Ctrl-C reaches a process twice, from the terminal and from its launcher."""


class StopRequest:
    """Whether this process was asked to stop.

    Attributes:
        signal: that asked for it; None before.
        grace: seconds that the ranks have to agree and save.
        before_end: what is done before the process is ended without that.
    """

    def __init__(self, environment: Mapping[str, str] = os.environ) -> None:
        self.signal: int | None = None
        self.grace = GRACE_ON_AZURE_SECONDS if "AZUREML_RUN_ID" in environment else GRACE_SECONDS
        self.before_end: Callable[[], object] = lambda: None
        self._stops = False

    def is_made(self) -> bool:
        return self.signal is not None

    @contextmanager
    def listened_for(self) -> Iterator[None]:
        """Take note of signals during the block.

        A thread reads them, so that they are heard also while the main one waits for other ranks, and ends the process
        when it has not ended by itself after its grace.
        """
        reader, writer = socket.socketpair()
        writer.setblocking(False)
        former = {number: signal.signal(number, lambda number, frame: None) for number in SIGNALS}
        wakeup = signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
        threading.Thread(target=self._listen, args=(reader,), daemon=True).start()
        try:
            yield
        except JobStoppedError:  # also where another rank was asked
            self._stops = True
            raise
        finally:
            if self._stops or self.signal is not None:
                self._writer = writer  # the process is about to end; it is heard until then
            else:
                for number, handler in former.items():
                    signal.signal(number, handler)
                signal.set_wakeup_fd(wakeup)
                writer.close()

    def _listen(self, reader: socket.socket) -> None:
        self.signal = _next_signal(reader)
        if self.signal is None:
            return
        first = time.monotonic()
        while (left := first + self.grace - time.monotonic()) > 0:
            reader.settimeout(left)
            with suppress(TimeoutError):
                _next_signal(reader)
            if time.monotonic() - first > ONE_REQUEST_SECONDS:
                break
        self.before_end()
        last_words("ended at once: the ranks had not agreed on where to stop")
        os._exit(128 + self.signal)


def _next_signal(reader: socket.socket) -> int | None:
    """The next of SIGNALS; None when nobody listens any more. The kernel tells of others too, such as a child's end."""
    while heard := reader.recv(1):
        if heard[0] in SIGNALS:
            return heard[0]
    return None
