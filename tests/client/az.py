"""README's lines for `az ml`, as the calls of the client that its extension makes of them.

The extension is not on any package index that the tests can reach; what it does with `--file` and `--set` is a load function of the same
client, with `params_override`. Flags are those of its reference; another one is an error here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from azure.ai.ml import (
    MLClient,
    load_batch_endpoint,
    load_component,
    load_data,
    load_job,
    load_online_deployment,
    load_online_endpoint,
)
from azure.ai.ml.entities import AmlCompute, Model
from azure.ai.ml.entities._load_functions import load_model_batch_deployment

Flags = Mapping[str, Any]


@dataclass(frozen=True)
class Command:
    """One `az ml` command: its flags, and what the client is asked.

    Attributes:
        flags: that have a value; `--set` may be given several times, and then is a list.
        switches: that have none.
        call: given the client and the flags.
    """

    flags: set[str]
    call: Callable[[MLClient, Flags], Any]
    switches: frozenset[str] = frozenset()


def loaded(load: Callable[..., Any], flags: Flags, **names: str) -> Any:
    """What a YAML describes, with the values of `--set`, and of the flags that stand for a field."""
    overrides = [dict([text.split("=", 1)]) for text in flags.get("set", [])]
    overrides += [{field: flags[flag]} for flag, field in names.items() if flag in flags]
    return load(flags["file"], params_override=overrides)


def waited(poller: Any) -> Any:
    """The end of what takes long."""
    return poller.result()


COMMANDS: dict[str, Command] = {
    "job create": Command({"file", "name", "set"}, lambda c, f: c.jobs.create_or_update(loaded(load_job, f, name="name"))),
    "job stream": Command({"name"}, lambda c, f: c.jobs.stream(f["name"])),
    "job download": Command({"name", "output-name"}, lambda c, f: c.jobs.download(f["name"], output_name=f["output-name"])),
    "component create": Command({"file", "set"}, lambda c, f: c.components.create_or_update(loaded(load_component, f))),
    "data create": Command({"file", "path"}, lambda c, f: c.data.create_or_update(loaded(load_data, f, path="path"))),
    "model create": Command({"name", "type", "path"}, lambda c, f: c.models.create_or_update(Model(**f))),
    "online-endpoint create": Command(
        {"file", "name"},
        lambda c, f: waited(c.online_endpoints.begin_create_or_update(loaded(load_online_endpoint, f, name="name"))),
    ),
    "online-deployment create": Command(
        {"file", "endpoint-name"},
        lambda c, f: waited(
            c.online_deployments.begin_create_or_update(loaded(load_online_deployment, f, **{"endpoint-name": "endpoint_name"}))
        ),
        frozenset({"all-traffic"}),
    ),
    "online-endpoint invoke": Command(
        {"name", "request-file"}, lambda c, f: c.online_endpoints.invoke(f["name"], request_file=f["request-file"])
    ),
    "online-endpoint delete": Command(
        {"name"}, lambda c, f: waited(c.online_endpoints.begin_delete(f["name"])), frozenset({"yes"})
    ),
    "compute create": Command(
        {"name", "type", "size", "min-instances", "max-instances"},
        lambda c, f: waited(
            c.compute.begin_create_or_update(
                AmlCompute(
                    name=f["name"], size=f["size"], min_instances=int(f["min-instances"]), max_instances=int(f["max-instances"])
                )
            )
        ),
    ),
    "batch-endpoint create": Command(
        {"file", "name"},
        lambda c, f: waited(c.batch_endpoints.begin_create_or_update(loaded(load_batch_endpoint, f, name="name"))),
    ),
    "batch-deployment create": Command(
        {"file", "endpoint-name"},
        lambda c, f: waited(
            c.batch_deployments.begin_create_or_update(
                loaded(load_model_batch_deployment, f, **{"endpoint-name": "endpoint_name"})
            )
        ),
        frozenset({"set-default"}),
    ),
    "batch-endpoint delete": Command(
        {"name"}, lambda c, f: waited(c.batch_endpoints.begin_delete(f["name"])), frozenset({"yes"})
    ),
}


def parsed(words: Sequence[str]) -> tuple[Command, dict[str, Any]]:
    """The command of a line and its flags.

    Args:
        words: behind `az ml`.
    """
    command = COMMANDS[" ".join(words[:2])]
    flags: dict[str, Any] = {}
    rest = list(words[2:])
    while rest:
        flag = {"-f": "file", "-n": "name"}.get(word := rest.pop(0), word.removeprefix("--"))
        if flag in command.switches:
            continue
        assert word.startswith("-"), f"{word} is no flag"
        assert flag in command.flags, f"az ml {' '.join(words[:2])} has no --{flag}"
        value = rest.pop(0)
        if flag == "set":
            flags.setdefault("set", []).append(value)
        else:
            assert flag not in flags, flag
            flags[flag] = value
    return command, flags
