from __future__ import annotations

import json
import shutil
import tarfile
from pathlib import Path

import numpy as np
import pytest
from conftest import COLORS, make_image_directory, make_photos
from PIL import Image

from designer_vision.components.convert_to_image_directory import main
from designer_vision.directories.image_directory import read_image_directory
from designer_vision.errors import InvalidDatasetError
from designer_vision.files import hash_of_file


def wrapped(photos: Path) -> Path:
    shutil.move(photos, photos.parent / "inner" / "photos")
    (photos.parent / "inner" / ".DS_Store").write_text("")
    return photos.parent / "inner"


def zipped(photos: Path) -> Path:
    return Path(shutil.make_archive(str(photos.parent / "packed"), "zip", photos.parent, "photos"))


def zip_in_a_folder(photos: Path) -> Path:
    (photos.parent / "uploaded").mkdir()
    shutil.move(zipped(photos), photos.parent / "uploaded" / "photos.zip")
    return photos.parent / "uploaded"


def tar_of_classes(photos: Path) -> Path:
    with tarfile.open(photos.parent / "photos.tar.gz", "w:gz") as packed:
        for folder in photos.iterdir():
            packed.add(folder, folder.name)
    return photos.parent / "photos.tar.gz"


def zip_in_a_wrapping_folder(photos: Path) -> Path:
    (photos.parent / "inner").mkdir()
    return zip_in_a_folder(photos).rename(photos.parent / "inner" / "uploaded").parent


def zip_in_a_zip(photos: Path) -> Path:
    folder = zip_in_a_folder(photos)
    return Path(shutil.make_archive(str(photos.parent / "outer"), "zip", folder))


@pytest.mark.parametrize(
    "shape",
    [lambda photos: photos, wrapped, zipped, zip_in_a_folder, tar_of_classes, zip_in_a_wrapping_folder, zip_in_a_zip],
)
def test_case_126_every_shape_that_people_have_gives_the_same(tmp_path: Path, shape) -> None:
    main(shape(make_photos(tmp_path / "photos")), tmp_path / "out")
    index = read_image_directory(tmp_path / "out", original_names=True)
    assert (index.classes, len(index)) == (tuple(sorted(COLORS)), 12)
    assert index.original_names[5] == "green/photo 1.png"
    assert index.names[5] == "image/1_5.png"


def test_case_126_folders_below_classes_and_empty_classes_have_defined_results(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photos = make_photos(tmp_path / "empty class")
    (photos / "mauve").mkdir()
    main(photos, tmp_path / "out1")
    assert read_image_directory(tmp_path / "out1").classes == tuple(sorted(COLORS))
    for label in COLORS:
        (tmp_path / "deep" / label).mkdir(parents=True)
        shutil.copytree(photos / label, tmp_path / "deep" / label / "more")
    main(tmp_path / "deep", tmp_path / "out2")
    assert not read_image_directory(tmp_path / "out2").is_labeled
    assert "12 images of 0 classes" in capsys.readouterr().out


@pytest.mark.parametrize("label", ["a b", "it's", "ümlaut", "狗", "-rf", "$(id)", "x" * 200, "a\nb", "no", "1e3", "010", "null"])
def test_case_126_76_odd_class_names_come_through(tmp_path: Path, label: str) -> None:
    photos = make_photos(tmp_path / "photos", per_class=1)
    (photos / "red").rename(photos / label)
    main(photos, tmp_path / "out")
    assert read_image_directory(tmp_path / "out").classes == tuple(sorted(["blue", "green", label]))


def test_size_and_hash_of_every_image_are_recorded(tmp_path: Path) -> None:
    main(make_photos(tmp_path / "photos", size=(20, 30)), tmp_path / "out")
    index = read_image_directory(tmp_path / "out")
    assert index.sizes.tolist() == [[20, 30]] * 12
    assert [index.hashes[n].tobytes().hex() for n in range(12)] == [hash_of_file(index.path(n)) for n in range(12)]


def test_the_size_is_the_one_after_exif_orientation(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    (tmp_path / "photos" / "x").mkdir(parents=True)
    Image.fromarray(np.zeros((20, 30, 3), np.uint8)).save(tmp_path / "photos" / "x" / "1.jpg", exif=exif)
    main(tmp_path / "photos", tmp_path / "out")
    assert read_image_directory(tmp_path / "out").sizes.tolist() == [[30, 20]]


def test_the_unreadable_are_left_out_and_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    photos = make_photos(tmp_path / "photos")
    (photos / "red" / "photo 1.png").write_bytes((photos / "red" / "photo 1.png").read_bytes()[:-200])
    (photos / "blue" / "photo 3.png").write_text("<html>")
    main(photos, tmp_path / "out")
    printed = capsys.readouterr().out
    assert "2 of 12 images cannot be read and are left out" in printed
    assert "red/photo 1.png" in printed
    assert "blue/photo 3.png is not an image" in printed
    assert len((tmp_path / "out" / "unreadable.txt").read_text().splitlines()) == 2
    assert len(read_image_directory(tmp_path / "out")) == 10


def test_a_dataset_without_one_readable_image_is_refused(tmp_path: Path) -> None:
    (tmp_path / "photos" / "x").mkdir(parents=True)
    (tmp_path / "photos" / "x" / "1.jpg").write_text("no")
    with pytest.raises(InvalidDatasetError, match=r"none of the 1 images .*x/1\.jpg"):
        main(tmp_path / "photos", tmp_path / "out")
    with pytest.raises(InvalidDatasetError, match="unfinished"):
        read_image_directory(tmp_path / "out")


def test_an_image_directory_comes_through_with_what_it_recorded(tmp_path: Path) -> None:
    make_image_directory(tmp_path / "in", transformation=[["Resize", 32]], random_operations=[["RandomCrop", 16]])
    main(tmp_path / "in", tmp_path / "out")
    before, after = (read_image_directory(tmp_path / name) for name in ("in", "out"))
    assert (after.transformation, after.random_operations) == (before.transformation, before.random_operations)
    assert [after.row(n) for n in range(12)] == [before.row(n) for n in range(12)]


@pytest.mark.parametrize("wrapping", [".", "coco/inner"])
def test_coco_is_understood(tmp_path: Path, wrapping: str) -> None:
    photos = tmp_path / "photos" / wrapping
    photos.mkdir(parents=True)
    Image.new("RGB", (4, 4)).save(photos / "a.png")
    coco = {
        "images": [{"id": 1, "file_name": "a.png"}],
        "annotations": [{"image_id": 1, "category_id": 7}],
        "categories": [{"id": 7, "name": "dog"}],
    }
    (photos / "annotations.json").write_text(json.dumps(coco))
    main(tmp_path / "photos", tmp_path / "out")
    assert read_image_directory(tmp_path / "out").classes == ("dog",)


def test_a_path_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidDatasetError, match="nowhere does not exist"):
        main(tmp_path / "nowhere", tmp_path / "out")
