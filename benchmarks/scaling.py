"""How the time of an epoch grows with the images, and shrinks (or not) with the processes: a table and a plot.

    python benchmarks/scaling.py FOLDER PICTURE [IMAGES...]

ResNet-18 on noise of 32 x 32 pixels, batch size 64 in all; 1, 2 and 4 processes share the CPUs. One run each.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from measure import conditions, run, say
from training import ranks, training_words, untrained

SIDE, CLASSES, BATCH_SIZE = 32, 10, 64
PROCESSES = (1, 2, 4)


def tiny_images(folder: Path, count: int) -> Path:
    """An ImageDirectory of noise; made once."""
    from designer_vision.data.images import encode_png
    from designer_vision.formats.image_directory import ImageDirectoryWriter
    from designer_vision.formats.image_index import ImageInfo, Row

    target = folder / f"tiny_{count}"
    if not (target / "_meta.yaml").exists():
        say(f"making {count} tiny images")
        draw = np.random.default_rng(count)
        contents = [encode_png(draw.integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)) for _ in range(100)]
        with ImageDirectoryWriter(target, [str(label) for label in range(CLASSES)]) as writer:
            for number in range(count):
                writer.add(contents[number % 100], ".png", Row(ImageInfo(width=SIDE, height=SIDE), str(number % CLASSES)))
    return target


def epoch_seconds(folder: Path, count: int, processes: int) -> float:
    """Of the first epoch's steps, by the images/s that its line says."""
    output = folder / "trained"
    words = training_words(
        untrained(folder, "resnet18"), tiny_images(folder, count), tiny_images(folder, 100), output, str(BATCH_SIZE // processes)
    )
    lines = "\n".join(line for _, line in run(words, ranks(processes), writes=[output]).lines)
    found = re.search(r"^(?:rank 0: )?epoch 1/1 \| ([\d.]+) images/s", lines, re.MULTILINE)
    assert found, lines
    return count / float(found[1])


def main(folder: Path, picture: Path, counts: list[int]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    seconds = {(count, 1): epoch_seconds(folder, count, 1) for count in counts}
    middle = counts[len(counts) // 2]
    seconds |= {(middle, processes): epoch_seconds(folder, middle, processes) for processes in PROCESSES[1:]}
    print("# An epoch's time against images and processes\n")
    print(f"ResNet-18 on noise of {SIDE} x {SIDE} pixels, batch size {BATCH_SIZE} over all processes, which share the CPUs.")
    print("One run each; the first epoch, with the imports that go on beside it.\n")
    print("| images | processes | seconds of an epoch | ms an image |\n|---|---|---|---|")
    for (count, processes), value in seconds.items():
        print(f"| {count} | {processes} | {value:.1f} | {value / count * 1000:.2f} |")
    print(f"\n![the same as pictures]({picture.name})\n")
    print(f"* Command: `python benchmarks/scaling.py FOLDER {picture.name} {' '.join(map(str, counts))}`")
    print(conditions(("torch", "torchvision")))
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.5), layout="constrained")
    left.loglog(counts, [seconds[count, 1] for count in counts], "o-")
    left.set(xlabel="images", ylabel="seconds of an epoch", title="one process")
    right.bar([str(processes) for processes in PROCESSES], [seconds[middle, processes] for processes in PROCESSES])
    right.set(xlabel="processes on the same CPUs", ylabel="seconds of an epoch", title=f"{middle} images")
    figure.savefig(picture, dpi=100)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), [int(word) for word in sys.argv[3:]] or [1_000, 10_000, 100_000])
