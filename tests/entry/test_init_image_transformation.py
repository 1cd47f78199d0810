from __future__ import annotations

from pathlib import Path

import pytest
import torch
import yaml
from conftest import ROOT

from designer_vision.data import transforms
from designer_vision.entry.init_image_transformation import Choices, main
from designer_vision.formats.transformation_directory import read_transformation_directory
from designer_vision.runtime.errors import DesignerError

DEFAULTS = {
    name: port["default"]
    for name, port in yaml.safe_load((ROOT / "component" / "init_image_transformation.yaml").read_text())["inputs"].items()
}


def test_the_defaults_resize_only(tmp_path: Path) -> None:
    main(Choices(**DEFAULTS), tmp_path)
    assert read_transformation_directory(tmp_path) == [["Resize", 256]]


def test_everything_ticked_comes_in_the_classic_order_and_can_be_applied(tmp_path: Path) -> None:
    ticked = {name: True if isinstance(value, bool) else value for name, value in DEFAULTS.items()}
    main(Choices(**ticked | {"padding": 2, "random_rotation_degrees": 10}), tmp_path)
    operations = read_transformation_directory(tmp_path)
    assert [name for name, _ in operations] == [
        "Resize", "CenterCrop", "Pad", "ColorJitter", "Grayscale", "RandomResizedCrop", "RandomCrop", "RandomHorizontalFlip",
        "RandomVerticalFlip", "RandomRotation", "RandomAffine", "RandomGrayscale", "RandomPerspective",
    ]  # fmt: skip
    assert transforms.size_after(transforms.check(operations, tmp_path), (300, 400)) == (224, 224)


@pytest.mark.parametrize("shape", ["padded", "squashed"])
def test_a_resize_can_keep_all_of_the_image(shape: str) -> None:
    operations = transforms.check(Choices(**DEFAULTS | {"size": 64, "shape": shape}).operations(), "")
    photo = torch.full((3, 100, 200), 255, dtype=torch.uint8)
    made = transforms.compose(operations)(photo)
    assert made.shape == (3, 64, 64)
    black = int((made.amax(dim=0) == 0).sum())
    assert black == (64 * 32 if shape == "padded" else 0)
    assert transforms.compose(operations).resized((100, 200)) == ((32, 64) if shape == "padded" else (64, 64))


@pytest.mark.parametrize(("name", "value"), [("size", 0), ("crop_size", -1), ("padding", -1), ("random_rotation_degrees", -5)])
def test_a_value_outside_its_range_is_refused_by_name(name: str, value: int) -> None:
    with pytest.raises(DesignerError, match=f"{name} is {value}"):
        Choices(**DEFAULTS | {name: value})
