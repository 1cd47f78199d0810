"""Training steps a second with and without keep_freed_memory: ResNet-18, 224 x 224, bfloat16, channels last, from memory.

    python benchmarks/allocator.py [RUNS]

Each figure comes from a process of its own; kinds alternate, so that a disturbance hits both. Prints a Markdown table.
"""

from __future__ import annotations

import resource
import statistics
import subprocess
import sys
import time

IMAGES = 96
KINDS = ("given back", "kept")


def measure(kind: str, batch_size: int) -> None:
    """Print images/s, page faults a second and the peak resident size in MB of one process."""
    import torch
    import torchvision

    from designer_vision.runtime.machine import available_cpus, keep_freed_memory
    from designer_vision.training.optimizer import make_optimizer

    if kind == "kept":
        keep_freed_memory()
    torch.set_num_threads(available_cpus())
    network = torchvision.models.resnet18(num_classes=10).to(memory_format=torch.channels_last)
    optimizer = make_optimizer(network, 0.01)
    images = torch.randn(batch_size, 3, 224, 224).to(memory_format=torch.channels_last)
    labels = torch.randint(10, (batch_size,))

    def step() -> None:
        with torch.autocast("cpu", torch.bfloat16):
            logits = network(images)
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(logits.float(), labels).backward()
        optimizer.step()

    for _ in range(2):
        step()
    faults, start = resource.getrusage(resource.RUSAGE_SELF).ru_minflt, time.perf_counter()
    steps = max(3, IMAGES // batch_size)
    for _ in range(steps):
        step()
    seconds = time.perf_counter() - start
    usage = resource.getrusage(resource.RUSAGE_SELF)
    print(steps * batch_size / seconds, (usage.ru_minflt - faults) / seconds, usage.ru_maxrss / 1024)


def main(runs: int) -> None:
    cells = [(kind, batch_size) for batch_size in (16, 64) for kind in KINDS]
    figures: dict[tuple[str, int], list[list[float]]] = {cell: [] for cell in cells}
    for _ in range(runs):
        for kind, batch_size in cells:
            command = [sys.executable, __file__, "--measure", kind, str(batch_size)]
            output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
            figures[kind, batch_size].append([float(word) for word in output.split()])
    print("| batch | freed memory | images/s, median (min to max) | page faults/s | peak MB |\n|---|---|---|---|---|")
    for kind, batch_size in cells:
        speeds, faults, sizes = zip(*figures[kind, batch_size], strict=True)
        spread = f"{statistics.median(speeds):.1f} ({min(speeds):.1f} to {max(speeds):.1f})"
        print(f"| {batch_size} | {kind} | {spread} | {statistics.median(faults):.0f} | {statistics.median(sizes):.0f} |")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--measure"]:
        measure(sys.argv[2], int(sys.argv[3]))
    else:
        main(int(sys.argv[1]) if len(sys.argv) > 1 else 5)
