"""Which process of the job this is, read once from the environment."""

from __future__ import annotations

import ipaddress
import json
import os
import socket
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import timedelta
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed import TCPStore  # type: ignore[attr-defined]

from designer_vision.console import say
from designer_vision.errors import DesignerError, LostRankError, ProcessSetupError
from designer_vision.training.meeting import CONNECTION_LOST, Arrival, tell_failure, verdict, who_is_lost

Told = TypeVar("Told")
DEFAULT_PORT = 29500


@dataclass(frozen=True)
class Ranks:
    """The place of this process among all processes of the job.

    Attributes:
        rank: number of this process in the job; 0 is the main one, which alone writes and logs.
        world_size: number of processes in the job.
        local_rank: number of this process on its node, and so of its GPU.
        node: what tells this node from the others.
        main_address, main_port: where rank 0 listens.
        local_world_size: number of processes on this node, known once they have met (`connected`).
        is_first_of_node: no process of this node has a lower rank; known then too.
    """

    rank: int = 0
    world_size: int = 1
    local_rank: int = 0
    node: str = ""
    main_address: str = "127.0.0.1"
    main_port: int = DEFAULT_PORT
    local_world_size: int = 1
    is_first_of_node: bool = True

    @property
    def is_main(self) -> bool:
        return self.rank == 0

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] | None = None) -> Ranks:
        """Read the variables that Azure ML (or torchrun) sets for each process, else MPI's; with none it is alone.

        Raises:
            ProcessSetupError: a variable is missing, no number, or outside its range.
        """
        variables = os.environ if environment is None else environment
        if "RANK" in variables or "WORLD_SIZE" in variables:
            names = ["RANK", "WORLD_SIZE", "LOCAL_RANK"]
            _warn_of_contradictions(variables)
        elif "OMPI_COMM_WORLD_RANK" in variables:
            names = [f"OMPI_COMM_WORLD_{name}" for name in ("RANK", "SIZE", "LOCAL_RANK")]
        else:
            return cls()
        rank, world_size = _integer(variables, names[0]), _integer(variables, names[1])
        if world_size < 1 or not 0 <= rank < world_size:
            raise ProcessSetupError(f"{names[0]} is {rank} and {names[1]} is {world_size}; it must be from 0 to one less")
        local_rank = _integer(variables, names[2], rank)
        if not 0 <= local_rank < world_size:
            raise ProcessSetupError(f"{names[2]} is {local_rank}, expected 0 to {world_size - 1}")
        address, port = _main(variables)
        node = variables.get("NODE_RANK") or variables.get("GROUP_RANK") or socket.gethostname()  # Azure's, torchrun's
        return cls(rank, world_size, local_rank, node, address, port)

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
    def connected(
        self, gpus: int, start_timeout: timedelta, timeout: timedelta, facts: Mapping[str, str]
    ) -> Iterator[tuple[Ranks, torch.device]]:
        """Join the process group for the length of the block; a process that is alone has none.

        Args:
            gpus: of this node: NCCL connects GPUs, gloo CPUs.
            start_timeout: how long ranks wait for each other to come.
            timeout: how long they wait for each other afterwards.
            facts: what must be the same on every rank, by name.

        Yields:
            This process's place, with the processes of its node counted among all that came, and its device.

        Raises:
            ProcessSetupError: the others did not come in time, or differ, or there are more processes on the node than GPUs.
            LostRankError: in the block another rank failed, ended or fell silent; by its number.
        """
        if self.world_size == 1:
            yield self, self.device(gpus)
            return
        store, ranks = self.meet(start_timeout, facts)
        device = ranks.device(gpus)
        if gpus:
            torch.cuda.set_device(device)
        backend = "nccl" if gpus else "gloo"
        try:
            dist.init_process_group(backend, store=store, rank=self.rank, world_size=self.world_size, timeout=timeout)
            yield ranks, device
        except DesignerError as error:
            tell_failure(store, self.rank, error)
            raise
        except RuntimeError as error:
            if not isinstance(error, dist.DistError) and not CONNECTION_LOST.search(str(error)):
                raise
            raise LostRankError(who_is_lost(store, self.rank, self.world_size, timeout, error)) from error
        dist.destroy_process_group()  # not after an exception: its peers may be gone, and the process is about to end

    def meet(self, timeout: timedelta, facts: Mapping[str, str]) -> tuple[TCPStore, Ranks]:
        """Wait for all processes of the job at rank 0's store, compare what they were given, and count those of this node.

        Raises:
            ProcessSetupError: the others did not come in time, or one was started differently; on every rank that came.
        """
        try:
            store = self._store(timeout)
            own = Arrival(self.rank, self.world_size, self.node, dict(facts))
            store.set(f"arrival {store.add('came', 1)}", json.dumps(asdict(own)))
            if self.is_main:
                store.set("verdict", json.dumps(verdict(store, self.world_size, timeout)))
            store.set_timeout(timeout + timedelta(seconds=5))
            error, nodes = json.loads(store.get("verdict"))
        except (RuntimeError, ValueError, OSError) as cause:
            raise ProcessSetupError(
                f"rank {self.rank} could not meet the {self.world_size} processes at "
                f"{self.main_address}:{self.main_port}: {str(cause).splitlines()[0]}"
            ) from cause
        if error or len(nodes) != self.world_size:
            self._wait_until_all_heard(store)
            raise ProcessSetupError(error or f"rank {self.rank} came to a job of {len(nodes)} processes, which has begun already")
        first = self.node not in nodes[: self.rank]
        return store, replace(self, local_world_size=nodes.count(self.node), is_first_of_node=first)

    def _store(self, timeout: timedelta) -> TCPStore:
        """Rank 0's store; where all processes are on one node, nobody outside it can reach theirs."""
        listening = None
        if self.is_on_loopback:
            for library in ("GLOO", "NCCL"):
                os.environ.setdefault(f"{library}_SOCKET_IFNAME", "lo0" if sys.platform == "darwin" else "lo")
            if self.is_main:
                listening = socket.create_server((self.main_address, self.main_port)).detach()
        return TCPStore(
            self.main_address, self.main_port, None, self.is_main, timeout, wait_for_workers=False, master_listen_fd=listening
        )

    @property
    def is_on_loopback(self) -> bool:
        """Whether rank 0 listens where only its own node can reach it."""
        try:
            return ipaddress.ip_address(socket.gethostbyname(self.main_address)).is_loopback
        except OSError:  # a name that nobody knows: TCPStore says so
            return False

    def _wait_until_all_heard(self, store: TCPStore) -> None:
        """The store ends with the main process, so that it leaves last."""
        heard, deadline = store.add("heard", 1), time.monotonic() + 2
        while self.is_main and heard < store.add("came", 0) and time.monotonic() < deadline:
            time.sleep(0.05)
            heard = store.add("heard", 0)

    def told_by_first_of_node(self, text: str) -> str:
        """What the first process of this node says; every process of the job must ask."""
        if self.world_size == 1:
            return text
        told: list[tuple[str, str]] = [("", "")] * self.world_size
        dist.all_gather_object(told, (self.node, text))
        return next(said for node, said in told if node == self.node)

    def sum(self, values: Tensor) -> Tensor:
        """The element-wise sum of a tensor over all processes, in place."""
        if self.world_size > 1:
            dist.all_reduce(values)
        return values

    def gather(self, values: Tensor) -> Tensor:
        """All processes' tensors of one shape, in the order of their ranks: [world size, *shape]."""
        if self.world_size == 1:
            return values[None].clone()
        gathered = [torch.empty_like(values) for _ in range(self.world_size)]
        dist.all_gather(gathered, values)
        return torch.stack(gathered)

    def any(self, device: torch.device, *flags: bool) -> list[bool]:
        """For each flag whether it is raised on any process."""
        if self.world_size == 1:
            return list(flags)
        return [raised > 0 for raised in self.sum(torch.tensor(flags, dtype=torch.int32, device=device)).tolist()]

    def told_by_main(self, value: Told) -> Told:
        """What the main process says; every process must ask."""
        if self.world_size == 1:
            return value
        told = [value]
        dist.broadcast_object_list(told)
        return told[0]

    def mean(self, values: Tensor) -> Tensor:
        """The element-wise mean of a tensor over all processes, in place."""
        return self.sum(values).div_(self.world_size)


