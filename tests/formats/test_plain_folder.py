from __future__ import annotations

import io
import json
import os
import shutil
import threading
from datetime import timedelta
from pathlib import Path

import pytest
from conftest import COLORS, make_photos
from PIL import Image

from designer_vision.data.images import decode
from designer_vision.formats import plain_folder
from designer_vision.formats.image_directory import read_image_directory
from designer_vision.runtime.errors import FileSystemError, InvalidDatasetError


def image_file(kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (16, 12), "red").save(buffer, kind, **options)
    return buffer.getvalue()


def test_every_file_of_a_messy_tree_is_used_or_counted(tmp_path: Path) -> None:
    photos = make_photos(tmp_path)
    (photos / "red" / "old" / "older").mkdir(parents=True)
    shutil.copy(photos / "red" / "photo 0.png", photos / "red" / "old" / "older" / "1.png")
    for name in ("red/sound.ogg", "red/old/sound.ogg", "blue/info.TXT", "README", "blue/.DS_Store", "Thumbs.db", "cover.png"):
        (photos / name).write_text("x")
    (photos / "green" / "link.png").symlink_to(photos / "green" / "photo 1.png")
    (photos / "green" / "linked").symlink_to(photos / "red")
    os.mkfifo(photos / "green" / "pipe.png")
    index = read_image_directory(photos)
    assert (index.classes, len(index)) == (tuple(sorted(COLORS)), 13)
    assert index.left_out == {
        ".ogg": {"red": 1, "red/old": 1},
        ".txt": {"blue": 1},
        "without a suffix": {".": 1},
        "hidden files": {"blue": 1, ".": 1},
        "images outside the class folders": {".": 1},
        "links": {"green": 2},
        "pipes and devices": {"green": 1},
    }


@pytest.mark.parametrize(
    ("name", "kind"),
    [("a.jfif", "JPEG"), ("a", "JPEG"), ("a.dat", "PNG"), ("a.txt", "WEBP"), ("a.gif", "GIF"), ("a.avif", "AVIF"),
     ("a.HEIC", "HEIF"), ("a.x", "HEIF"), ("a.bin", "BMP"), ("a.1", "PPM"), ("a.tiff", "TIFF"), ("scan", "TIFF"), ("b.gif.1", "GIF")],
)  # fmt: skip
def test_what_is_an_image_its_content_decides(tmp_path: Path, name: str, kind: str) -> None:
    content = image_file(kind)
    for label in ("cat", "dog"):
        (tmp_path / label).mkdir()
        (tmp_path / label / name).write_bytes(content)
    index = read_image_directory(tmp_path)
    assert (len(index), index.classes, index.left_out) == (2, ("cat", "dog"), {})
    assert decode(index.read(0), "x").shape == (12, 16, 3)


def test_raw_files_of_cameras_are_not_taken_for_their_small_preview(tmp_path: Path) -> None:
    photos = make_photos(tmp_path)
    (photos / "red" / "IMG_1.NEF").write_bytes(image_file("TIFF"))
    index = read_image_directory(photos)
    assert (len(index), index.left_out) == (12, {".nef": {"red": 1}})


def test_text_that_begins_like_an_image_is_none(tmp_path: Path) -> None:
    photos = make_photos(tmp_path)
    for number, text in enumerate((b"BMW and Audi, two makers of cars", b"P5", b"II*", b"GIF", b"", b"RIFF1234WAVE")):
        (photos / "red" / f"{number}.txt").write_bytes(text)
    assert read_image_directory(photos).left_out == {".txt": {"red": 6}}


def test_a_folder_of_links_says_what_to_do(tmp_path: Path) -> None:
    make_photos(tmp_path / "photos")
    (tmp_path / "in").mkdir()
    for number, photo in enumerate((tmp_path / "photos").glob("*/*.png")):
        (tmp_path / "in" / f"{number}.png").symlink_to(photo)
    with pytest.raises(InvalidDatasetError, match=r"has no images; it holds 12 links; links are not followed: `cp -rL`"):
        read_image_directory(tmp_path / "in")


def test_a_folder_without_images_says_what_it_holds(tmp_path: Path) -> None:
    (tmp_path / "a.svg").write_text("<svg/>")
    with pytest.raises(InvalidDatasetError, match=r"has no images; it holds 1 \.svg; expected files in the formats JPEG"):
        read_image_directory(tmp_path)


def test_two_readings_are_an_error_with_the_folder(tmp_path: Path) -> None:
    for part in ("train", "val"):
        (tmp_path / part).mkdir()
        Image.new("RGB", (2, 2)).save(tmp_path / part / "1.png")
    with pytest.raises(InvalidDatasetError, match=rf"{tmp_path} can be read in two ways: the classes train, val, or"):
        read_image_directory(tmp_path)


