"""How many data workers a process has: as many as its node has processors, shared memory and open files for."""

from __future__ import annotations

import multiprocessing.util
import os
import sys
import tempfile

import torch

from designer_vision.runtime.console import say
from designer_vision.runtime.errors import DataWorkerError
from designer_vision.runtime.machine import free_shared_memory, open_files_allowed

PREFETCHED = 2
"""Batches that a worker decodes ahead."""
BATCH_OVERHEAD, WORKER_OVERHEAD = 2 * 4096, 8 * 4096
"""Of shared memory, in bytes: the labels and the rest of a page; the semaphores of a worker's queues."""
OWN_FILES, FILES_OF_A_WORKER = 48, 16
SHARE_OF_SHARED_MEMORY = 0.5
WORKERS_A_CPU = 4
"""At most, whatever the operator asks for."""
LONGEST_FOLDER = 60
"""Bytes of a folder's name up to which multiprocessing's sockets fit into it: theirs has at most 104 on macOS, 108 on Linux."""
SHORT_FOLDERS = ("/tmp", "/dev/shm", "/var/tmp")  # noqa: S108 (multiprocessing makes a folder of its own there)


def worker_count(cpus: int, local_world_size: int, device: torch.device, forced: int | None = None) -> int:
    """Data workers of one process: the operator's number within reason, else its share of the CPUs; one where they also train."""
    if forced is not None:
        return min(forced, WORKERS_A_CPU * cpus)
    share = max(1, cpus // local_world_size)
    return 1 if device.type == "cpu" else min(share, 16)


def workers_that_fit(workers: int, batch_bytes: int, room: int) -> int:
    """As many workers as have room in shared memory for the batches they hand over.

    Args:
        workers: that are wanted.
        batch_bytes: of one batch.
        room: bytes of shared memory for this process.
    """
    batch = batch_bytes + BATCH_OVERHEAD
    return max(0, min(workers, (room - batch) // ((PREFETCHED + 1) * batch + WORKER_OVERHEAD)))


def shared_memory_for_batches(local_world_size: int = 1) -> int:
    """Bytes of shared memory that each of this node's processes may use; very many where there is no such place."""
    room = free_shared_memory()
    return sys.maxsize if room is None else int(room * SHARE_OF_SHARED_MEMORY) // local_world_size


def workers_within_limits(wanted: int, batch_bytes: int, local_world_size: int = 1, is_told: bool = True) -> int:
    """As many of the data workers of a process as the system has shared memory and open files for.

    Args:
        wanted: workers.
        batch_bytes: of one batch.
        local_world_size: processes of this node that have as many.
        is_told: whether it is said where they are fewer.
    """
    room, files = shared_memory_for_batches(local_world_size), open_files_allowed()
    workers = workers_that_fit(wanted, batch_bytes, room)
    workers = max(0, min(workers, (files - OWN_FILES) // FILES_OF_A_WORKER))
    if workers < wanted and is_told:
        memory = f"{room / 1e6:.1f} MB of shared memory (more with shm_size in the node's resources) and "
        limits = f"{memory if room < sys.maxsize else ''}{files} open files (ulimit -n)"
        say(f"warning: {workers} of {wanted} data workers per process fit into {limits}")
    return workers


def keep_sockets_short() -> None:
    """Have workers hand over their batches by sockets in a short folder where the temporary one's name is too long for them.

    Raises:
        DataWorkerError: none of the short folders can be written. Workers would wait for each other for ever.
    """
    before, folder = tempfile.tempdir, tempfile.gettempdir()
    if len(os.fsencode(folder)) <= LONGEST_FOLDER:
        return
    for short in SHORT_FOLDERS:
        tempfile.tempdir = short
        try:
            multiprocessing.util.get_temp_dir()  # made once, and kept by this process and its workers
        except OSError:
            continue
        finally:
            tempfile.tempdir = before
        return
    raise DataWorkerError(
        f"the temporary folder's name is too long for data workers: {folder}; set TMPDIR to a folder whose path has at most "
        f"{LONGEST_FOLDER} letters, or DESIGNER_VISION_DATA_WORKERS to 0"
    )
