"""Files that name images and their labels: AutoML's JSON lines, alone or in an MLTable, COCO, and CSV with a file and a label.

train_annotations.jsonl   {"image_url": "azureml://…/datastores/NAME/paths/photos/cats/1.jpg", "label": "cat"}  an image a line
MLTable                   paths: [{file: ./train_annotations.jsonl}]
labels.csv                file_name,label  (separated by commas, semicolons or tabs, other columns do no harm)
labels.json               COCO, as Data Labeling exports it: file_name, coco_url and absolute_url of each image
"""

from __future__ import annotations

import csv
import posixpath
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import msgspec

from designer_vision.formats.coco import is_coco, read_coco
from designer_vision.runtime import files
from designer_vision.runtime.description import MOST_SMALL, from_json, from_yaml
from designer_vision.runtime.errors import InvalidDatasetError

MLTABLE = "MLTable"
MOST_BYTES = 2 * 2**30
"""Of a file of JSON lines or a CSV: some ten million images."""
BEGINNING = 2**16
"""Bytes in which such a file shows what it is."""
LONGEST_LINE = 2**20
MOST_FILES = 100
"""Of one kind below a folder: more are one for each image, and no list of them."""
FILE_COLUMNS = (
    "image_path", "file_path", "filepath", "path", "image_url", "url", "file_name", "filename", "file", "image_file",
    "image_name", "image", "image_id",
)  # fmt: skip
"""The first of these that a CSV has is used."""
LABEL_COLUMNS = ("label", "class", "class_name", "category", "species")
SEPARATORS = ",;\t"
HARMLESS = frozenset({"read_json_lines", "read_delimited", "convert_column_types", "keep_columns", "drop_columns"})
"""Transformations of an MLTable that leave the rows as they are."""
EXAMPLE = '{"image_url": "photos/cats/1.jpg", "label": "cat"}'
ADVICE = "an image can have one label here: write that one, or remove the file to use the images without labels"
ONE_LABEL = "only one label per image can be used"

Kind = Literal["jsonl", "csv", "coco"]
KINDS: Mapping[str, Kind] = {".jsonl": "jsonl", ".csv": "csv", ".tsv": "csv", ".json": "coco"}


@dataclass(frozen=True)
class LabelFile:
    """A file that names images and labels; its name is relative to the folder."""

    name: str
    kind: Kind

    def place(self, line: int) -> str:
        """The file and the line, in words; COCO has no lines that would tell anything."""
        return f"{self.name} line {line}" if line else self.name


class Named(NamedTuple):
    """What a label file says of one image: where it may be, its label ("" where it has none), and the line (0 in COCO)."""

    locations: tuple[str, ...]
    label: str
    line: int


def find_label_files(folder: Path, names: Iterable[str]) -> tuple[list[LabelFile], set[str]]:
    """The label files among the files below a folder, and the MLTables that name some of them.

    Args:
        folder: that the names are relative to.
        names: of files that are no images.

    Raises:
        InvalidDatasetError: an MLTable of such files cannot be read, or changes which rows count.
    """
    by_kind: dict[str, list[str]] = {}
    for name in names:
        suffix = MLTABLE if posixpath.basename(name) == MLTABLE else posixpath.splitext(name)[1].lower()
        if suffix == MLTABLE or suffix in KINDS:
            by_kind.setdefault(suffix, []).append(name)
    few = {suffix: sorted(found) for suffix, found in by_kind.items() if len(found) <= MOST_FILES}
    tables: dict[str, str] = {}
    for table in few.pop(MLTABLE, []):
        tables |= dict.fromkeys(_files_of_mltable(folder, table), table)
    of_tables = {posixpath.dirname(table) for table in tables.values()}
    found = [LabelFile(name, kind_of_table(name)) for name in tables]
    for suffix, candidates in few.items():
        for name in candidates:
            chosen_by_table = posixpath.dirname(name) in of_tables and KINDS[suffix] != "coco"
            if name not in tables and not chosen_by_table and _is_label_file(folder, name, KINDS[suffix]):
                found.append(LabelFile(name, KINDS[suffix]))
    return sorted(found, key=lambda one: one.name), set(tables.values())


