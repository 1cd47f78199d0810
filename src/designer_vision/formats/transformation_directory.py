"""TransformationDirectory: a list of image operations, as the classic designer lays it out.

_meta.yaml         type, transform_type: Image
_transforms.json   [["Resize", 256], ["CenterCrop", 224], ["RandomHorizontalFlip", {}]]
"""

from __future__ import annotations

from pathlib import Path

from designer_vision.formats.manifest import (
    Manifest,
    Operations,
    publishing,
    read_manifest,
    read_verified,
    write_json,
    write_manifest,
)
from designer_vision.runtime.description import MOST_SMALL, from_json
from designer_vision.runtime.errors import InvalidTransformationDirectoryError

TYPE = "TransformationDirectory"
TRANSFORMS = "_transforms.json"
EXAMPLE = '[["Resize", 256], ["RandomHorizontalFlip", {}]]'


def read_transformation_directory(folder: Path) -> Operations:
    """Read the list of `[name, argument]`; which names and arguments make sense, `transforms.check` says.

    Raises:
        InvalidTransformationDirectoryError: the folder is no finished image transformation.
    """
    manifest = read_manifest(folder, TYPE, InvalidTransformationDirectoryError)
    if manifest.transform_type != "Image":
        raise InvalidTransformationDirectoryError(
            f"{folder} has transform_type {manifest.transform_type!r}, expected 'Image'; make one with Init Image Transformation"
        )
    content = read_verified(folder, TRANSFORMS, manifest, InvalidTransformationDirectoryError, MOST_SMALL)
    return from_json(content, Operations, folder / TRANSFORMS, InvalidTransformationDirectoryError, f"a list such as {EXAMPLE}")


def write_transformation_directory(folder: Path, operations: Operations) -> None:
    """Write the folder; `operations` as `read_transformation_directory` gives them."""
    with publishing(folder):
        write_json(folder / TRANSFORMS, operations)
        write_manifest(folder, Manifest(TYPE, transform_type="Image"), hashed=[TRANSFORMS])
