from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from designer_vision.formats.transformation_directory import read_transformation_directory, write_transformation_directory
from designer_vision.runtime.errors import InvalidTransformationDirectoryError

OPERATIONS = [["Resize", 256], ["CenterCrop", [224]], ["RandomHorizontalFlip", {}]]


def write_classic(folder: Path, content: str, kind: str = "Image") -> Path:
    (folder / "_transforms.json").write_text(content)
    (folder / "_meta.yaml").write_text(
        yaml.safe_dump({"type": "TransformationDirectory", "extension": {}, "transform_type": kind})
    )
    return folder


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    write_transformation_directory(tmp_path, OPERATIONS)
    assert read_transformation_directory(tmp_path) == OPERATIONS
    assert yaml.safe_load((tmp_path / "_meta.yaml").read_text())["transform_type"] == "Image"


def test_a_classic_folder_is_read(tmp_path: Path) -> None:
    assert read_transformation_directory(write_classic(tmp_path, json.dumps(OPERATIONS))) == OPERATIONS


def test_a_pickle_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidTransformationDirectoryError, match="transform_type 'Pickle'"):
        read_transformation_directory(write_classic(tmp_path, "[]", "Pickle"))


@pytest.mark.parametrize("content", ["{}", "[3]", '[["Resize"]]', "[", "[" * 100_000])
def test_what_is_no_list_of_operations_is_refused(tmp_path: Path, content: str) -> None:
    with pytest.raises(InvalidTransformationDirectoryError, match=r"_transforms\.json"):
        read_transformation_directory(write_classic(tmp_path, content))