def kind_of_table(name: str) -> Kind:
    """What a file of an MLTable is read as."""
    return "csv" if KINDS.get(posixpath.splitext(name)[1].lower()) == "csv" else "jsonl"


def _is_label_file(folder: Path, name: str, kind: Kind) -> bool:
    """Whether a file begins like one; whether it can be read to its end, its reader tells."""
    try:
        if kind == "coco":
            return is_coco(folder, name)
        with files.opened(folder, name, InvalidDatasetError) as file:
            beginning = file.read(BEGINNING)
    except InvalidDatasetError:
        return False  # it is counted as any file that is no image
    if beginning.startswith((b"\xff\xfe", b"\xfe\xff")):
        beginning = beginning[2:].replace(b"\0", b"")
    if kind == "jsonl":
        return b'"image_url"' in beginning and b'"label"' in beginning
    return _columns(_header(beginning.split(b"\n", 1)[0])) is not None


def read_label_file(folder: Path, file: LabelFile, notes: list[str]) -> Iterator[Named]:
    """What a label file says, image by image; `notes` grows by what is worth saying.

    Raises:
        InvalidDatasetError: it cannot be read, with the line and the field.
    """
    if file.kind == "coco":
        images, more = read_coco(folder, file.name)
        notes += more
        return (Named(image.locations, label or "", 0) for image, label in images)
    return _json_lines(folder, file.name) if file.kind == "jsonl" else _csv_rows(folder, file.name)


# AutoML's JSON lines


class _JsonLine(msgspec.Struct):
    image_url: str
    label: str | list[Any] | None = None


def _json_lines(folder: Path, name: str) -> Iterator[Named]:
    for number, line in _lines(folder, name):
        place = f"{folder / name} line {number}"
        row = from_json(line, _JsonLine, place, InvalidDatasetError, f"an object such as {EXAMPLE}")
        if not row.image_url.strip():
            raise InvalidDatasetError(f"{place}: image_url is empty; expected an object such as {EXAMPLE}")
        yield Named((row.image_url,), _one_label(row.label, place), number)


def _one_label(label: str | list[Any] | None, place: str) -> str:
    if isinstance(label, list):
        if len(label) > 1 or not all(isinstance(one, str) for one in label):
            kind = "boxes or polygons" if any(isinstance(one, dict) for one in label) else f"{len(label)} labels"
            raise InvalidDatasetError(f"{place}: label has {kind}, expected one text; {ADVICE}")
        label = label[0] if label else None
    return (label or "") if (label or "").strip() else ""


# CSV


def _csv_rows(folder: Path, name: str) -> Iterator[Named]:
    path = folder / name
    lines = _lines(folder, name, blank=True)
    number, first = next(lines, (1, b""))
    _text(path, number, first)
    header = _header(first)
    columns = _columns(header)
    if columns is None:
        raise InvalidDatasetError(
            f"{path} line {number}: no header with a column for the file (such as file_name) and one for the label "
            f"(one of {', '.join(LABEL_COLUMNS)})"
        )
    file_column, label_columns = columns
    names = header.names
    if len(label_columns) > 1:
        several = " and ".join(repr(names[column]) for column in label_columns)
        raise InvalidDatasetError(
            f"{path} line {number}: the columns {several} could each be the label; keep only one of them, or rename the others"
        )
    [label_column] = label_columns
    reader = csv.reader(
        (_text(path, number, line) for number, line in lines), delimiter=header.letter, strict=True, skipinitialspace=True
    )
    while True:
        begin = number + reader.line_num + 1
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as cause:
            raise InvalidDatasetError(f"{path} line {begin}: {cause}; expected a file and its label, quotes in pairs") from cause
        if not any(cell.strip() for cell in cells):
            continue
        if len(cells) != len(names):
            raise InvalidDatasetError(
                f"{path} line {begin}: {len(cells)} columns, expected the {len(names)} of the header; "
                f"put cells that hold {header.letter!r} in quotes"
            )
        location = cells[file_column].strip()
        if not location:
            raise InvalidDatasetError(f"{path} line {begin}: {names[file_column]!r} is empty, expected the name of an image")
        yield Named((location,), cells[label_column].strip(), begin)


