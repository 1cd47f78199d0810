from __future__ import annotations

import re
from pathlib import Path

import pytest
from conftest import make_image_directory, make_photos

from designer_vision.components import apply_image_transformation, convert_to_image_directory, split_image_directory
from designer_vision.formats.transformation_directory import write_transformation_directory
from designer_vision.runtime import progress
from designer_vision.runtime.progress import Progress


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_a_line_comes_every_two_seconds_with_the_same_fields(capsys: pytest.CaptureFixture[str]) -> None:
    clock = Clock()
    counted = Progress(6000, clock)
    for _ in range(40):  # 4.4 seconds, an image every 0.11 s
        clock.now += 0.11
        counted.step()
    assert capsys.readouterr().out.splitlines() == [
        "19/6000 images | 9.1 images/s | 0:10:58 left",
        "38/6000 images | 9.1 images/s | 0:10:56 left",
    ]
    assert counted.images_per_second() == pytest.approx(1 / 0.11)


def test_images_may_come_in_batches(capsys: pytest.CaptureFixture[str]) -> None:
    clock = Clock()
    counted = Progress(100, clock)
    clock.now += 4
    counted.step(32)
    assert capsys.readouterr().out == "32/100 images | 8.0 images/s | 0:00:08 left\n"


def test_what_takes_less_than_two_seconds_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    clock = Clock()
    counted = Progress(10, clock)
    for _ in range(10):
        clock.now += 0.19
        counted.step()
    assert capsys.readouterr().out == ""


LINE = re.compile(r"(\d+)/12 images \| \d+\.\d images/s \| \d:\d\d:\d\d left")


def counts(capsys: pytest.CaptureFixture[str]) -> list[int]:
    """How many images of 12 each progress line says."""
    return [int(match[1]) for match in map(LINE.fullmatch, capsys.readouterr().out.splitlines()) if match]


@pytest.fixture
def _every_image_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "SECONDS_BETWEEN_LINES", 0.0)


@pytest.mark.usefixtures("_every_image_is_told")
def test_convert_apply_and_split_tell_of_every_image(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    photos = make_photos(tmp_path / "photos")
    (photos / "red" / "photo 0.png").write_bytes(b"no image")
    convert_to_image_directory.main(photos, tmp_path / "converted")
    assert counts(capsys) == list(range(1, 13))  # also the one that cannot be read
    images = make_image_directory(tmp_path / "images")
    write_transformation_directory(tmp_path / "now", [["Resize", 24]])
    write_transformation_directory(tmp_path / "later", [["RandomCrop", 24]])
    for name in ("now", "later"):
        apply_image_transformation.main("For training", tmp_path / name, images, tmp_path / f"transformed {name}")
        assert counts(capsys) == list(range(1, 13))
    split_image_directory.main(images, 0.5, 1, tmp_path / "one", tmp_path / "two")
    assert counts(capsys) == list(range(1, 13))


@pytest.mark.usefixtures("_every_image_is_told")
def test_score_tells_of_every_batch(trained_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from designer_vision.components import score_image_model

    score_image_model.main(trained_model, make_image_directory(tmp_path / "images"), 0, tmp_path / "scored")
    out = capsys.readouterr().out
    assert LINE.fullmatch(out.splitlines()[0])
    assert re.fullmatch(r"12 images scored, \d+\.\d images/s", out.splitlines()[-1])
