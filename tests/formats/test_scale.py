"""A million of everything: bounded time and memory. Kept out of the everyday run."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow
MILLION = 1_000_000
PROGRAM = """
import resource, sys, time
from pathlib import Path
from designer_vision.formats.image_directory import read_image_directory
read_image_directory(Path(sys.argv[2]))
before, begin = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.monotonic()
index = read_image_directory(Path(sys.argv[1]))
print(len(index), len(index.classes), time.monotonic() - begin, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024)
"""


def measured(folder: Path, small: Path) -> tuple[int, int, float, float]:
    """Rows, classes, seconds and bytes a row of a folder read in a process of its own."""
    done = subprocess.run([sys.executable, "-c", PROGRAM, folder, small], capture_output=True, text=True, check=True)
    rows, classes, seconds, grown = done.stdout.split()
    return int(rows), int(classes), float(seconds), float(grown) / int(rows)


def write_list(folder: Path, rows: int, classes: int, ids: str = "{}") -> Path:
    folder.mkdir()
    (folder / "_meta.yaml").write_text("type: ImageDirectory\n")
    (folder / "_schema.json").write_text(
        '{"columnAttributes": [{"name": "category", "type": "String", "properties": {"annotation_type": "COCO_classification"}}]}'
    )
    with (folder / "images.lst").open("w") as file:
        for row in range(rows):
            given = ids.format(row)
            file.write(
                f'{{"image_info": {{"file_name": "image/{row % classes}_{row}.jpg"}}, "category": "class {row % classes}", "id": {given}}}\n'
            )
    return folder


@pytest.mark.parametrize(
    ("classes", "ids"), [(1000, "{}"), (MILLION, "{}"), (1000, '"{}"')], ids=["1,000 classes", "a million", "strict"]
)
def test_case_87_88_a_million_rows_take_less_than_a_minute_and_a_kilobyte_each(tmp_path: Path, classes: int, ids: str) -> None:
    small = write_list(tmp_path / "small", 10, 2)
    rows, found, seconds, bytes_a_row = measured(write_list(tmp_path / "large", MILLION, classes, ids), small)
    assert (rows, found) == (MILLION, classes)
    assert seconds < 60
    assert bytes_a_row < 1000


def test_case_88_a_million_files_in_one_folder(tmp_path: Path) -> None:
    for name, count in (("small", 5), ("large", MILLION)):
        for label in ("cat", "dog"):
            (tmp_path / name / label).mkdir(parents=True)
        for number in range(count):
            os.mknod(tmp_path / name / "cat" / f"{number}.jpg")
        (tmp_path / name / "dog" / "1.jpg").touch()
    rows, found, seconds, bytes_a_row = measured(tmp_path / "large", tmp_path / "small")
    assert (rows, found) == (MILLION + 1, 2)
    assert seconds < 60
    assert bytes_a_row < 1000


def write_json_lines(folder: Path, names: Iterable[str]) -> None:
    """Empty images, and a file of labels that an MLTable puts above their folders."""
    made = set()
    folder.mkdir()
    with (folder / "l.jsonl").open("w") as file:
        for number, name in enumerate(names):
            parent = name.rpartition("/")[0]
            if parent not in made:
                (folder / parent).mkdir(parents=True)
                made.add(parent)
            os.mknod(f"{folder}/{name}")
            file.write(f'{{"image_url": "azureml://datastores/d/paths/in/{name}", "label": "class {number % 7}"}}\n')
    (folder / "MLTable").write_text("paths: [{file: ./l.jsonl}]")


@pytest.mark.parametrize(
    ("name", "count"), [("images/{0}/{1}.jpg", MILLION), ("images/{0}_{1}/x.jpg", MILLION // 10)], ids=["a name each", "one name"]
)
def test_a_million_rows_of_json_lines_are_matched_in_less_than_two_minutes(tmp_path: Path, name: str, count: int) -> None:
    write_json_lines(tmp_path / "small", (name.format(number % 2, number) for number in range(7)))
    write_json_lines(tmp_path / "large", (name.format(number % 1000, number) for number in range(count)))
    rows, found, seconds, bytes_a_row = measured(tmp_path / "large", tmp_path / "small")
    assert (rows, found) == (count, 7)
    assert seconds < 120 * count / MILLION
    assert bytes_a_row < 1500
