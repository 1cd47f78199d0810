"""Who of a job's processes is still there, whatever their main threads wait in.

Each rank has a thread that talks with rank 0's over a connection of its own. A process that ends, ends its connection with it:
that tells a death from a pause, which the store that the ranks meet at cannot. When a rank is lost, every other one is told which
and why, and its process ends: by itself where its own work breaks off (as gloo's does), else by the thread.

    a rank says     {"rank": 2, "key": "..."} once, {"at": 812, "doing": "..."} every second, {"failed": "..."} or {"left": true}
    rank 0 says     {} every second, {"lost": "rank 1 ...", "was_told": true} or {"left": true}

A line of JSON each.
"""

from __future__ import annotations

import json
import os
import secrets
import selectors
import socket
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Never

from designer_vision.runtime.console import last_words
from designer_vision.runtime.errors import LostRankError

SECONDS_A_BEAT = 1.0
MOST_COUNTED = 2 * SECONDS_A_BEAT
"""Of the seconds between two looks: where more went by, it was this process, or its machine, that stood still."""
TO_HEAR, TO_END = 3.0, 6.0
"""Seconds that the main thread has to hear of a loss in its own work, and then to end."""
TO_UNWIND = 15.0
"""Seconds that a rank which fails has to end by itself: what it leaves open may be a disk that hangs."""
TO_PART = 1.0
"""Seconds that a word which this process ends with has to be heard."""
LONGEST_LINE = 2**16
MORE = "its log and its machine's may say more"


@dataclass(frozen=True)
class Address:
    """The port where rank 0 is talked to, and what shows that somebody belongs to the job."""

    port: int
    key: str


@dataclass
class _Peer:
    """Another rank, at the other end of a connection.

    Attributes:
        rank: None until it has said which.
        socket: None before it came, and when it is gone.
        has_come: ever.
        silent: seconds since something was heard of it.
        at, doing: how many notes its main thread had made then, and the last.
        has_left: its end is no loss.
    """

    rank: int | None
    socket: socket.socket | None = None
    has_come: bool = False
    silent: float = 0.0
    at: int = 0
    doing: str = ""
    has_left: bool = False
    coming: bytes = b""
    leaving: bytes = b""

    def send(self, message: dict[str, Any]) -> None:
        """Say something; what one that stands still cannot take is kept for later, up to a limit."""
        if self.socket is None or len(self.leaving) > LONGEST_LINE:
            return
        self.leaving += json.dumps(message).encode() + b"\n"
        with suppress(OSError):  # of one that is gone `receive` tells
            self.leaving = self.leaving[self.socket.send(self.leaving) :]

    def receive(self) -> tuple[list[dict[str, Any]], bool]:
        """What was said, and whether that was the last: the connection has ended, or does not hold lines of JSON."""
        assert self.socket is not None
        try:
            content = self.socket.recv(LONGEST_LINE)
        except BlockingIOError:
            return [], False
        except OSError:
            content = b""
        *lines, self.coming = (self.coming + content).split(b"\n")
        self.silent = 0.0
        try:
            return [dict(json.loads(line)) for line in lines], not content or len(self.coming) > LONGEST_LINE
        except (ValueError, TypeError, RecursionError):
            return [], True


