"""Convert to Image Directory: from what people have (a folder, an archive, COCO) to an ImageDirectory."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from designer_vision import archives, images
from designer_vision.console import printable, say
from designer_vision.directories.image_directory import ImageDirectoryWriter, read_image_directory
from designer_vision.directories.image_index import ImageIndex, ImageInfo, Row
from designer_vision.directories.manifest import MANIFEST
from designer_vision.directories.plain_folder import is_image, readable
from designer_vision.errors import InvalidDatasetError
from designer_vision.files import hash_of_bytes
from designer_vision.machine import in_order
from designer_vision.progress import Progress

UNREADABLE = "unreadable.txt"
MAX_ARCHIVES_DEEP = 3


def main(input_dataset: Path, output_image_directory: Path) -> None:
    """Decode every image once, leave out and report the unreadable, and write the others with size and hash.

    Raises:
        InvalidDatasetError: there are no images, or none can be read.
        InvalidZipFileError: an archive cannot be unpacked.
    """
    start = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="designer_vision_") as scratch:
        index = read_image_directory(find_images(input_dataset, Path(scratch)), original_names=True)
        unreadable: list[str] = []
        progress = Progress(len(index))
        writer = ImageDirectoryWriter(
            output_image_directory,
            index.classes,
            transformation=index.transformation,
            random_operations=index.random_operations,
        )
        with writer:
            for number, seen in enumerate(looked_at(index)):
                if isinstance(seen, InvalidDatasetError):
                    unreadable.append(f"{index.names[number]}: {seen.message}")
                else:
                    content, info = seen
                    writer.add(content, Path(index.names[number]).suffix, Row(info, index.row(number).category))
                progress.step()
            lines = "".join(f"{printable(line)}\n" for line in unreadable)
            (output_image_directory / UNREADABLE).write_text(lines, encoding="utf-8")
            if len(unreadable) == len(index):
                raise InvalidDatasetError(
                    f"none of the {len(index)} images in {input_dataset} can be read; the first: {unreadable[0]}"
                )
    if unreadable:
        say(f"warning: {len(unreadable)} of {len(index)} images cannot be read and are left out, see {UNREADABLE}:")
        for line in unreadable[:5]:
            say(f"  {line}")
    say(f"{len(index) - len(unreadable)} images of {len(index.classes)} classes are in {output_image_directory}")
    say(f"{len(index)} images looked at, {len(index) / (time.perf_counter() - start):.1f} images/s")


def find_images(dataset: Path, scratch: Path) -> Path:
    """The folder that holds the images: folders around it are entered, archives in it unpacked into `scratch`."""
    if not dataset.exists():
        raise InvalidDatasetError(f"{dataset} does not exist; expected a folder of images or an archive of one")
    if not (dataset.is_dir() or dataset.is_file()):
        raise InvalidDatasetError(f"{dataset} is a pipe or a device; expected a folder of images or an archive of one")
    budget: archives.Budget | None = None
    for depth in range(MAX_ARCHIVES_DEEP):
        root = dataset
        packed = [dataset] if dataset.is_file() else _only_archives(dataset := _unwrap(dataset))
        for found in (dataset, *packed):
            if not found.resolve().is_relative_to(root.resolve()):
                raise InvalidDatasetError(f"{found} is a link that leads out of {root}; give the folder that it leads to")
        if not packed:
            return dataset
        budget = budget or archives.Budget(packed)
        dataset = scratch / str(depth)
        for archive in packed:
            say(f"unpacking {archive}")
            archives.unpack(archive, dataset, budget)
    raise InvalidDatasetError(f"{dataset} has archives in archives in archives; unpack it and give the folder of images")


def _visible(folder: Path) -> list[Path]:
    return sorted(entry for entry in folder.iterdir() if not entry.name.startswith(".") and entry.name != "__MACOSX")


def _unwrap(folder: Path) -> Path:
    """Enter folders that hold nothing but one folder, unless that one holds images only, and so is a class."""
    while not (folder / MANIFEST).exists():
        entries = _visible(folder)
        if len(entries) != 1 or not entries[0].is_dir():
            return folder
        inner = _visible(entries[0])
        if any(is_image(entry.name) for entry in inner) and not any(entry.suffix == ".json" for entry in inner):
            return folder
        folder = entries[0]
    return folder


def _only_archives(folder: Path) -> list[Path]:
    """The archives of a folder that has neither folders nor images."""
    entries = _visible(folder)
    packed = [entry for entry in entries if entry.is_file() and archives.is_archive(entry)]
    return [] if any(entry.is_dir() or is_image(entry.name) for entry in entries) else packed


def looked_at(index: ImageIndex) -> Iterator[tuple[bytes, ImageInfo] | InvalidDatasetError]:
    """Bytes and description of every image, or what is wrong with it, in order; decoded on all CPUs."""
    yield from in_order(lambda number: _look_at(index, number), len(index))


def _look_at(index: ImageIndex, number: int) -> tuple[bytes, ImageInfo] | InvalidDatasetError:
    name = index.names[number]
    try:
        content = index.read(number)
        height, width, _ = images.decode(content, name).shape
    except InvalidDatasetError as error:
        return error
    original = readable(index.original_names[number] or name)
    return content, ImageInfo(width=width, height=height, content_hash=hash_of_bytes(content), original_file_name=original)