@dataclass(frozen=True)
class _Header:
    """The names of a CSV's columns, and the letter between them."""

    names: list[str]
    letter: str


def _header(line: bytes) -> _Header:
    """The header, read with the separator that gives most columns."""
    text = line.decode("utf-8-sig", errors="replace").strip("\r\n")
    read = []
    for letter in SEPARATORS:
        try:
            read.append(_Header([name.strip() for name in next(csv.reader([text], delimiter=letter), [])], letter))
        except csv.Error:  # a name without end
            continue
    return max(read, key=lambda header: len(header.names), default=_Header([], ","))


def _columns(header: _Header) -> tuple[int, list[int]] | None:
    """The column of the file and those that may be the label; None where one of these is missing."""
    plain = [name.casefold().replace(" ", "_") for name in header.names]
    of_files = [plain.index(name) for name in FILE_COLUMNS if name in plain]
    of_labels = [column for column, name in enumerate(plain) if name in LABEL_COLUMNS]
    return (of_files[0], of_labels) if of_files and of_labels else None


def _lines(folder: Path, name: str, blank: bool = False) -> Iterator[tuple[int, bytes]]:
    return files.lines(folder, name, InvalidDatasetError, longest=LONGEST_LINE, most=MOST_BYTES, blank=blank)


def _text(path: Path, number: int, line: bytes) -> str:
    try:
        text = line.decode("utf-8")
    except UnicodeDecodeError as cause:
        raise InvalidDatasetError(f"{path} line {number} is not UTF-8 text; save the file as UTF-8") from cause
    if "\0" in text:
        raise InvalidDatasetError(f"{path} line {number} has a zero byte, which no text file has; copy it again")
    return text


# MLTable


class _Source(msgspec.Struct):
    file: str | None = None


class _MLTable(msgspec.Struct):
    paths: list[_Source] = []
    transformations: list[str | dict[str, Any]] = []


def _files_of_mltable(folder: Path, name: str) -> list[str]:
    """The label files that an MLTable names; none where it is a table of something else."""
    path = folder / name
    content = files.read(folder, name, InvalidDatasetError, MOST_SMALL)
    if not any(suffix.encode() in content.lower() for suffix in (".jsonl", ".csv", ".tsv")):
        return []
    table = from_yaml(content, _MLTable, path, InvalidDatasetError, "paths with files such as {file: ./labels.jsonl}")
    named = [source.file for source in table.paths if source.file and _is_table(source.file)]
    if not named:
        return []
    for transformation in table.transformations:
        for key in [transformation] if isinstance(transformation, str) else transformation:
            if key not in HARMLESS:
                raise InvalidDatasetError(
                    f"{path}: the transformation {key[:100]!r} may change which images count, and is not applied here; "
                    "remove it, and the rows that it would leave out"
                )
    return [_beside(folder, name, file) for file in dict.fromkeys(named)]


def _is_table(name: str) -> bool:
    return posixpath.splitext(name)[1].lower() in (".jsonl", ".csv", ".tsv")


def _beside(folder: Path, table: str, file: str) -> str:
    """The name of a table's file, relative to the folder."""
    found = posixpath.normpath(posixpath.join(posixpath.dirname(table), file))
    if "://" in file or posixpath.isabs(found) or found.startswith(".."):
        raise InvalidDatasetError(
            f"{folder / table}: the path {file[:200]!r} points outside {folder}; copy that file beside {MLTABLE}, and name it as "
            f"./{posixpath.basename(file)[:200]}"
        )
    files.opened(folder, found, InvalidDatasetError).close()
    return found


def in_words(label_files: Sequence[LabelFile], most: int = 3) -> str:
    """The names of some files."""
    names = [file.name for file in label_files]
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
