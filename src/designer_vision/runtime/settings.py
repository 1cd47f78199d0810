"""What an operator may force, by environment variables; everything else the program chooses itself."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta

from designer_vision.runtime.errors import ParameterParsingError

PREFIX = "DESIGNER_VISION_"
RUNNER = f"{PREFIX}RUNNER"
"""The local runner sets it to its process, which the processes of a step then do not outlive."""
PRECISIONS = ("bfloat16", "float16", "float32")


@dataclass(frozen=True)
class Settings:
    """The operator's wishes; None where there is none.

    Attributes:
        precision: DESIGNER_VISION_PRECISION, the number format that networks compute in.
        data_workers: DESIGNER_VISION_DATA_WORKERS, processes that decode images for each training process.
        cache_megabytes: DESIGNER_VISION_CACHE_MB, memory for decoded images on each node.
        disk_cache_megabytes: DESIGNER_VISION_DISK_CACHE_MB, disk of each node for files that came over a network.
        start_timeout: DESIGNER_VISION_START_TIMEOUT, seconds that ranks wait for each other at the start.
        process_group_timeout: DESIGNER_VISION_PROCESS_GROUP_TIMEOUT, seconds that they wait for a step in training; a data worker
            or a checkpoint may take half of that.
        checkpoint_seconds: DESIGNER_VISION_CHECKPOINT_SECONDS, how much work may be lost at most.
        profile: DESIGNER_VISION_PROFILE, 1 to trace some steps of a training.
        compiled: DESIGNER_VISION_COMPILE, 1 to have torch compile the network that is trained.
        silence_timeout: process_group_timeout where that is set; else less, for a process of which nothing at all is heard.
    """

    precision: str | None = None
    data_workers: int | None = None
    cache_megabytes: int | None = None
    disk_cache_megabytes: int | None = None
    start_timeout: timedelta = timedelta(minutes=30)
    process_group_timeout: timedelta = timedelta(minutes=10)
    checkpoint_seconds: timedelta = timedelta(minutes=2)
    profile: bool = False
    compiled: bool = False
    silence_timeout: timedelta = timedelta(minutes=1)

    @property
    def patience(self) -> timedelta:
        """How long a data worker or a disk may take: less than the other ranks wait, so that the reason is told first."""
        return self.process_group_timeout / 2

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] | None = None) -> Settings:
        """Read and check the variables.

        Raises:
            ParameterParsingError: one has a value that makes no sense, by name.
        """
        variables = os.environ if environment is None else environment
        precision = variables.get(f"{PREFIX}PRECISION")
        if precision is not None and precision not in PRECISIONS:
            raise ParameterParsingError(f"{PREFIX}PRECISION is {precision!r}, expected one of {', '.join(PRECISIONS)}")
        return cls(
            precision,
            _whole_number(variables, "DATA_WORKERS", 0),
            _whole_number(variables, "CACHE_MB", 0),
            _whole_number(variables, "DISK_CACHE_MB", 0),
            _seconds(variables, "START_TIMEOUT", 1, cls.start_timeout),
            _seconds(variables, "PROCESS_GROUP_TIMEOUT", 2, cls.process_group_timeout),
            _seconds(variables, "CHECKPOINT_SECONDS", 0, cls.checkpoint_seconds),
            bool(_whole_number(variables, "PROFILE", 0)),
            bool(_whole_number(variables, "COMPILE", 0)),
            _seconds(variables, "PROCESS_GROUP_TIMEOUT", 2, cls.silence_timeout),
        )


def _seconds(variables: Mapping[str, str], name: str, least: int, default: timedelta) -> timedelta:
    number = _whole_number(variables, name, least)
    return default if number is None else timedelta(seconds=number)


def _whole_number(variables: Mapping[str, str], name: str, least: int) -> int | None:
    text = variables.get(PREFIX + name)
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) < 7 and int(text) >= least):
        raise ParameterParsingError(f"{PREFIX}{name} is {text!r}, expected a whole number from {least}")
    return int(text)
