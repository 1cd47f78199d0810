"""Which process of the job this is, read once from the environment."""

from __future__ import annotations

import json
import os
import re
import socket
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from datetime import timedelta
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed import PrefixStore, Store, TCPStore  # type: ignore[attr-defined]

from designer_vision.runtime.errors import DesignerError, JobStoppedError, LostRankError, ProcessSetupError, TrainingDivergedError
from designer_vision.runtime.machine import address_towards, interface_of
from designer_vision.training.job_variables import DEFAULT_PORT, place_of
from designer_vision.training.rendezvous import Member, RendezvousInfo, hold_rendezvous, received
from designer_vision.training.watcher import Address, Watcher

Told = TypeVar("Told")
AFTER_THE_WATCHER = timedelta(minutes=1)
"""How much longer torch waits than the watcher, which knows whom to name."""
TO_TELL = timedelta(minutes=1)
"""How long a rank that cannot come waits for the others, to tell them."""
CONNECTION_LOST = re.compile("gloo|connection (was )?(closed|reset)|timed out|broken pipe|socket", re.IGNORECASE)
"""What torch says when a peer is gone, unless it is a DistError: a RuntimeError without a class of its own."""


@dataclass(frozen=True)
class Timeouts:
    """How long ranks wait for each other.

    Attributes:
        start: for all to come.
        silence: for a process of which nothing is heard.
        stall: for the processes' main threads to make a step.
    """

    start: timedelta
    silence: timedelta
    stall: timedelta