class Watcher:
    """Watches the other ranks in a thread, from `start` until `leave`, `fail`, or the loss of one.

    Args:
        rank, world_size: of this process, and of how many.
        silence: for how long a rank may not be heard of.
        stall: for how long the ranks' main threads may make no note.
        breaks_off: whether the main thread's own work breaks off when a rank is lost: gloo's does; NCCL's waits, or takes the
            process down without a sentence.

    Attributes:
        before_end: what the thread does before it ends the process.
    """

    def __init__(self, rank: int, world_size: int, silence: timedelta, stall: timedelta, breaks_off: bool = True) -> None:
        self.before_end: Callable[[LostRankError], None] = lambda lost: None
        self._rank = rank
        self._silence, self._stall = silence.total_seconds(), stall.total_seconds()
        self._to_hear = TO_HEAR if breaks_off else 0.0
        self._peers = {other: _Peer(other) for other in (range(1, world_size) if rank == 0 else [0])}
        self._selector = selectors.DefaultSelector()
        self._bell, self._button = socket.socketpair()
        self._listener: socket.socket | None = None
        self._key = ""
        self._notes = (0, "starting")  # replaced as a whole by the main thread, as are the next two
        self._failed = ""
        self._leaves = False
        self._lost: LostRankError | None = None
        self._complete, self._parted = threading.Event(), threading.Event()
        self._known, self._heard = threading.Event(), threading.Event()

    # the main thread's

    def listen(self, host: str) -> Address:
        """Rank 0: take connections at an address of this machine, or at all of them (an empty one)."""
        everywhere = not host and socket.has_dualstack_ipv6()
        family = socket.AF_INET6 if everywhere or ":" in host else socket.AF_INET
        self._listener = socket.create_server((host, 0), family=family, backlog=1024, dualstack_ipv6=everywhere)
        self._key = secrets.token_hex(8)
        return Address(self._listener.getsockname()[1], self._key)

    def start(self, host: str, place: Address, timeout: timedelta) -> None:
        """Begin to watch.

        Args:
            host, place: where rank 0 listens.
            timeout: for the connection.

        Raises:
            OSError: rank 0 cannot be reached.
        """
        if self._listener is None:
            self._add(self._peers[0], socket.create_connection((host, place.port), timeout.total_seconds()))
            self._peers[0].send({"rank": self._rank, "key": place.key})
        else:
            self._listener.setblocking(False)
            self._selector.register(self._listener, selectors.EVENT_READ)
        self._selector.register(self._bell, selectors.EVENT_READ)
        os.register_at_fork(after_in_child=self._close)  # a data worker that lives on would keep the connections open
        threading.Thread(target=self._run, name="watcher", daemon=True).start()

    def wait_for_all(self, timeout: timedelta) -> None:
        """Until rank 0 can tell all others whatever happens.

        Raises:
            TimeoutError: some have not come.
        """
        if self._rank == 0 and not self._complete.wait(timeout.total_seconds()):
            missing = [str(peer.rank) for peer in self._peers.values() if not peer.has_come]
            raise TimeoutError(f"rank {', '.join(missing)} came, but cannot reach rank 0's watcher")

    def note(self, doing: str) -> None:
        """The main thread goes on. All ranks make the same notes in the same order."""
        self._notes = (self._notes[0] + 1, doing)

    def fail(self, message: str) -> None:
        """This rank ends with an error: all others are told, and end."""
        self._failed = message
        self._part()

    def leave(self) -> None:
        """This rank has done its part, as all others do: its end is no loss."""
        self._leaves = True
        self._part()

    def _part(self) -> None:
        with suppress(OSError):
            self._button.send(b"!")
        self._parted.wait(2 * TO_PART)

    @property
    def lost(self) -> LostRankError | None:
        """The rank that was lost, once that is known."""
        return self._lost

    @property
    def is_over(self) -> bool:
        """Whether this rank has parted from the others."""
        return self._leaves or bool(self._failed)

    def reason(self) -> LostRankError | None:
        """Which rank was lost, where the work of the main thread broke off; None if all are there."""
        self._heard.set()
        self._known.wait(TO_HEAR)
        return self._lost

    # the thread's

    def _run(self) -> None:
        try:
            self._watch()
            self._say_the_last()
        except Exception as error:  # noqa: BLE001 (a defect: nobody would watch this rank, and it would be silent for the others)
            self._lose(f"the watcher of rank {self._rank} failed: {type(error).__name__}: {error}")
        self._close()
        self._parted.set()
        if self._failed:
            time.sleep(TO_UNWIND)
            self._end_with(f"ended after {TO_UNWIND:.0f} s: {self._failed}")
        elif self._lost and not self._leaves:
            self._end(self._lost)

    def _watch(self) -> None:
        before, next_beat, stalled, notes = time.monotonic(), 0.0, 0.0, self._notes
        while not (self._lost or self.is_over):
            self._hear(max(0.0, next_beat - time.monotonic()))
            now = time.monotonic()
            passed, before = min(now - before, MOST_COUNTED), now
            stalled, notes = stalled + passed if notes == self._notes else 0.0, self._notes
            for peer in self._peers.values():
                peer.silent += passed
            if now >= next_beat:
                next_beat = now + SECONDS_A_BEAT
                self._say({"at": notes[0], "doing": notes[1]} if self._rank else {})
            self._judge(stalled)

    def _add(self, peer: _Peer, connection: socket.socket) -> None:
        connection.setblocking(False)
        peer.socket = connection
        self._selector.register(connection, selectors.EVENT_READ, peer)

    def _say(self, message: dict[str, Any]) -> None:
        for peer in self._peers.values():
            peer.send(message)

    def _hear(self, seconds: float) -> None:
        """All that came by now, or else within some seconds."""
        for key, _ in self._selector.select(seconds):
            if key.data is not None:
                self._hear_from(key.data)
            elif key.fileobj is self._bell:
                self._bell.recv(64)
            elif self._listener is not None:
                with suppress(OSError):
                    self._add(_Peer(None), self._listener.accept()[0])

    def _hear_from(self, peer: _Peer) -> None:
        messages, ended = peer.receive()
        for message in messages:
            if peer.rank is None:
                peer = self._introduced(peer, message)
            if peer.rank is None:
                break
            peer.at, peer.doing = message.get("at", peer.at), message.get("doing", peer.doing)
            peer.has_left = peer.has_left or "left" in message
            if "failed" in message:
                self._lose(f"rank {peer.rank} failed: {message['failed']}", was_told=True)
            elif "lost" in message:
                self._lose(message["lost"], message["was_told"])
        if ended or (messages and peer.rank is None):
            assert peer.socket is not None
            self._selector.unregister(peer.socket)
            peer.socket.close()
            peer.socket = None
            if peer.rank is not None and not peer.has_left:
                self._lose(f"rank {peer.rank} ended without a word, often for lack of memory; {MORE}")

    def _introduced(self, stranger: _Peer, message: dict[str, Any]) -> _Peer:
        """The rank that one says it is, if it has the key and nobody else is that rank."""
        rank = message.get("rank")
        peer = self._peers.get(rank) if isinstance(rank, int) else None
        if peer is None or peer.has_come or message.get("key") != self._key:
            return stranger
        peer.socket, peer.has_come, peer.silent, peer.coming = stranger.socket, True, 0.0, stranger.coming
        assert peer.socket is not None
        self._selector.modify(peer.socket, selectors.EVENT_READ, peer)
        if all(other.has_come for other in self._peers.values()):
            self._complete.set()
        return peer

    def _judge(self, stalled: float) -> None:
        """Whether a rank is silent, or all stand still because one does."""
        there = [peer for peer in self._peers.values() if not peer.has_left]
        if self._rank == 0 and not self._complete.is_set():  # `wait_for_all` tells of those that do not come
            return
        silent = [peer.rank for peer in there if peer.silent > self._silence]
        if silent:
            self._lose(f"{_named(silent)} not answered for {self._silence:.0f} s; {MORE}")
        elif self._rank == 0 and there and stalled > self._stall + MOST_COUNTED:  # what is known of the others is a beat old
            notes = {0: self._notes} | {peer.rank: (peer.at, peer.doing) for peer in there}
            first, doing = min(notes.values())
            behind = [rank for rank, (at, _) in notes.items() if at == first]
            self._lose(f"{_named(behind)} not made progress for {self._stall:.0f} s, {doing}; {MORE}")

    def _lose(self, message: str, was_told: bool = False) -> None:
        """The first loss counts: others follow of it. What happens to others while this rank ends is no matter."""
        if not (self._lost or self.is_over):
            self._lost = LostRankError(message)
            self._lost.was_told = was_told

    def _say_the_last(self) -> None:
        """Say why this rank goes, and wait until the others have heard it: with a connection's end it could be lost."""
        if self._leaves:
            self._say({"left": True})
        elif self._failed and self._rank:
            self._say({"failed": self._failed})
        elif self._failed:
            self._say({"lost": f"rank 0 failed: {self._failed}", "was_told": True})
        elif self._lost and self._rank == 0:
            self._say({"lost": self._lost.message, "was_told": self._lost.was_told})
        there = [peer for peer in self._peers.values() if peer.socket is not None]
        for peer in there:
            with suppress(OSError):
                peer.socket.shutdown(socket.SHUT_WR)  # type: ignore[union-attr]
        deadline = time.monotonic() + TO_PART
        while any(peer.socket for peer in there) and (left := deadline - time.monotonic()) > 0:
            self._hear(left)

    def _close(self) -> None:
        for key in [*(self._selector.get_map() or {}).values()]:  # none where it was closed before a fork
            if isinstance(key.fileobj, socket.socket):
                key.fileobj.close()
        self._button.close()
        self._selector.close()

    def _end(self, lost: LostRankError) -> None:
        """End the process, unless its main thread does so in time."""
        self._known.set()
        if self._heard.wait(self._to_hear):
            time.sleep(TO_END)
        else:
            self.before_end(lost)
        self._end_with(lost.line())

    def _end_with(self, text: str) -> Never:
        last_words(text)
        os._exit(1)


def _named(ranks: Iterable[int | None]) -> str:
    ranks = [*ranks]
    return f"rank {', '.join(map(str, ranks))} {'has' if len(ranks) == 1 else 'have'}"
