"""What Azure ML, torchrun or MPI tell each process of a job in its environment."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from typing import Any

from designer_vision.runtime.console import say
from designer_vision.runtime.errors import ProcessSetupError

DEFAULT_PORT = 29500


def place_of(variables: Mapping[str, str]) -> dict[str, Any]:
    """The process's place as `Ranks` names it; nothing for one that is alone.

    Raises:
        ProcessSetupError: a variable is missing, no number, or outside its range.
    """
    if "RANK" in variables or "WORLD_SIZE" in variables:
        names = ["RANK", "WORLD_SIZE", "LOCAL_RANK"]
        _warn_of_contradictions(variables)
    elif "OMPI_COMM_WORLD_RANK" in variables:
        names = [f"OMPI_COMM_WORLD_{name}" for name in ("RANK", "SIZE", "LOCAL_RANK")]
    else:
        return {}
    rank, world_size = _integer(variables, names[0]), _integer(variables, names[1])
    if world_size < 1 or not 0 <= rank < world_size:
        raise ProcessSetupError(f"{names[0]} is {rank} and {names[1]} is {world_size}; it must be from 0 to one less")
    local_rank = _integer(variables, names[2], rank)
    if not 0 <= local_rank < world_size:
        raise ProcessSetupError(f"{names[2]} is {local_rank}, expected 0 to {world_size - 1}")
    address, port = _main(variables)
    node = variables.get("NODE_RANK") or variables.get("GROUP_RANK") or socket.gethostname()  # Azure's, torchrun's
    has_store = variables.get("TORCHELASTIC_USE_AGENT_STORE") == "True"
    attempt = variables.get("TORCHELASTIC_RESTART_COUNT", "0") if has_store else ""
    return {
        "rank": rank,
        "world_size": world_size,
        "local_rank": local_rank,
        "node": node,
        "main_address": address,
        "main_port": port,
        "attempt": attempt,
    }


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
            say(f"warning: {name} is {variables.get(name)} and {other} is {variables[other]}; {name} is used")


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