@dataclass(frozen=True)
class Ranks:
    """The place of this process among all processes of the job.

    Attributes:
        rank: number of this process in the job; 0 is the main one, which alone writes and logs.
        world_size: number of processes in the job.
        local_rank: number of this process on its node, and so of its GPU.
        node: what tells this node from the others.
        main_address, main_port: where rank 0 listens.
        attempt: which of torchrun's restarts this is, where torchrun listens there in rank 0's place; else empty.
        local_world_size: number of processes on this node, known once they have met (`connected`).
        is_first_of_node: no process of this node has a lower rank; known then too.
        watcher: who tells when one of the others is lost; there from then on.
    """

    rank: int = 0
    world_size: int = 1
    local_rank: int = 0
    node: str = ""
    main_address: str = "127.0.0.1"
    main_port: int = DEFAULT_PORT
    attempt: str = ""
    local_world_size: int = 1
    is_first_of_node: bool = True
    watcher: Watcher | None = field(default=None, compare=False, repr=False)

    @property
    def is_main(self) -> bool:
        return self.rank == 0

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] | None = None) -> Ranks:
        """Read the variables that Azure ML (or torchrun) sets for each process, else MPI's; with none it is alone.

        Raises:
            ProcessSetupError: a variable is missing, no number, or outside its range.
        """
        return cls(**place_of(os.environ if environment is None else environment))

    def device(self, gpus: int) -> torch.device:
        """The GPU of this process on a node with that many, or the CPU where there are none.

        Raises:
            ProcessSetupError: there are more processes on the node than GPUs.
        """
        if gpus == 0:
            return torch.device("cpu")
        if self.local_rank >= gpus:
            count = self.local_world_size
            raise ProcessSetupError(
                f"process_count_per_instance {count} is larger than the {gpus} GPUs of this node; set it to {gpus}"
            )
        return torch.device("cuda", self.local_rank)

    @contextmanager
    def connected(self, gpus: int, timeouts: Timeouts, facts: Mapping[str, str]) -> Iterator[tuple[Ranks, torch.device]]:
        """Join the process group for the length of the block; a process that is alone has none.

        Args:
            gpus: of this node. NCCL then averages gradients; all else goes over gloo, which no GPU waits for.
            timeouts: how long ranks wait for each other.
            facts: what must be the same on every rank, by name.

        Yields:
            This process's place, with the processes of its node counted among all that came, and its device.

        Raises:
            ProcessSetupError: the others did not come in time, or differ, or there are more processes on the node than GPUs.
            LostRankError: in the block another rank failed, ended or fell silent; by its number. Where this process cannot
                raise it, for it waits in something that does not end, it ends with the same words.
        """
        if self.world_size == 1:
            yield self, self.device(gpus)
            return
        watcher = Watcher(self.rank, self.world_size, timeouts.silence, timeouts.stall, breaks_off=not gpus)
        store, ranks = self.join(timeouts.start, facts, watcher)
        try:
            device = ranks.device(gpus)
            if gpus:
                torch.cuda.set_device(device)
            dist.init_process_group(
                "cpu:gloo,cuda:nccl" if gpus else "gloo",
                store=store,
                rank=self.rank,
                world_size=self.world_size,
                timeout=timeouts.stall + AFTER_THE_WATCHER,
            )
            yield ranks, device
        except (JobStoppedError, TrainingDivergedError):  # which all ranks raise
            watcher.leave()
            raise
        except BaseException as error:  # noqa: BLE001 (raised again)
            raise ranks.told(error) from error.__cause__
        ranks.part()
        if not gpus:  # NCCL's end waits for all ranks, of which one may still write what came of it
            dist.destroy_process_group()  # not after an exception: its peers may be gone, and the process is about to end

    @contextmanager
    def telling(self) -> Iterator[None]:
        """Have the others told of an error in the block at once, before all that is open around it is closed."""
        try:
            yield
        except (JobStoppedError, TrainingDivergedError):
            raise
        except BaseException as error:  # noqa: BLE001 (raised again)
            raise self.told(error) from error.__cause__

    def told(self, error: BaseException) -> BaseException:
        """What this rank ends with because of an error, once the others know: that another one is lost, or the error itself."""
        lost = self.loss(error)
        ends_with = lost or error
        if self.watcher is not None and (lost is None or lost is not self.watcher.lost):
            self.watcher.fail(sentence_of(ends_with))
        return ends_with

    def loss(self, error: BaseException) -> LostRankError | None:
        """Which rank was lost, where an error shows that one is: torch has none of its own for that."""
        if isinstance(error, LostRankError):
            return error
        if self.watcher is None or self.watcher.is_over or not isinstance(error, RuntimeError):
            return None
        if not isinstance(error, dist.DistError) and not CONNECTION_LOST.search(str(error)):
            return None
        if lost := self.watcher.reason():
            return lost
        broken = LostRankError(f"all ranks are there, but their connection broke: {str(error).splitlines()[0]}")
        broken.was_told = True
        return broken

    def part(self) -> None:
        """Go on alone: no other waits for what this process does from here on, as none waits for another any more."""
        if self.watcher is not None and not self.watcher.is_over:
            self.watcher.leave()

    def join(self, timeout: timedelta, facts: Mapping[str, str], watcher: Watcher | None = None) -> tuple[Store, Ranks]:
        """Wait for all processes of the job at rank 0's store, compare what they were given, and count those of this node.

        Args:
            timeout: for the last one to come.
            facts: what must be the same on every rank, by name.
            watcher: started when all are there.

        Raises:
            ProcessSetupError: the others did not come in time, or one was started differently; on every rank that came.
        """
        try:
            store = self._store(timeout)
            own = Member(self.rank, self.world_size, self.node, dict(facts), address_towards(self.main_address))
            store.set(f"arrival {store.add('came', 1)}", json.dumps(asdict(own)))
            if self.is_main:
                found = hold_rendezvous(store, self.world_size, timeout)
                if watcher is not None and not found.error:
                    place = watcher.listen(self.main_address if self.is_on_loopback else "")
                    found = replace(found, port=place.port, key=place.key)
                store.set("verdict", json.dumps(asdict(found)))
            store.set_timeout(timeout + timedelta(seconds=5))
            found = received(RendezvousInfo, store.get("verdict"))
            came_too_late = not found.error and len(found.nodes) != self.world_size
        except (RuntimeError, ValueError, OSError) as cause:
            raise ProcessSetupError(
                f"rank {self.rank} could not join the {self.world_size} processes at "
                f"{self.main_address}:{self.main_port}: {str(cause).splitlines()[0]}"
            ) from cause
        if found.error or came_too_late:
            self._wait_until_all_heard(store)
            raise ProcessSetupError(
                found.error or f"rank {self.rank} tried to join a job of {len(found.nodes)} processes that has already begun"
            )
        if watcher is not None:
            self._watch(watcher, Address(found.port, found.key), timeout)
        self._choose_interface(found)
        first = self.node not in found.nodes[: self.rank]
        return store, replace(self, local_world_size=found.nodes.count(self.node), is_first_of_node=first, watcher=watcher)

    def _watch(self, watcher: Watcher, place: Address, timeout: timedelta) -> None:
        """Begin to watch the others.

        Raises:
            ProcessSetupError: some do not come.
        """
        try:
            watcher.start(self.main_address, place, timeout)
            watcher.wait_for_all(timeout)
        except OSError as error:
            told = f"rank {self.rank} cannot watch the others at {self.main_address}:{place.port}: {error}"
            watcher.fail(told)
            raise ProcessSetupError(told) from error

    def tell_failure(self, message: str) -> None:
        """Before the ranks have met: let the others that come soon know that this one does not come, and why."""
        if self.world_size == 1:
            return
        with suppress(RuntimeError, OSError, DesignerError):
            store = self._store(TO_TELL)
            store.set_timeout(TO_TELL)
            if self.is_main:
                store.set("verdict", json.dumps(asdict(RendezvousInfo(f"rank 0 failed: {message}"))))
                self._wait_until_all_heard(store, TO_TELL.total_seconds(), self.world_size)
            else:
                own = Member(self.rank, self.world_size, self.node, {}, failed=message)
                store.set(f"arrival {store.add('came', 1)}", json.dumps(asdict(own)))
                store.add("heard", 1)

    def _store(self, timeout: timedelta) -> Store:
        """Rank 0's store, or torchrun's; where all processes are on one node, nobody outside it can reach theirs.

        Raises:
            ProcessSetupError: nobody knows the name of rank 0's machine.
        """
        listening = None
        try:
            socket.getaddrinfo(self.main_address, self.main_port)
        except OSError as error:
            raise ProcessSetupError(
                f"rank {self.rank} cannot find rank 0's machine: no resolver knows the name {self.main_address!r} that "
                f"MASTER_ADDR gives ({error.strerror or error})"
            ) from error
        if self.is_on_loopback:
            for library in ("GLOO", "NCCL"):
                os.environ.setdefault(f"{library}_SOCKET_IFNAME", "lo0" if sys.platform == "darwin" else "lo")
            if self.is_main and not self.attempt:
                listening = socket.create_server((self.main_address, self.main_port)).detach()
        is_here = self.is_main and not self.attempt
        store = TCPStore(
            self.main_address, self.main_port, None, is_here, timeout, wait_for_workers=False, master_listen_fd=listening
        )
        return PrefixStore(f"attempt {self.attempt}", store) if self.attempt else store

    @property
    def is_on_loopback(self) -> bool:
        """Whether rank 0 listens where only its own node can reach it.

        A machine's own name may lead to its loopback too (127.0.1.1 on Debian), and yet be how others reach it.
        """
        return self.main_address == "localhost" or self.main_address.startswith("127.") or self.main_address == "::1"

    def _choose_interface(self, found: RendezvousInfo) -> None:
        """Have gloo use the network that the ranks reach each other by; by itself it goes by the machine's own name."""
        others = [address for node, address in zip(found.nodes, found.addresses, strict=True) if node != self.node]
        if others and not self.is_on_loopback:
            interface = interface_of(address_towards(others[0]) if self.is_main else found.addresses[self.rank])
            if interface:
                os.environ.setdefault("GLOO_SOCKET_IFNAME", interface)

    def _wait_until_all_heard(self, store: Store, seconds: float = 2, expected: int = 0) -> None:
        """The store ends with the main process, so that it leaves last.

        Args:
            store: where those that heard are counted.
            seconds: to wait at most.
            expected: how many will come, this one included.
        """
        heard, deadline = store.add("heard", 1), time.monotonic() + seconds
        while self.is_main and heard < max(store.add("came", 0), expected) and time.monotonic() < deadline:
            time.sleep(0.05)
            heard = store.add("heard", 0)

    def note(self, doing: str) -> None:
        """This process goes on; what it does now, all others do too, or will."""
        if self.watcher is not None:
            self.watcher.note(doing)

    # what all processes of the job call, in the same order: each goes over the CPU, so that no GPU waits for it

    def all_gather_objects(self, value: Told) -> list[Told]:
        """What each process says, in the order of their ranks; every process must ask."""
        if self.world_size == 1:
            return [value]
        told = [value] * self.world_size
        with self._waiting():
            dist.all_gather_object(told, value)
        return told

    def broadcast_on_node(self, text: str) -> str:
        """What the first process of this node says; every process of the job must ask."""
        return next(said for node, said in self.all_gather_objects((self.node, text)) if node == self.node)

    def broadcast_from_main(self, value: Told) -> Told:
        """What the main process says; every process must ask."""
        if self.world_size == 1:
            return value
        told = [value]
        with self._waiting():
            dist.broadcast_object_list(told)
        return told[0]

    def all_reduce_sum(self, values: Tensor) -> Tensor:
        """The element-wise sum of a tensor over all processes; on the CPU."""
        return self._reduced(values, dist.ReduceOp.SUM)

    def all_reduce_min(self, values: Tensor) -> Tensor:
        """The element-wise minimum of a tensor over all processes; on the CPU."""
        return self._reduced(values, dist.ReduceOp.MIN)

    def all_reduce_mean(self, values: Tensor) -> Tensor:
        """The element-wise mean of a tensor over all processes; on the CPU."""
        return self.all_reduce_sum(values).div_(self.world_size)

    def all_gather(self, values: Tensor) -> Tensor:
        """All processes' tensors of one shape, in the order of their ranks: [world size, *shape]; on the CPU."""
        values = values.cpu()
        if self.world_size == 1:
            return values[None].clone()
        gathered = [torch.empty_like(values) for _ in range(self.world_size)]
        with self._waiting():
            dist.all_gather(gathered, values)
        return torch.stack(gathered)

    def any_rank(self, *flags: bool) -> list[bool]:
        """For each flag whether it is raised on any process."""
        if self.world_size == 1:
            return list(flags)
        return [raised > 0 for raised in self.all_reduce_sum(torch.tensor(flags, dtype=torch.int32)).tolist()]

    def _reduced(self, values: Tensor, operation: dist.ReduceOp.RedOpType) -> Tensor:
        values = values.to("cpu", copy=True)
        if self.world_size > 1:
            with self._waiting():
                dist.all_reduce(values, operation)
        return values

    @contextmanager
    def _waiting(self) -> Iterator[None]:
        self.note("waiting for the others")
        yield
        self.note("working")


def sentence_of(error: BaseException) -> str:
    """What the other ranks are told of an error."""
    return error.message if isinstance(error, DesignerError) else f"{type(error).__name__}: {error}"[:300]
