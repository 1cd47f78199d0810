"""Convert to Image Directory: from what people have (a folder, an archive, a file of labels) to an ImageDirectory."""

from __future__ import annotations

import tempfile
import time
from array import array
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np

from designer_vision.components.odd_data import look_alike_labels, repeated_pictures
from designer_vision.data import images
from designer_vision.data.images import ADVICE
from designer_vision.data.read_ahead import reading
from designer_vision.formats import archives
from designer_vision.formats import left_out as leaving
from designer_vision.formats.image_directory import ImageDirectoryWriter, read_image_directory, told
from designer_vision.formats.image_index import ImageIndex, ImageInfo, Row
from designer_vision.formats.left_out import LeftOut, by_folder, count, kind_of, readable
from designer_vision.formats.plain_folder import SUFFIXES, unwrap, visible
from designer_vision.runtime.console import printable, say
from designer_vision.runtime.errors import InvalidDatasetError
from designer_vision.runtime.files import hash_of_bytes
from designer_vision.runtime.machine import in_order
from designer_vision.runtime.progress import Progress

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
        index, left_out = read(input_dataset, Path(scratch))
        unreadable: list[str] = []
        labels, hashes = array("i"), bytearray()
        progress = Progress(len(index))
        writer = ImageDirectoryWriter(
            output_image_directory,
            index.classes,
            transformation=index.transformation,
            random_operations=index.random_operations,
            weighting=index.weighting,
            left_out=left_out,
        )
        with writer:
            for number, seen in enumerate(looked_at(index)):
                name = index.names[number]
                if isinstance(seen, InvalidDatasetError):
                    unreadable.append(seen.message.removesuffix(f"; {ADVICE}"))
                    count(left_out, leaving.UNREADABLE, name)
                else:
                    writer.add(seen.content, seen.suffix, Row(seen.info, index.row(number).category))
                    labels.append(int(index.labels[number]))
                    hashes += bytes.fromhex(str(seen.info.content_hash))
                progress.step()
            write_list(output_image_directory / UNREADABLE, [*unreadable, *index.not_found], left_out)
            if len(unreadable) == len(index):
                raise InvalidDatasetError(
                    f"none of the {len(index)} images in {input_dataset} can be read; the first: {unreadable[0]}"
                )
    if index.labels_from:
        say(f"the labels come from {index.labels_from}")
    for warning in [
        *(f"{input_dataset}: {note}" for note in index.notes),
        *look_alike_labels(index.classes),
        *repeated_pictures(np.asarray(labels), np.frombuffer(hashes, "S16"), index.classes),
    ]:
        say(f"warning: {warning}")
    if unreadable:
        place = output_image_directory / UNREADABLE
        say(f"warning: {len(unreadable)} of {len(index)} images cannot be read and are left out (see {place}); the first:")
        for line in unreadable[:5]:
            say(f"  {line}")
    found = f"{len(labels):,} images of {len(index.classes):,} classes"
    if left_out:
        say(f"warning: {found}; left out: {told(left_out)}")
    say(f"{found} are in {output_image_directory}")
    say(f"{len(index)} images read, {len(index) / (time.perf_counter() - start):.1f} images/s")


def read(dataset: Path, scratch: Path) -> tuple[ImageIndex, LeftOut]:
    """The images of a folder or an archive, and what is not used in it, to be added to.

    Raises:
        InvalidDatasetError: naming the dataset, also where the folder is one that an archive was unpacked to.
    """
    folder, left_out = find_images(dataset, scratch)
    try:
        index = read_image_directory(folder, original_names=True)
    except InvalidDatasetError as error:
        raise InvalidDatasetError(error.message.replace(str(folder), str(dataset))) from error
    for kind, folders in index.left_out.items():
        for place, files in folders.items():
            count(left_out, kind, f"{place}/x", files)
    return index, left_out


def write_list(path: Path, unreadable: Sequence[str], left_out: LeftOut) -> None:
    """A line for each image that cannot be read or is not there, then one for each folder and kind of what else is not used."""
    others = {kind: folders for kind, folders in left_out.items() if kind != leaving.UNREADABLE}
    with path.open("w", encoding="utf-8") as file:
        for line in (*unreadable, *by_folder(others)):
            file.write(f"{printable(line)}\n")


def find_images(dataset: Path, scratch: Path) -> tuple[Path, LeftOut]:
    """The folder that holds the images, archives in it unpacked into `scratch`, and what was not unpacked."""
    left_out: LeftOut = {}
    if not dataset.exists():
        raise InvalidDatasetError(f"{dataset} does not exist; expected a folder of images or an archive of one")
    if not (dataset.is_dir() or dataset.is_file()):
        raise InvalidDatasetError(f"{dataset} is a pipe or a device; expected a folder of images or an archive of one")
    budget: archives.Budget | None = None
    for depth in range(MAX_ARCHIVES_DEEP):
        root = dataset
        dataset, packed = (dataset, [dataset]) if dataset.is_file() else unwrap(dataset)
        for found in (dataset, *packed):
            if not found.resolve().is_relative_to(root.resolve()):
                raise InvalidDatasetError(f"{found} is a link that points outside {root}; give the folder that it leads to")
        if not packed:
            return dataset, left_out
        if dataset.is_dir():
            for other in visible(dataset):
                if other.name.endswith(".json"):
                    raise InvalidDatasetError(
                        f"{dataset / other.name} lies beside archives and cannot name the images in them; unpack them beside it"
                    )
                if dataset / other.name not in packed:
                    count(left_out, kind_of(other.name), other.name)
        budget = budget or archives.Budget(packed)
        dataset = scratch / str(depth)
        for archive in packed:
            say(f"unpacking {archive}")
            if hidden := archives.unpack(archive, dataset, budget):
                count(left_out, leaving.HIDDEN, archive.name, hidden)
    raise InvalidDatasetError(f"{dataset} has archives in archives in archives; unpack it and give the folder of images")


@dataclass(frozen=True)
class Seen:
    """An image that was decoded, as it is written."""

    content: bytes
    suffix: str
    info: ImageInfo


def looked_at(index: ImageIndex) -> Iterator[Seen | InvalidDatasetError]:
    """Every image, or what is wrong with it, in order; decoded on all CPUs."""
    with reading(index, range(len(index))) as read:
        yield from in_order(lambda number: _look_at(index, read, number), len(index))


def _look_at(index: ImageIndex, read: Callable[[int], bytes], number: int) -> Seen | InvalidDatasetError:
    name = index.names[number]
    try:
        content = read(number)
        pixels = images.decode(content, name)
    except InvalidDatasetError as error:
        return error
    height, width, _ = pixels.shape
    written, suffix = images.readable_by_all(content, pixels)
    if written is content and (own := PurePosixPath(name).suffix.lower()) in SUFFIXES:
        suffix = own
    original = readable(index.original_names[number] or name)
    info = ImageInfo(width=width, height=height, content_hash=hash_of_bytes(written), original_file_name=original)
    return Seen(written, suffix, info)
