from __future__ import annotations

import json
import shutil
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
from conftest import COLORS, make_image_directory, make_photos
from PIL import Image

from designer_vision.components.convert_to_image_directory import main
from designer_vision.formats.image_directory import read_image_directory
from designer_vision.runtime.errors import InvalidDatasetError
from designer_vision.runtime.files import hash_of_file


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
    assert read_image_directory(tmp_path / "out2").classes == tuple(sorted(COLORS))
    assert "12 images of 3 classes" in capsys.readouterr().out


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


def test_what_is_not_used_is_counted_in_the_log_the_list_and_the_record(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photos = make_photos(tmp_path / "photos")
    for name in ("red/a.svg", "red/b.svg", "blue/sound.ogg"):
        (photos / name).write_text("x")
    (photos / "red" / "photo 1.png").write_text("no image")
    (photos / "red" / "link.png").symlink_to(photos / "blue" / "photo 1.png")
    main(photos, tmp_path / "out")
    printed = capsys.readouterr().out
    assert (
        "warning: 11 images of 3 classes; left out: 2 .svg, 1 .ogg, 1 links, 1 unreadable (links are not followed: `cp -rL`"
        in printed
    )
    assert (tmp_path / "out" / "unreadable.txt").read_text().splitlines()[1:] == ["red: 2 .svg", "blue: 1 .ogg", "red: 1 links"]
    assert read_image_directory(tmp_path / "out").left_out == {
        ".svg": {"red": 2},
        ".ogg": {"blue": 1},
        "links": {"red": 1},
        "unreadable": {"red": 1},
    }


def test_what_macos_packs_beside_the_photos_is_counted_too(tmp_path: Path) -> None:
    photos = make_photos(tmp_path / "photos")
    packed = Path(shutil.make_archive(str(tmp_path / "packed"), "zip", photos))
    with zipfile.ZipFile(packed, "a") as archive:
        archive.writestr("__MACOSX/red/._photo 0.png", "x")
        archive.writestr("red/notes.txt", "x")
    main(packed, tmp_path / "out")
    assert read_image_directory(tmp_path / "out").left_out == {".txt": {"red": 1}, "hidden files": {".": 1}}


def test_an_unpacked_folder_is_told_by_the_archives_name(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "z.zip", "w") as archive:
        archive.writestr("a.txt", "x")
    with pytest.raises(InvalidDatasetError, match=rf"{tmp_path / 'z.zip'} has no images; it holds 1 \.txt"):
        main(tmp_path / "z.zip", tmp_path / "out")


@pytest.mark.parametrize(
    ("kind", "suffix", "written"),
    [("GIF", ".png", "PNG"), ("AVIF", ".jpg", "JPEG"), ("HEIF", ".jpg", "JPEG"), ("JPEG", ".jpg", "JPEG")],
)
def test_what_classic_modules_cannot_read_is_written_so_that_they_can(
    tmp_path: Path, kind: str, suffix: str, written: str
) -> None:
    photos = make_photos(tmp_path / "photos")
    Image.open(photos / "red" / "photo 0.png").save(photos / "red" / "extra", kind)
    main(photos, tmp_path / "out")
    index = read_image_directory(tmp_path / "out", original_names=True)
    (number,) = (row for row in range(len(index)) if index.original_names[row] == "red/extra")
    assert index.names[number].endswith(suffix)
    with Image.open(index.path(number)) as image:
        assert image.format == written
    assert index.hashes[number].tobytes().hex() == hash_of_file(index.path(number))


def test_the_first_frame_of_a_gif_counts(tmp_path: Path) -> None:
    photos = make_photos(tmp_path / "photos")
    frames = [Image.new("RGB", (8, 8), color) for color in ("red", "blue")]
    frames[0].save(photos / "red" / "a.gif", save_all=True, append_images=frames[1:])
    main(photos, tmp_path / "out")
    index = read_image_directory(tmp_path / "out", original_names=True)
    (number,) = (row for row in range(len(index)) if index.original_names[row] == "red/a.gif")
    assert Image.open(index.path(number)).convert("RGB").getpixel((0, 0)) == (255, 0, 0)


def test_odd_labels_and_the_same_picture_under_two_labels_are_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    photos = make_photos(tmp_path / "photos")
    shutil.copytree(photos / "red", photos / "Red")
    main(photos, tmp_path / "out")
    printed = capsys.readouterr().out
    assert "warning: the labels 'Red', 'red' differ only by case" in printed
    assert "warning: the same image under two labels, byte for byte: 4 (the first one under 'Red' and 'red')" in printed


def test_a_coco_file_beside_archives_is_refused_and_what_else_lies_there_counted(tmp_path: Path) -> None:
    folder = zip_in_a_folder(make_photos(tmp_path / "photos"))
    (folder / "notes.txt").write_text("x")
    main(folder, tmp_path / "out")
    assert read_image_directory(tmp_path / "out").left_out == {".txt": {".": 1}}
    (folder / "coco.json").write_text("{}")
    with pytest.raises(InvalidDatasetError, match=r"coco\.json lies beside archives and cannot name the images in them"):
        main(folder, tmp_path / "out2")
