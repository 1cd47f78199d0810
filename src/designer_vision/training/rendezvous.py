"""What the ranks of a job tell each other at a store when they come, and what rank 0 makes of it."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import timedelta
from typing import TypeVar

from torch.distributed import Store  # type: ignore[attr-defined]


@dataclass(frozen=True)
class Member:
    """What a process tells when it comes.

    Attributes:
        rank, world_size: as it was started.
        node: it is on.
        facts: what must be the same on every rank, by name.
        address: from which it talks to rank 0.
        failed: why it goes again at once.
    """

    rank: int
    world_size: int
    node: str
    facts: dict[str, str]
    address: str = ""
    failed: str = ""


@dataclass(frozen=True)
class RendezvousInfo:
    """What rank 0 makes of those that come.

    Attributes:
        error: what is wrong; empty when all are there.
        nodes, addresses: of the ranks, in their order.
        port, key: where rank 0's watcher listens.
    """

    error: str = ""
    nodes: tuple[str, ...] = ()
    addresses: tuple[str, ...] = ()
    port: int = 0
    key: str = ""


Told = TypeVar("Told", Member, RendezvousInfo)


def received(kind: type[Told], text: bytes) -> Told:
    """What another rank told as JSON; what another version of this package tells besides is passed over: the facts name it."""
    known = {field.name for field in fields(kind)}
    return kind(**{name: value for name, value in json.loads(text).items() if name in known})


def hold_rendezvous(store: Store, world_size: int, timeout: timedelta) -> RendezvousInfo:
    """Wait for all that shall come, and look at what they tell."""
    deadline = time.monotonic() + timeout.total_seconds()
    came: dict[int, Member] = {}
    read = 0
    while len(came) < world_size:
        if read == store.add("came", 0):
            if time.monotonic() > deadline:
                missing = ", ".join(str(rank) for rank in range(world_size) if rank not in came)
                return RendezvousInfo(
                    f"{len(came)} of {world_size} processes came within {timeout.total_seconds():.0f} s, missing rank {missing}; "
                    "check that they were started and can reach this machine"
                )
            time.sleep(0.02)
            continue
        read += 1
        arrival = received(Member, store.get(f"arrival {read}"))
        if error := problem_of(arrival, came, world_size):
            return RendezvousInfo(error)
        came[arrival.rank] = arrival
    ranks = [came[rank] for rank in range(world_size)]
    return RendezvousInfo("", tuple(rank.node for rank in ranks), tuple(rank.address for rank in ranks))


def problem_of(arrival: Member, came: Mapping[int, Member], world_size: int) -> str:
    """What is wrong with one that comes, beside those that came before; empty if nothing."""
    if arrival.failed:
        return f"rank {arrival.rank} failed: {arrival.failed}"
    if arrival.world_size != world_size:
        return f"rank {arrival.rank} was started with WORLD_SIZE {arrival.world_size}, rank 0 with {world_size}"
    if arrival.rank in came:
        return f"two processes were started with RANK {arrival.rank}"
    for other in came.values():
        for name, value in arrival.facts.items():
            if other.facts.get(name) != value:
                return f"{difference(name, arrival, other)}; start all with the same inputs and packages"
    return ""


def difference(name: str, one: Member, other: Member) -> str:
    """What two ranks have that should be the same: both values, or of an outline of images where they begin to differ."""
    first, second = one.facts.get(name, ""), other.facts.get(name, "")
    if not first.startswith('{"images":') or not second.startswith('{"images":'):
        return f"rank {one.rank} has {name} {first}, rank {other.rank} has {second}"
    mine, theirs = json.loads(first), json.loads(second)
    if mine["images"] != theirs["images"]:
        return f"rank {one.rank} has {mine['images']} {name}, rank {other.rank} has {theirs['images']}"
    parts = zip(mine["parts"], theirs["parts"], strict=True)
    (count, image, _), _ = next((own, others) for own, others in parts if own != others)
    where = image if count == 1 else f"one of {count} from {image} on"
    return f"rank {one.rank} and rank {other.rank} have different {name}: the first that differs is {where} of rank {one.rank}"
