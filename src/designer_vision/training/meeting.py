"""What the ranks of a job tell each other at a store: that they came, with what, why one ends, and who is still there."""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta

from torch.distributed import TCPStore  # type: ignore[attr-defined]

from designer_vision.errors import DesignerError

FAILED = "failed"
CONNECTION_LOST = re.compile("gloo|connection (was )?(closed|reset)|timed out|broken pipe|socket", re.IGNORECASE)
"""What torch says when a peer is gone: a RuntimeError without a class of its own, or a DistError."""
ROLL_CALL_SECONDS, TO_SPEAK_SECONDS = 3.0, 1.0
"""How long ranks are waited for, and how long where only one is missing, which may still say why."""


@dataclass(frozen=True)
class Arrival:
    """What a process tells when it comes."""

    rank: int
    world_size: int
    node: str
    facts: dict[str, str]


def verdict(store: TCPStore, world_size: int, timeout: timedelta) -> tuple[str, list[str]]:
    """What the main process makes of those that come: what is wrong, or the nodes of the ranks when all are there."""
    deadline = time.monotonic() + timeout.total_seconds()
    came: dict[int, Arrival] = {}
    read = 0
    while len(came) < world_size:
        if read == store.add("came", 0):
            if time.monotonic() > deadline:
                missing = ", ".join(str(rank) for rank in range(world_size) if rank not in came)
                return (
                    f"{len(came)} of {world_size} processes came within {timeout.total_seconds():.0f} s, missing rank {missing}; "
                    "see whether they were started and reach this machine"
                ), []
            time.sleep(0.02)
            continue
        read += 1
        arrival = Arrival(**json.loads(store.get(f"arrival {read}")))
        if error := objection(arrival, came, world_size):
            return error, []
        came[arrival.rank] = arrival
    return "", [came[rank].node for rank in range(world_size)]


def objection(arrival: Arrival, came: Mapping[int, Arrival], world_size: int) -> str:
    """What is wrong with one that comes, beside those that came before; empty if nothing."""
    if arrival.world_size != world_size:
        return f"rank {arrival.rank} was started with WORLD_SIZE {arrival.world_size}, rank 0 with {world_size}"
    if arrival.rank in came:
        return f"two processes were started with RANK {arrival.rank}"
    for other in came.values():
        for name, value in arrival.facts.items():
            if other.facts.get(name) != value:
                return (
                    f"rank {arrival.rank} has {name} {value}, rank {other.rank} has {other.facts.get(name)}; "
                    "start all with the same inputs and packages"
                )
    return ""


def tell_failure(store: TCPStore, rank: int, error: DesignerError) -> None:
    """Let the other ranks know why this one ends; the first to fail is heard."""
    with suppress(RuntimeError):
        store.set_timeout(timedelta(seconds=2))
        store.compare_set(FAILED, "", f"rank {rank} failed: {error.message}")


def who_is_lost(store: TCPStore, rank: int, world_size: int, timeout: timedelta, error: RuntimeError) -> str:
    """Which rank made a collective operation fail: those that are still there answer a roll call."""
    found: list[str] = []
    caller = threading.Thread(target=_roll_call, args=(store, rank, world_size, found), daemon=True)
    caller.start()
    caller.join(ROLL_CALL_SECONDS + 3)
    if found and found[0].startswith("rank"):
        return found[0]
    if found == [""]:
        return f"all ranks are there, but their connection broke: {str(error).splitlines()[0]}"
    if "timed out" in str(error).lower():
        why = f"has not answered for {timeout.total_seconds():.0f} s"
    elif found:
        why = "ended without a word, often for lack of memory"
    else:  # the store went with the main rank, and what that one had to say
        return "rank 0 ended; if its log does not say why, it was killed, often for lack of memory"
    return f"rank {found[0] if found else 0} {why}; its log and its machine's may say more"


def _roll_call(store: TCPStore, rank: int, world_size: int, found: list[str]) -> None:
    """Puts into `found` what the first rank that failed said, or the numbers of those that do not answer."""
    with suppress(RuntimeError):
        store.set_timeout(timedelta(seconds=ROLL_CALL_SECONDS))
        store.set(f"here {rank}", "")
        begin = time.monotonic()
        missing = [str(other) for other in range(world_size)]
        while (passed := time.monotonic() - begin) < ROLL_CALL_SECONDS and not (len(missing) == 1 and passed > TO_SPEAK_SECONDS):
            if store.check([FAILED]):
                found.append(store.get(FAILED).decode())
                return
            time.sleep(0.1)
            missing = [other for other in missing if not store.check([f"here {other}"])]
        found.append(", ".join(missing))
