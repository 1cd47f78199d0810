"""What Train PyTorch Model computes with: a GPU or cores, data workers, and memory for decoded images."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack

import numpy as np
import torch

from designer_vision.data.cache import PixelCache, Sizes, shared_cache
from designer_vision.data.disk_cache import DiskCache, free_disk, shared_disk_cache
from designer_vision.data.preprocessing import Preprocessing
from designer_vision.data.workers import worker_count, workers_within_limits
from designer_vision.formats.image_index import ImageIndex
from designer_vision.runtime.console import say
from designer_vision.runtime.machine import available_cpus, available_memory, is_far, keep_freed_memory
from designer_vision.runtime.precision import choose_precision
from designer_vision.runtime.settings import Settings
from designer_vision.training.ranks import Ranks
from designer_vision.training.recipe import Hardware

SHARE_OF_MEMORY = 0.25
"""Of what is free at the start, for decoded images: the network and the page cache need the rest."""


def precision_for(ranks: Ranks, gpus: int, settings: Settings, side: int) -> str:
    """What this process will compute with and in, before it has met the others: "cuda, bfloat16"."""
    device = torch.device("cuda", min(ranks.local_rank, gpus - 1)) if gpus else torch.device("cpu")
    return f"{device.type}, {str(choose_precision(device, settings.precision, side)).removeprefix('torch.')}"


def mixed_gpus(names: Sequence[str]) -> list[str]:
    """A warning where the processes compute on GPUs of several kinds; of the names of all."""
    kinds = Counter(names)
    if len(kinds) < 2:
        return []
    told = ", ".join(f"{number} on {name}" for name, number in kinds.items())
    return [f"the processes have GPUs of several kinds ({told}); all wait for the slowest"]


def choose_hardware(ranks: Ranks, device: torch.device, settings: Settings, batch_bytes: int, side: int) -> Hardware:
    """What this process computes with: its GPU, or its share of the node's CPUs.

    Args:
        ranks, device: of this process.
        settings: the operator's.
        batch_bytes: of a decoded batch.
        side: the shorter one of the images.
    """
    if device.type == "cuda":
        torch.cuda.set_device(device)
        torch.backends.cudnn.benchmark = True  # images have one size, so the fastest convolution is worth a trial
        gpus = torch.cuda.device_count()
        if ranks.is_main and ranks.local_world_size < gpus:
            say(
                f"warning: {ranks.local_world_size} of the {gpus} GPUs of this node are used; "
                f"set process_count_per_instance to {gpus}"
            )
    else:
        torch.set_num_threads(max(1, available_cpus() // ranks.local_world_size))
        keep_freed_memory()
    wanted = worker_count(available_cpus(), ranks.local_world_size, device, settings.data_workers)
    workers = workers_within_limits(wanted, batch_bytes, ranks.local_world_size, ranks.is_main)
    precision = choose_precision(device, settings.precision, side)
    return Hardware(device, precision, workers, settings.patience, settings.compiled)


Kept = tuple[PixelCache | None, DiskCache | None]


def keep_images(
    stack: ExitStack,
    training: ImageIndex,
    validation: ImageIndex,
    preprocessing: Preprocessing,
    epochs: int,
    ranks: Ranks,
    settings: Settings,
) -> tuple[Kept, Kept]:
    """What the training and the validation images are kept in, shared by the processes of this node while the stack is open.

    They are kept in memory once decoded, as far as there is room; the files of the others on disk, where they came from far.
    """
    memory = disk = 0
    if ranks.is_first_of_node and epochs > 1:
        forced = settings.cache_megabytes
        memory = int(available_memory() * SHARE_OF_MEMORY) if forced is None else forced * 10**6
        forced = settings.disk_cache_megabytes
        disk = free_disk(None if forced is None else forced * 10**6)
    fitted = np.array([preprocessing.size], np.int32)
    prepared = np.broadcast_to(fitted, (len(training), 2)) if preprocessing.operations else training.all_sizes()
    shared = ranks.is_first_of_node, ranks.broadcast_on_node

    def keep(images: ImageIndex, sizes: Sizes, memory: int, name: str) -> Kept:
        in_memory = stack.enter_context(shared_cache(sizes, memory, *shared))
        number, size = (len(in_memory), in_memory.size) if in_memory else (0, 0)
        room = disk * len(images) // (len(training) + len(validation))
        is_wanted = number < len(images) and is_far(images.folder)
        on_disk = stack.enter_context(shared_disk_cache(len(images), room if is_wanted else 0, *shared))
        if ranks.is_main and in_memory:
            say(f"kept in memory once decoded: {number} of {len(images)} images to {name}, {size / 1e6:.0f} MB")
        if ranks.is_main and on_disk:
            others = f"{len(images) - number} images to {name}"
            say(f"kept on local disk once read from {images.folder}: the files of {others}, up to {room / 1e6:.0f} MB")
        return in_memory, on_disk

    to_train = keep(training, prepared, memory, "train")
    left = memory - (to_train[0].size if to_train[0] else 0)
    return to_train, keep(validation, np.broadcast_to(fitted, (len(validation), 2)), left, "validate")
