"""How long an images.lst of ImageNet's size takes to become an index, and how much memory.

    python benchmarks/index.py FOLDER [ROWS]

Writes the list into FOLDER (once) and reads it in a process of its own, five times.
"""

from __future__ import annotations

import json
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path

CLASSES = 1000


def write(folder: Path, rows: int) -> None:
    """An ImageDirectory without its images."""
    from designer_vision.formats.image_directory import schema
    from designer_vision.formats.manifest import Manifest, write_manifest

    folder.mkdir(parents=True)
    with (folder / "images.lst").open("w") as file:
        for number in range(rows):
            label = number % CLASSES
            info = f'"file_name":"image/{label}_{number}.jpg","width":500,"height":375,"content_hash":"{number * 7919:032x}"'
            info += f',"original_file_name":"n{label:08}/n{label:08}_{number}.JPEG"'
            file.write(f'{{"image_info":{{{info}}},"category":"n{label:08}","id":{number}}}\n')
    (folder / "_schema.json").write_text(json.dumps(schema(["x"])))
    manifest = Manifest("ImageDirectory", image_list="images.lst", schema="_schema.json")
    write_manifest(folder, manifest, hashed=["images.lst", "_schema.json"])


def measure(folder: Path) -> None:
    """Print seconds, MB of growth, MB at the peak, rows, and the seconds of an epoch's order.

    A list of ten rows is read before: what Arrow's libraries take when they are used first (50 MB) is no part of it.
    """
    from designer_vision.data.epoch_order import epoch_order, shard
    from designer_vision.formats.image_directory import read_image_directory

    def resident() -> float:
        return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / 2**20

    read_image_directory(folder / "small")
    before, start = resident(), time.perf_counter()
    index = read_image_directory(folder)
    seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    start = time.perf_counter()
    shard(epoch_order(len(index), 1, 1), 0, 8)
    print(seconds, resident() - before, peak - before, len(index), time.perf_counter() - start)


def main(folder: Path, rows: int) -> None:
    if not folder.exists():
        write(folder, rows)
        write(folder / "small", 10)
    command = [sys.executable, __file__, "--measure", str(folder)]
    runs = [[float(word) for word in subprocess.check_output(command, text=True).split()] for _ in range(5)]
    seconds, growth, peak, count, order = zip(*runs, strict=True)
    print(f"{count[0]:.0f} rows: {statistics.median(seconds):.2f} s ({min(seconds):.2f} to {max(seconds):.2f}), ", end="")
    print(f"{statistics.median(growth):.0f} MB of growth, {statistics.median(peak):.0f} MB at the peak; ", end="")
    print(f"an epoch's order and a rank's shard in {statistics.median(order):.3f} s")


if __name__ == "__main__":
    if sys.argv[1] == "--measure":
        measure(Path(sys.argv[2]))
    else:
        main(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 1_281_167)
