"""A million of everything: bounded time and memory. Kept out of the everyday run."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow
MILLION = 1_000_000
PROGRAM = """
import resource, sys, time
from pathlib import Path
from designer_vision.directories.image_directory import read_image_directory
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


@pytest.mark.parametrize("one_name", [False, True], ids=["a name each", "one name"])
def test_a_million_rows_of_json_lines_are_matched_in_less_than_two_minutes(tmp_path: Path, one_name: bool) -> None:
    for name, count in (("small", 5), ("large", MILLION)):
        with (tmp_path / f"{name}.jsonl").open("w") as file:
            for number in range(count):
                image = (
                    f"images/{number % 1000}/{'x' if one_name else number}.jpg" if number >= 1000 else f"images/{number}/0.jpg"
                )
                place = tmp_path / name / "in" / (f"{number}/{image}" if one_name else image)
                place.parent.mkdir(parents=True, exist_ok=True)
                place.touch()
                url = f"azureml://datastores/store/paths/{place.relative_to(tmp_path / name)}"
                file.write(f'{{"image_url": "{url}", "label": "class {number % 7}"}}\n')
        (tmp_path / f"{name}.jsonl").rename(tmp_path / name / "l.jsonl")
        (tmp_path / name / "MLTable").write_text("paths: [{file: ./l.jsonl}]")
    rows, found, seconds, bytes_a_row = measured(tmp_path / "large", tmp_path / "small")
    assert (rows, found) == (MILLION, 7)
    assert seconds < 120
    assert bytes_a_row < 1500
