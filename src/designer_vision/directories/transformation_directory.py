"""TransformationDirectory: a list of image operations, as the classic designer lays it out.

_meta.yaml         type, transform_type: Image
_transforms.json   [["Resize", 256], ["CenterCrop", 224], ["RandomHorizontalFlip", {}]]
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from designer_vision.directories.manifest import Manifest, publishing, read_manifest, read_verified, write_json, write_manifest
from designer_vision.errors import InvalidTransformationDirectoryError

TYPE = "TransformationDirectory"
TRANSFORMS = "_transforms.json"


def read_transformation_directory(folder: Path) -> list[list[Any]]:
    """Read the list of `[name, argument]`; which names and arguments make sense, `transforms.check` says.

    Raises:
        InvalidTransformationDirectoryError: the folder is no finished image transformation.
    """
    manifest = read_manifest(folder, TYPE, InvalidTransformationDirectoryError)
    if manifest.files.get("transform_type") != "Image":
        raise InvalidTransformationDirectoryError(
            f"{folder} has transform_type {manifest.files.get('transform_type')!r}, expected 'Image'; "
            "make one with Init Image Transformation"
        )
    try:
        content = json.loads(read_verified(folder, TRANSFORMS, manifest, InvalidTransformationDirectoryError))
    except (ValueError, RecursionError) as error:
        raise InvalidTransformationDirectoryError(f"{folder / TRANSFORMS} is not JSON: {error}") from error
    if not isinstance(content, list) or not all(isinstance(entry, list) and len(entry) == 2 for entry in content):
        raise InvalidTransformationDirectoryError(
            f'{folder / TRANSFORMS} is not a list of [name, argument] such as [["Resize", 256]]'
        )
    return content


def write_transformation_directory(folder: Path, operations: list[list[Any]]) -> None:
    """Write the folder; `operations` as `read_transformation_directory` gives them."""
    with publishing(folder):
        write_json(folder / TRANSFORMS, operations)
        write_manifest(folder, Manifest(TYPE, {"transform_type": "Image"}), hashed=[TRANSFORMS])