def coco(tmp_path: Path, **changed: object) -> Path:
    for name in ("a.png", "b.png", "c.png"):
        Image.new("RGB", (2, 2)).save(tmp_path / name)
    content = {
        "images": [{"id": 1, "file_name": "a.png"}, {"id": 2, "file_name": "b.png"}],
        "annotations": [{"image_id": 1, "category_id": 1}, {"image_id": 2, "category_id": 2}],
        "categories": [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}],
    }
    (tmp_path / "coco.json").write_text(json.dumps(content | changed))
    return tmp_path


def test_images_that_a_coco_file_does_not_list_are_counted(tmp_path: Path) -> None:
    index = read_image_directory(coco(tmp_path))
    assert (len(index), index.left_out["images that the COCO file does not list"]) == (2, {".": 1})


def test_a_coco_file_that_contradicts_itself_is_refused(tmp_path: Path) -> None:
    first, second = {"id": 1, "file_name": "a.png"}, {"id": 2, "file_name": "b.png"}
    with pytest.raises(InvalidDatasetError, match=r"'a\.png' has the labels 'cat' and 'dog'"):
        read_image_directory(coco(tmp_path, images=[first, second | {"file_name": "a.png"}]))
    with pytest.raises(InvalidDatasetError, match=r"the id 1 is that of 'a\.png' and 'b\.png'"):
        read_image_directory(coco(tmp_path, images=[first, second | {"id": 1}]))
    with pytest.raises(InvalidDatasetError, match="the image with the id 2 has no file_name"):
        read_image_directory(coco(tmp_path, images=[first, second | {"file_name": ""}]))
    with pytest.raises(InvalidDatasetError, match="the category 1 is 'cat' and 'dog'"):
        read_image_directory(coco(tmp_path, categories=[{"id": 1, "name": "cat"}, {"id": 1, "name": "dog"}]))
    text = (coco(tmp_path) / "coco.json").read_text()
    (tmp_path / "coco.json").write_text(text.replace('"categories"', '"images": [], "categories"'))
    with pytest.raises(InvalidDatasetError, match="the key 'images' appears twice"):
        read_image_directory(tmp_path)


def test_a_file_that_a_coco_file_lists_twice_under_one_label_is_used_once_and_said(tmp_path: Path) -> None:
    images = [{"id": 1, "file_name": "a.png"}, {"id": 2, "file_name": "a.png"}]
    index = read_image_directory(coco(tmp_path, images=images, annotations=[{"image_id": 2, "category_id": 1}]))
    assert (len(index), index.classes, index.labels.tolist()) == (1, ("cat",), [0])
    assert index.notes == ("coco.json lists 1 files more than once; each is used once",)


def test_names_that_are_no_text_are_counted_as_text(tmp_path: Path) -> None:
    photos = make_photos(tmp_path)
    (Path(os.fsdecode(os.fsencode(photos / "red") + b"/n.\xff"))).write_text("x")
    left_out = read_image_directory(photos).left_out
    assert left_out == {".\xff": {"red": 1}}


def test_a_folder_that_may_not_be_read_is_counted_and_the_others_are_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    photos = make_photos(tmp_path)
    (photos / "lost+found").mkdir()
    scandir = os.scandir

    def refusing(folder: Path) -> object:
        if Path(folder).name == "lost+found":
            raise PermissionError(13, "Permission denied", str(folder))
        return scandir(folder)

    monkeypatch.setattr(os, "scandir", refusing)
    index = read_image_directory(photos)
    assert (len(index), index.left_out) == (12, {"folders that cannot be read": {"lost+found": 1}})


def test_a_class_folder_without_a_name_to_see_is_refused(tmp_path: Path) -> None:
    photos = make_photos(tmp_path)
    (photos / "red").rename(photos / " ")
    with pytest.raises(InvalidDatasetError, match="has a class folder whose name is blank; rename it"):
        read_image_directory(photos)


def test_a_coco_file_may_write_names_with_a_dot(tmp_path: Path) -> None:
    images = [{"id": 1, "file_name": "./a.png"}, {"id": 2, "file_name": "b.png"}]
    assert read_image_directory(coco(tmp_path, images=images)).left_out["images that the COCO file does not list"] == {".": 1}


def test_a_far_folder_is_read_as_a_near_one_is_and_one_that_is_never_listed_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    photos = make_photos(tmp_path / "photos")
    (photos / "red" / "more").mkdir()
    shutil.copy(photos / "red" / "photo 0.png", photos / "red" / "more" / "no suffix")
    near = read_image_directory(photos)
    monkeypatch.setattr(plain_folder, "is_far", lambda folder: True)
    far = read_image_directory(photos)
    assert [far.row(number) for number in range(len(far))] == [near.row(number) for number in range(len(near))]
    answer, listed = threading.Event(), plain_folder._listed
    monkeypatch.setattr(
        plain_folder, "_listed", lambda folder, prefix: answer.wait() and [] if prefix == "blue/" else listed(folder, prefix)
    )
    monkeypatch.setattr("designer_vision.runtime.settings.Settings.patience", timedelta(seconds=0.2))
    with pytest.raises(FileSystemError, match=r"photos/blue has not been listed within 0 s; check the mount"):
        read_image_directory(photos)
    answer.set()
