"""Ranks that are lost while the others' main threads wait for ever: processes of their own."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from designer_vision.pipeline.processes import free_port
from designer_vision.training import watcher as watcher_module
from designer_vision.training.ranks import Ranks
from designer_vision.training.watcher import Address, Watcher

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="forks")


class Rank:
    """A forked process that meets the others and then does its work.

    `wait` for what never comes, `mute` (the same, and nobody reads its standard error), `lock` (for a lock that nobody gives back), `stuck` (the same, a note less than the others have
    made), `fail`, `hang` (fail, and
    then wait), `leave`, `steps` (makes notes for ever).
    """

    def __init__(self, ranks: Ranks, watcher: Watcher, work: str, log: Path) -> None:
        self._log = log
        arguments = (ranks, watcher, work, log)
        self.process = multiprocessing.get_context("fork").Process(target=be_a_rank, args=arguments)
        self.process.start()

    def said(self) -> str:
        return self._log.read_text() if self._log.exists() else ""

    def signal(self, number: signal.Signals) -> None:
        assert self.process.pid
        os.kill(self.process.pid, number)

    def last_words(self, seconds: float = 10) -> str:
        """What it ended with, within the seconds that a loss may take."""
        self.process.join(seconds)
        assert self.process.exitcode == 1, self.said()
        return self.said().removeprefix("there\n")


def be_a_rank(ranks: Ranks, watcher: Watcher, work: str, log: Path) -> None:
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT)
    for stream in (1, 2):
        os.dup2(descriptor, stream)
    os.environ |= {"WORLD_SIZE": str(ranks.world_size), "RANK": str(ranks.rank)}
    _store, _ = ranks.join(timedelta(seconds=60), {}, watcher)
    os.write(1, b"there\n")
    if work == "mute":
        reader, writer = os.pipe()
        os.close(reader)
        os.dup2(writer, 2)
    if work == "hang":
        time.sleep(0.5)
        watcher.fail("the disk does not answer")
        os.read(os.pipe()[0], 1)
    if work == "fail":
        time.sleep(0.5)
        watcher.fail("3.png is no image")
        os._exit(1)
    if work == "leave":
        watcher.leave()
        os._exit(0)
    while work == "steps":
        watcher.note("computing")
        time.sleep(0.05)
    watcher.note("reading images")
    if work != "stuck":
        watcher.note("averaging gradients")
    if work == "lock":
        lock = threading.Lock()
        lock.acquire()
        lock.acquire()
    os.read(os.pipe()[0], 1)


Start = Callable[..., list[Rank]]


@pytest.fixture
def start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Start]:
    """Starts a rank for each kind of work, and waits until all are there; their watchers have four heartbeats a second."""
    for name, seconds in (("SECONDS_A_BEAT", 0.25), ("MOST_COUNTED", 0.5), ("TO_HEAR", 0.5), ("TO_UNWIND", 1.0)):
        monkeypatch.setattr(watcher_module, name, seconds)
    started: list[Rank] = []

    def start(*works: str, silence: float = 60, stall: float = 600) -> list[Rank]:
        port = free_port()
        for number, work in enumerate(works):
            watcher = Watcher(number, len(works), timedelta(seconds=silence), timedelta(seconds=stall))
            ranks = Ranks(number, len(works), number, "0", "127.0.0.1", port)
            started.append(Rank(ranks, watcher, work, tmp_path / str(number)))
        deadline = time.monotonic() + 30
        while not all(rank.said().startswith("there") for rank in started):
            assert time.monotonic() < deadline
            time.sleep(0.01)
        return started

    yield start
    for rank in started:
        rank.process.kill()
        rank.process.join()


def are_there(ranks: list[Rank]) -> list[bool]:
    return [rank.process.is_alive() for rank in ranks]


@pytest.mark.parametrize("work", ["wait", "lock"])
@pytest.mark.parametrize("lost", [0, 1])
def test_a_rank_that_is_killed_ends_the_others_by_name_whatever_they_wait_in(start: Start, work: str, lost: int) -> None:
    ranks = start(work, work, work)
    ranks[lost].process.kill()
    for rank in {0, 1, 2} - {lost}:
        assert f"rank {rank}: Error: LostRankError: rank {lost} ended without a word" in ranks[rank].last_words()


@pytest.mark.parametrize("works", [("fail", "wait", "lock"), ("wait", "lock", "fail")])
def test_a_rank_that_fails_ends_the_others_with_its_own_sentence(start: Start, works: tuple[str, ...]) -> None:
    ranks, failing = start(*works), works.index("fail")
    for rank in {0, 1, 2} - {failing}:
        assert ranks[rank].last_words() == f"rank {rank}: Error: LostRankError: rank {failing} failed: 3.png is no image\n"


def test_a_rank_whose_words_nobody_takes_ends_all_the_same(start: Start) -> None:
    ranks = start("mute", "wait", "mute")
    ranks[1].process.kill()
    for rank in (0, 2):
        assert ranks[rank].last_words() == ""


def test_a_rank_that_fails_and_cannot_end_is_ended_with_its_sentence(start: Start) -> None:
    ranks = start("wait", "hang")
    assert "rank 1 failed: the disk does not answer" in ranks[0].last_words()
    assert ranks[1].last_words() == "rank 1: ended after 1 s: the disk does not answer\n"


@pytest.mark.parametrize("stopped", [0, 2])
def test_a_rank_that_is_stopped_for_long_is_named_and_ends_when_it_wakes(start: Start, stopped: int) -> None:
    ranks = start("wait", "wait", "wait", silence=2)
    ranks[stopped].signal(signal.SIGSTOP)
    for rank in {0, 1, 2} - {stopped}:
        assert f"LostRankError: rank {stopped} has not answered for 2 s" in ranks[rank].last_words(15)
    ranks[stopped].signal(signal.SIGCONT)
    assert "LostRankError: rank" in ranks[stopped].last_words()


def test_a_rank_that_is_stopped_for_less_than_the_silence_is_not_lost(start: Start) -> None:
    ranks = start("wait", "wait", silence=4)
    for rank in ranks:
        rank.signal(signal.SIGSTOP)
        time.sleep(1.5)
        rank.signal(signal.SIGCONT)
    time.sleep(1)
    assert are_there(ranks) == [True, True]


def test_a_pause_of_the_whole_machine_counts_for_nobody(start: Start) -> None:
    ranks = start("wait", "wait", silence=2)
    for rank in ranks:
        rank.signal(signal.SIGSTOP)
    time.sleep(4)
    for rank in ranks:
        rank.signal(signal.SIGCONT)
    time.sleep(1.5)
    assert are_there(ranks) == [True, True]


def test_a_main_thread_that_does_not_go_on_is_named_with_what_it_does(start: Start) -> None:
    ranks = start("wait", "stuck", "lock", stall=2)
    for rank in ranks:
        assert "LostRankError: rank 1 has not made progress for 2 s, reading images" in rank.last_words()


def test_main_threads_that_go_on_are_not_lost(start: Start) -> None:
    ranks = start("steps", "steps", stall=1)
    time.sleep(3)
    assert are_there(ranks) == [True, True]


def test_a_rank_that_has_done_its_part_may_end_before_the_others(start: Start) -> None:
    ranks = start("wait", "leave", "wait", silence=2)
    ranks[1].process.join(10)
    assert ranks[1].process.exitcode == 0
    time.sleep(3)
    assert are_there(ranks) == [True, False, True]


def test_what_is_none_of_the_ranks_is_not_heard() -> None:
    watcher = Watcher(0, 2, timedelta(seconds=60), timedelta(seconds=60))
    place = watcher.listen("127.0.0.1")
    watcher.start("127.0.0.1", place, timedelta(seconds=5))
    for words in (
        b"GET / HTTP/1.1\r\n\r\n",
        b'{"failed": "x"}\n',
        b'{"rank": []}\n',
        b"[" * 50_000 + b"\n",
        json.dumps({"rank": 1, "key": "guessed"}).encode() + b'\n{"failed": "x"}\n',
    ):
        with socket.create_connection(("127.0.0.1", place.port), 5) as stranger:
            stranger.sendall(words)
            assert stranger.recv(100) == b""
    member = Watcher(1, 2, timedelta(seconds=60), timedelta(seconds=60))
    member.start("127.0.0.1", Address(place.port, place.key), timedelta(seconds=5))
    member.leave()
    watcher.leave()
