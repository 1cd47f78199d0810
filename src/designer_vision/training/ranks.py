"""Which process of the job this is, read once from the environment."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import Tensor

from designer_vision.errors import ProcessSetupError

DEFAULT_PORT = 29500


@dataclass(frozen=True)
class Ranks:
    """The place of this process among all processes of the job.

    Attributes:
        rank: number of this process in the job; 0 is the main one, which alone writes and logs.
        world_size: number of processes in the job.
        local_rank: number of this process on its node, and so of its GPU.
        local_world_size: number of processes on this node.
        main_address, main_port: where rank 0 listens.
    """

    rank: int = 0
    world_size: int = 1
    local_rank: int = 0
    local_world_size: int = 1
    main_address: str = "127.0.0.1"
    main_port: int = DEFAULT_PORT

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
            names = ["RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE"]
        elif "OMPI_COMM_WORLD_RANK" in variables:
            names = [f"OMPI_COMM_WORLD_{name}" for name in ("RANK", "SIZE", "LOCAL_RANK", "LOCAL_SIZE")]
        else:
            return cls()
        rank, world_size = _integer(variables, names[0]), _integer(variables, names[1])
        if world_size < 1 or not 0 <= rank < world_size:
            raise ProcessSetupError(f"{names[0]} is {rank} and {names[1]} is {world_size}; expected 0 <= rank < world size")
        local_rank = _integer(variables, names[2], rank)
        local_world_size = _integer(variables, names[3], _processes_on_node(variables, rank, local_rank, world_size))
        if not 0 <= local_rank < world_size or local_world_size < 1:
            raise ProcessSetupError(f"{names[2]} is {local_rank}, expected 0 to {world_size - 1}")
        address, port = _main(variables)
        return cls(rank, world_size, local_rank, local_world_size, address, port)

    def device(self, gpus: int) -> torch.device:
        """The GPU of this process on a node with that many, or the CPU where there are none.

        Raises:
            ProcessSetupError: there are more processes on the node than GPUs.
        """
        if gpus == 0:
            return torch.device("cpu")
        if self.local_rank >= gpus:
            processes = max(self.local_world_size, self.local_rank + 1)
            raise ProcessSetupError(
                f"process_count_per_instance {processes} is larger than the {gpus} GPUs of this node; set it to {gpus}"
            )
        return torch.device("cuda", self.local_rank)

    @contextmanager
    def connected(self, device: torch.device, timeout: timedelta) -> Iterator[None]:
        """Join the process group for the length of the block; a process that is alone has none.

        Args:
            device: of this process: NCCL connects GPUs, gloo CPUs.
            timeout: how long ranks wait for each other, at the start and in training.
        """
        if self.world_size == 1:
            yield
            return
        os.environ["MASTER_ADDR"], os.environ["MASTER_PORT"] = self.main_address, str(self.main_port)
        try:
            dist.init_process_group(
                "nccl" if device.type == "cuda" else "gloo", rank=self.rank, world_size=self.world_size, timeout=timeout
            )
        except (RuntimeError, ValueError) as error:
            raise ProcessSetupError(
                f"rank {self.rank} could not join the {self.world_size} processes at "
                f"{self.main_address}:{self.main_port}: {str(error).splitlines()[0]}"
            ) from error
        yield
        dist.destroy_process_group()  # not after an exception: its peers may be gone, and the process is about to end

    def sum(self, values: Tensor) -> Tensor:
        """The element-wise sum of a tensor over all processes, in place."""
        if self.world_size > 1:
            dist.all_reduce(values)
        return values

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


def _processes_on_node(variables: Mapping[str, str], rank: int, local_rank: int, world_size: int) -> int:
    """How many processes a node has, where nothing says it: Azure numbers ranks node by node, NODE_RANK x count + local."""
    node = _integer(variables, "NODE_RANK", 0)
    if node > 0 and (rank - local_rank) % node == 0:
        return max(1, (rank - local_rank) // node)
    return world_size


def _main(variables: Mapping[str, str]) -> tuple[str, int]:
    host, _, port = variables.get("AZ_BATCH_MASTER_NODE", "127.0.0.1").partition(":")
    return variables.get("MASTER_ADDR", host), _integer(variables, "MASTER_PORT", int(port or DEFAULT_PORT))
