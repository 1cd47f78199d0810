"""Transformations that are no image operations, or would make images of any size."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from conftest import make_image_directory

from designer_vision.components.apply_image_transformation import FOR_TRAINING, main
from designer_vision.data import transforms
from designer_vision.formats.image_directory import read_image_directory
from designer_vision.runtime.errors import InvalidDatasetError, InvalidTransformationDirectoryError


def transformation(folder: Path, content: Any) -> Path:
    """A TransformationDirectory as a stranger may write it."""
    folder.mkdir()
    (folder / "_meta.yaml").write_text("type: TransformationDirectory\nextension: {}\ntransform_type: Image\n")
    (folder / "_transforms.json").write_text(content if isinstance(content, str) else json.dumps(content))
    return folder


def applied(folder: Path, content: Any) -> Path:
    source = make_image_directory(folder / "images", per_class=1, size=(12, 16))
    main(FOR_TRAINING, transformation(folder / "transformation", content), source, folder / "out")
    return folder / "out"


@pytest.mark.parametrize(
    "name", ["Sharpen", "Lambda", "torch.load", "os.system", "__class__", "_Transform", "Compose", "v2.Resize", "", "resize"]
)
def test_case_128_129_only_names_of_the_closed_list_are_known(tmp_path: Path, name: str) -> None:
    with pytest.raises(InvalidTransformationDirectoryError, match="is not an operation we know; expected one of Resize"):
        applied(tmp_path, [[name, 3]])
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", [None, 3, ["Resize"], {"Resize": 1}, True])
def test_case_129_a_name_that_is_no_text_is_refused(tmp_path: Path, name: Any) -> None:
    with pytest.raises(InvalidTransformationDirectoryError):
        applied(tmp_path, [[name, 3]])


@pytest.mark.parametrize(
    "operation", [["Normalize", [[0, 0, 0], [1, 1, 1]]], ["RandomErasing", {}], ["FiveCrop", 4], ["TenCrop", 4]]
)
def test_case_131_132_operations_that_make_no_image_are_refused(tmp_path: Path, operation: list[Any]) -> None:
    with pytest.raises(InvalidTransformationDirectoryError, match="is not one image; leave it out"):
        applied(tmp_path, [operation])


@pytest.mark.parametrize("name", ["ToTensor", "ToPILImage"])
def test_case_131_conversions_change_nothing(tmp_path: Path, name: str) -> None:
    index = read_image_directory(applied(tmp_path, [[name, {}]]))
    assert index.sizes.tolist() == [[12, 16]] * 3


BAD_ARGUMENTS: list[list[Any]] = [
    ["Resize", 0], ["Resize", -3], ["Resize", "large"], ["Resize", None], ["Resize", {"size": 4, "colour": 1}], ["Resize", [4, 4, 4]],
    ["Resize", {"interpolation": 2}], ["Resize", {"size": True}], ["CenterCrop", 0], ["CenterCrop", -1], ["CenterCrop", [1, 2, 3]],
    ["Pad", -100_000], ["Pad", "x"], ["Pad", {"padding": 1, "padding_mode": "os.system"}], ["ColorJitter", {"brightness": -1}],
    ["ColorJitter", "bright"], ["RandomRotation", -5], ["RandomRotation", "x"], ["RandomAffine", {"degrees": 5, "scale": [-1, -1]}],
    ["RandomPerspective", {"distortion_scale": "x"}], ["RandomHorizontalFlip", 2], ["RandomResizedCrop", -1], ["RandomCrop", "x"],
]  # fmt: skip


@pytest.mark.parametrize("operation", BAD_ARGUMENTS, ids=str)
def test_arguments_that_make_no_sense_are_refused_before_any_image(tmp_path: Path, operation: list[Any]) -> None:
    with pytest.raises(InvalidTransformationDirectoryError, match="transformation"):
        applied(tmp_path, [operation])
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "operations",
    [
        [["Resize", 50_000]],
        [["Resize", [5, 50_000]]],
        [["Pad", 1_000_000]],
        [["Pad", 4_000]] * 5,
        [["RandomResizedCrop", 50_000]],
        [["RandomHorizontalFlip", {}]] * 10_000,
    ],
    ids=lambda operations: str(operations)[:40],
)
def test_case_134_images_of_any_size_and_lists_of_any_length_are_refused(tmp_path: Path, operations: list[Any]) -> None:
    with pytest.raises(InvalidTransformationDirectoryError, match="pixels|operations, expected at most 100"):
        applied(tmp_path, operations)


def test_case_135_an_empty_list_changes_nothing(tmp_path: Path) -> None:
    assert read_image_directory(applied(tmp_path, [])).sizes.tolist() == [[12, 16]] * 3


@pytest.mark.parametrize(
    "content",
    [
        "{}",
        "null",
        "3",
        '"Resize"',
        "[3]",
        "[[]]",
        '[["Resize"]]',
        '[["Resize", 1, 2]]',
        '[["Resize", NaN]]',
        "[",
        "",
        "[[" * 9999,
    ],
)
def test_case_135_what_is_no_list_of_operations_is_refused(tmp_path: Path, content: str) -> None:
    with pytest.raises(
        InvalidTransformationDirectoryError, match=r"_transforms\.json.* expected a list such as \[\[\"Resize\", 256\]"
    ):
        applied(tmp_path, content)


def test_case_107_an_image_smaller_than_the_crop_is_named(tmp_path: Path) -> None:
    with pytest.raises(
        InvalidDatasetError, match=r"image/0_0\.png, of 12 x 16 pixels, cannot be transformed: .*choose sizes that fit"
    ):
        applied(tmp_path, [["RandomHorizontalFlip", {}]]) and main(
            "For training", transformation(tmp_path / "t", [["Pad", -6]]), tmp_path / "images", tmp_path / "o"
        )


def test_a_transformation_of_pickles_is_refused(tmp_path: Path) -> None:
    folder = transformation(tmp_path / "t", [])
    (folder / "_meta.yaml").write_text("type: TransformationDirectory\ntransform_type: Pickle\n")
    with pytest.raises(InvalidTransformationDirectoryError, match="transform_type 'Pickle', expected 'Image'"):
        main(FOR_TRAINING, folder, make_image_directory(tmp_path / "images"), tmp_path / "out")


def test_an_ordinary_list_passes() -> None:
    operations = [
        ["Resize", 256], ["CenterCrop", 224], ["Pad", 4], ["ColorJitter", {"brightness": 0.2}], ["Grayscale", 3],
        ["RandomResizedCrop", 224], ["RandomCrop", 200], ["RandomHorizontalFlip", {}], ["RandomVerticalFlip", 0.5],
        ["RandomRotation", 10], ["RandomAffine", 10], ["RandomGrayscale", {}], ["RandomPerspective", {}],
    ]  # fmt: skip
    assert transforms.check(operations, "here") == operations