def _integer(variables: Mapping[str, str], name: str, default: int | None = None) -> int:
    text = variables.get(name)
    if text is None:
        if default is None:
            raise ProcessSetupError(f"{name} is not set although others of the job's variables are")
        return default
    try:
        return int(text)
    except ValueError:
        raise ProcessSetupError(f"{name} is {text!r}, expected a whole number") from None


def _warn_of_contradictions(variables: Mapping[str, str]) -> None:
    for name, other in (("RANK", "OMPI_COMM_WORLD_RANK"), ("WORLD_SIZE", "OMPI_COMM_WORLD_SIZE")):
        if other in variables and variables[other] != variables.get(name):
            say(f"warning: {name} is {variables.get(name)} and {other} is {variables[other]}; {name} counts")


def _main(variables: Mapping[str, str]) -> tuple[str, int]:
    """Where rank 0 listens. Of MPI's variable only the host is taken: its port belongs to somebody else."""
    host, _, _ = variables.get("AZ_BATCH_MASTER_NODE", "127.0.0.1").partition(":")
    port = _integer(variables, "MASTER_PORT", DEFAULT_PORT)
    if not 0 < port < 65536:
        raise ProcessSetupError(f"MASTER_PORT is {port}, expected 1 to 65535")
    return "127.0.0.1" if _is_on_one_node(variables) else variables.get("MASTER_ADDR", host), port


def _is_on_one_node(variables: Mapping[str, str]) -> bool:
    """Whether Azure, torchrun or MPI says that all processes are on one node."""
    local, world = (variables.get(name) for name in ("LOCAL_WORLD_SIZE", "WORLD_SIZE"))
    if local is None:
        local, world = (variables.get(f"OMPI_COMM_WORLD_{name}") for name in ("LOCAL_SIZE", "SIZE"))
    return variables.get("AZUREML_NODE_COUNT") == "1" or (local is not None and local == world)
