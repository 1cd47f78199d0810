from __future__ import annotations

from pathlib import Path

import pytest
import torch
from conftest import make_image_directory, make_photos, run_entry
from PIL import Image
from sklearn.datasets import load_sample_images

from designer_vision.components.apply_image_transformation import FOR_INFERENCE, FOR_TRAINING, main, plan
from designer_vision.data import images
from designer_vision.data.transforms import compose
from designer_vision.formats.image_directory import read_image_directory
from designer_vision.formats.transformation_directory import write_transformation_directory
from designer_vision.runtime.errors import InvalidDatasetError, InvalidTransformationDirectoryError
from designer_vision.runtime.files import hash_of_file

OPERATIONS = [["Resize", 24], ["CenterCrop", 20], ["RandomHorizontalFlip", {}], ["Pad", 2]]


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path, Path]:
    write_transformation_directory(tmp_path / "transformation", OPERATIONS)
    return tmp_path / "transformation", make_image_directory(tmp_path / "images", size=(40, 30)), tmp_path / "out"


def test_for_training_leaves_what_is_random_to_the_training(folders: tuple[Path, Path, Path]) -> None:
    main(FOR_TRAINING, *folders)
    index = read_image_directory(folders[2], original_names=True)
    assert index.known_sizes() == [(20, 20)]
    assert index.transformation == [["Resize", 24], ["CenterCrop", 20]]
    assert index.random_operations == [["RandomHorizontalFlip", {}], ["Pad", 2]]
    assert index.names[0] == "image/0_0.png"
    assert index.original_names[0] == "blue/0.png"
    assert index.hashes[3].tobytes().hex() == hash_of_file(index.path(3))


def test_the_names_of_a_plain_folders_photos_are_kept(tmp_path: Path) -> None:
    folder = tmp_path / "transformation"
    write_transformation_directory(folder, [["Resize", 16]])
    main(FOR_INFERENCE, folder, make_photos(tmp_path / "photos"), tmp_path / "out")
    index = read_image_directory(tmp_path / "out", original_names=True)
    assert (index.names[0], index.original_names[0]) == ("image/0_0.png", "blue/photo 0.png")


def test_for_inference_drops_it(folders: tuple[Path, Path, Path]) -> None:
    main(FOR_INFERENCE, *folders)
    index = read_image_directory(folders[2])
    assert (index.known_sizes(), index.random_operations) == ([(24, 24)], [])
    assert index.transformation == [["Resize", 24], ["CenterCrop", 20], ["Pad", 2]]


def test_where_all_is_left_to_the_training_the_files_stay_as_they_are(tmp_path: Path) -> None:
    photo = tmp_path / "photos" / "a" / "1.JPG"
    photo.parent.mkdir(parents=True)
    Image.new("RGB", (40, 30), "red").save(photo)
    write_transformation_directory(tmp_path / "transformation", [["RandomResizedCrop", 24]])
    main(FOR_TRAINING, tmp_path / "transformation", tmp_path / "photos", tmp_path / "out")
    index = read_image_directory(tmp_path / "out")
    assert (index.random_operations, index.names[0]) == ([["RandomResizedCrop", 24]], "image/0_0.jpg")
    assert index.path(0).read_bytes() == photo.read_bytes()


def test_a_large_photo_is_decoded_whole_and_what_is_written_is_exact(tmp_path: Path) -> None:
    photo = tmp_path / "photos" / "a" / "1.jpg"
    photo.parent.mkdir(parents=True)
    Image.fromarray(load_sample_images().images[0]).save(photo)
    write_transformation_directory(tmp_path / "transformation", [["Resize", 24]])
    main(FOR_TRAINING, tmp_path / "transformation", tmp_path / "photos", tmp_path / "out")
    index = read_image_directory(tmp_path / "out")
    decoded = torch.from_numpy(images.decode(photo.read_bytes(), photo)).permute(2, 0, 1)
    exact = compose([["Resize", 24]])(decoded).permute(1, 2, 0).numpy()
    assert (images.decode(index.read(0), "out") == exact).all()


def test_what_an_earlier_apply_left_comes_first() -> None:
    pending = [["RandomCrop", 8]]
    assert plan([["Pad", 1]], FOR_TRAINING, pending) == ([], [["RandomCrop", 8], ["Pad", 1]])
    assert plan([["Pad", 1]], FOR_INFERENCE, pending) == ([["Pad", 1]], [])


def test_the_first_unreadable_image_stops_by_name(folders: tuple[Path, Path, Path]) -> None:
    (folders[1] / "image" / "1_4.png").write_bytes(b"")
    with pytest.raises(InvalidDatasetError, match=r"1_4\.png"):
        main(FOR_TRAINING, *folders)
    with pytest.raises(InvalidDatasetError, match="unfinished"):
        read_image_directory(folders[2])


def test_an_operation_that_makes_no_image_is_refused(folders: tuple[Path, Path, Path], tmp_path: Path) -> None:
    write_transformation_directory(tmp_path / "other", [["Normalize", {}]])
    with pytest.raises(InvalidTransformationDirectoryError, match="Normalize is not one image"):
        main(FOR_TRAINING, tmp_path / "other", *folders[1:])


def test_the_mode_is_one_of_two_texts(folders: tuple[Path, Path, Path]) -> None:
    ports = dict(zip(("input_image_transformation", "input_image_directory", "output_image_directory"), folders, strict=True))
    assert (
        "mode is 'Training', expected one of For training, For inference"
        in run_entry("apply_image_transformation", mode="Training", **ports).stderr
    )
    assert run_entry("apply_image_transformation", mode="For inference", **ports).returncode == 0
