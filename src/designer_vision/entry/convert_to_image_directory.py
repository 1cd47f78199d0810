"""Convert to Image Directory: from what people have (a folder, an archive, COCO) to an ImageDirectory."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import click

from designer_vision import archives, images
from designer_vision.directories.image_directory import ImageDirectoryWriter, read_image_directory
from designer_vision.directories.image_index import ImageIndex, ImageInfo, Row
from designer_vision.directories.manifest import MANIFEST, hash_of_bytes
from designer_vision.directories.plain_folder import is_image
from designer_vision.entry.command_line import port, run
from designer_vision.errors import InvalidDatasetError
from designer_vision.machine import in_order


@click.command()
@port("input_dataset")
@port("output_image_directory")
def parse(input_dataset: Path, output_image_directory: Path) -> None:
    main(input_dataset, output_image_directory)


def main(input_dataset: Path, output_image_directory: Path) -> None:
    """Decode every image once, leave out and report the unreadable, and write the others with size and hash.

    Raises:
        InvalidDatasetError: there are no images, or none can be read.
        InvalidZipFileError: an archive cannot be unpacked.
    """
    with tempfile.TemporaryDirectory(prefix="designer_vision_") as scratch:
        index = read_image_directory(find_images(input_dataset, Path(scratch)))
        unreadable: list[str] = []
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
                    writer.add(content, Path(info.original_file_name).suffix, Row(info, index.row(number).category))
            if len(unreadable) == len(index):
                raise InvalidDatasetError(
                    f"none of the {len(index)} images in {input_dataset} can be read; the first: {unreadable[0]}"
                )
    if unreadable:
        print(f"warning: {len(unreadable)} of {len(index)} images cannot be read and are left out; the first of them:")
        print("\n".join(f"  {line}" for line in unreadable[:5]))
    print(f"{len(index) - len(unreadable)} images of {len(index.classes)} classes are in {output_image_directory}")


def find_images(dataset: Path, scratch: Path) -> Path:
    """The folder that holds the images: archives are unpacked into `scratch`, a single wrapping folder is entered."""
    if dataset.is_file():
        archives.unpack(dataset, scratch)
        return _unwrap(scratch)
    if not dataset.is_dir():
        raise InvalidDatasetError(f"{dataset} does not exist; expected a folder of images or an archive of one")
    entries = [entry for entry in dataset.iterdir() if not entry.name.startswith(".")]
    packed = [entry for entry in entries if entry.is_file() and archives.is_archive(entry)]
    if packed and not any(entry.is_dir() or is_image(entry.name) for entry in entries):
        for archive in packed:
            archives.unpack(archive, scratch)
        return _unwrap(scratch)
    return _unwrap(dataset)


def _unwrap(folder: Path) -> Path:
    """Enter folders that hold nothing but one folder, unless that one holds the images and so is a class."""
    while not (folder / MANIFEST).exists():
        entries = [entry for entry in folder.iterdir() if not entry.name.startswith(".") and entry.name != "__MACOSX"]
        if len(entries) != 1 or not entries[0].is_dir() or any(is_image(inner.name) for inner in entries[0].iterdir()):
            return folder
        folder = entries[0]
    return folder


def looked_at(index: ImageIndex) -> Iterator[tuple[bytes, ImageInfo] | InvalidDatasetError]:
    """Bytes and description of every image, or what is wrong with it, in order; decoded on all CPUs."""
    yield from in_order(lambda number: _look_at(index, number), len(index))


def _look_at(index: ImageIndex, number: int) -> tuple[bytes, ImageInfo] | InvalidDatasetError:
    name = index.names[number]
    try:
        content = images.read(index.path(number))
        height, width, _ = images.decode(content, name).shape
    except InvalidDatasetError as error:
        return error
    original = index.original_names[number] or name
    return content, ImageInfo(width=width, height=height, content_hash=hash_of_bytes(content), original_file_name=original)


if __name__ == "__main__":
    run(parse)
