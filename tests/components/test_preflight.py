from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import yaml
from conftest import ROOT, make_image_directory

from designer_vision.components.preflight import ADAMW, SGD, UsualRates, advice, check_batches, number_of_same_images, warnings_of
from designer_vision.data.preprocessing import plan_preprocessing
from designer_vision.formats.image_directory import read_image_directory
from designer_vision.formats.image_index import ImageIndex
from designer_vision.networks.architectures import Architecture
from designer_vision.runtime.errors import InvalidDatasetError
from designer_vision.training.parameters import Parameters

PARAMETERS = Parameters(
    epochs=5, batch_size=4, warmup_step_number=0, learning_rate=0.1, random_seed=1, patience=3, print_frequency=10
)


def images(folder: Path, per_class: int = 2, side: int = 32, **more) -> ImageIndex:
    return read_image_directory(make_image_directory(folder, per_class=per_class, size=(side, side), **more))


def check(index: ImageIndex, batch_size: int, world_size: int = 1, name: str = "resnet18") -> None:
    preprocessing = plan_preprocessing(index.folder, index.known_sizes(), index.transformation, index.random_operations)
    check_batches(Architecture(name), index, preprocessing, batch_size, world_size)


@pytest.mark.parametrize("name", ["resnet18", "resnext50_32x4d", "densenet121"])
def test_what_the_network_can_take_passes(tmp_path: Path, name: str) -> None:
    check(images(tmp_path), 4, name=name)


def test_case_138_a_batch_of_one_small_image_is_refused_before_training(tmp_path: Path) -> None:
    with pytest.raises(
        InvalidDatasetError, match="resnet18 cannot be trained with batches of 1 images of 32 x 32 pixels.*Expected more"
    ):
        check(images(tmp_path / "small"), 1)
    check(images(tmp_path / "large", side=64), 1)  # batch norm has more than one value a channel there
    check(images(tmp_path / "odd", per_class=1), 2)  # three images by twos are one batch


def test_case_107_images_that_the_network_shrinks_to_nothing_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidDatasetError, match="densenet121 cannot be trained with batches of 3 images of 4 x 4 pixels"):
        check(images(tmp_path, side=4), 4, name="densenet121")


def test_case_89_fewer_images_than_processes_are_refused(tmp_path: Path) -> None:
    index = images(tmp_path)
    check(index, 4, world_size=3)
    with pytest.raises(InvalidDatasetError, match="has 6 images for 7 processes"):
        check(index, 4, world_size=7)


def said(training: ImageIndex, validation: ImageIndex, **changed: float) -> list[str]:
    return warnings_of(training, validation, dataclasses.replace(PARAMETERS, **changed), 1)


def test_nothing_unusual_says_nothing(tmp_path: Path) -> None:
    assert said(images(tmp_path / "a", per_class=5), images(tmp_path / "b", first=50)) == []


def test_case_82_84_classes_without_images_are_named(tmp_path: Path) -> None:
    training = images(tmp_path / "a", per_class=5)
    validation = images(tmp_path / "b", first=50)
    less = validation.subset(np.flatnonzero(validation.labels != 1))
    lines = said(dataclasses.replace(training, unused_classes=("mauve",)), less)
    assert lines == [
        f"{training.folder} has no image of the classes mauve",
        "no validation image has the classes green",
    ]


def test_case_85_113_the_same_images_on_both_sides_are_counted(tmp_path: Path) -> None:
    training, overlapping = images(tmp_path / "a", per_class=5), images(tmp_path / "b", first=4)
    (line,) = said(training, overlapping)
    assert line.startswith(f"3 of 6 validation images are also in {training.folder}, byte for byte")
    assert number_of_same_images(training, training) == len(training)
    unknown = dataclasses.replace(training, hashes=np.zeros_like(training.hashes))
    assert number_of_same_images(unknown, unknown) == 0


def test_case_133_random_operations_on_validation_images_are_said_to_be_left_out(tmp_path: Path) -> None:
    validation = images(tmp_path / "b", first=50, random_operations=[["RandomHorizontalFlip", {}]])
    (line,) = said(images(tmp_path / "a", per_class=5), validation)
    assert "random operations are left out: [['RandomHorizontalFlip', {}]]" in line


def test_case_137_138_139_144_unusual_parameters_are_said(tmp_path: Path) -> None:
    sets = images(tmp_path / "a", per_class=5), images(tmp_path / "b", first=50)
    assert said(*sets, batch_size=100) == ["batch_size is 100, and a process has 15 images: each step takes all of them"]
    assert said(*sets, batch_size=1) == ["batch_size is 1, at which batch norm learns little; use 2 or more"]
    assert said(*sets, warmup_step_number=5) == ["warmup_step_number must be below epochs, or the learning rate never decays"]


def test_classes_with_few_images_and_sizes_far_apart_are_said(tmp_path: Path) -> None:
    training, validation = images(tmp_path / "a", per_class=40), images(tmp_path / "b", first=50)
    of_class = [np.flatnonzero(training.labels == label) for label in range(3)]
    uneven = training.subset(np.concatenate([of_class[0], of_class[1][:5], of_class[2][:4]]))
    assert said(uneven, validation) == [
        "classes with fewer than 5 images to train on: red (4)",
        "blue has 40 images to train on and red 4: the network will prefer the larger classes; more images of the small ones help, or Balance Classes",
    ]
    assert said(training.subset(np.concatenate([of_class[0], of_class[1][:5], of_class[2][:5]])), validation) == []


def test_more_images_to_validate_than_to_train_are_said(tmp_path: Path) -> None:
    (line,) = said(images(tmp_path / "a", per_class=5), images(tmp_path / "b", per_class=6, first=50))
    assert line.startswith("15 images to train and 18 to validate: are training_dataset and validation_dataset connected")


def test_odd_labels_and_the_same_image_under_two_labels_are_said(tmp_path: Path) -> None:
    training, validation = images(tmp_path / "a", per_class=5), images(tmp_path / "b", first=50)
    renamed = [index.relabeled(("blue", "Red", "red"), index.labels) for index in (training, validation)]
    (line,) = said(*renamed)
    assert line.startswith("the labels 'Red', 'red' differ only by case")
    hashes = training.hashes.copy()
    hashes[0] = hashes[14]
    (line,) = said(dataclasses.replace(training, hashes=hashes), validation)
    assert line.startswith("the same image under two labels, byte for byte: 1 (the first one under 'blue' and 'red')")


def advised(
    images: int = 2000,
    classes: int = 10,
    processes: int = 1,
    from_scratch: bool = True,
    rates: UsualRates = SGD,
    **changed: float,
) -> str:
    usual = {"batch_size": 16, "learning_rate": 0.02} | changed
    return "\n".join(advice(images, classes, dataclasses.replace(PARAMETERS, **usual), processes, from_scratch, rates))


def test_what_usually_works_gets_no_advice() -> None:
    assert advised() == ""
    assert advised(images=1455, processes=2) == ""  # the demo
    assert advised(images=300, from_scratch=False, learning_rate=0.004, epochs=10) == ""  # photos.yaml
    assert advised(images=20, from_scratch=False, learning_rate=0.001) == ""
    assert advised(images=10**6, classes=1000, learning_rate=0.1, batch_size=64, processes=8) == ""


def test_a_rate_that_is_far_off_is_told_with_one_to_try() -> None:
    assert advised(learning_rate=0.001) == "learning_rate 0.001 is low for random weights, which learn slowly at it; try 0.02"
    assert advised(learning_rate=0.001, processes=2).startswith("learning_rate 0.001 is low")
    assert advised(learning_rate=0.01, batch_size=32, images=10**5) == ""
    assert advised(learning_rate=0.007, batch_size=32, images=10**5).endswith("try 0.04")
    assert advised(learning_rate=0.01, batch_size=256, images=10**5).endswith("try 0.1")
    assert advised(learning_rate=0.06, batch_size=256, images=10**5) == ""
    assert advised(learning_rate=0.1, batch_size=2048, images=10**6) == ""
    high = advised(learning_rate=0.1, from_scratch=False)
    assert high == "learning_rate 0.1 is high for weights that are already trained, and may undo that; try 0.005"
    assert "0.02 times 4 processes is high" in advised(learning_rate=0.02, processes=4, from_scratch=False)
    assert advised(learning_rate=0.01, batch_size=64, processes=8, from_scratch=False) == ""


def test_adamws_rates_are_lower_and_grow_by_the_square_root() -> None:
    for rate in (0.001, 0.003, 0.01, 0.03):
        assert advised(learning_rate=rate, rates=ADAMW) == ""
    assert advised(learning_rate=0.0005, rates=ADAMW).endswith("learn slowly at it; try 0.005")
    assert advised(learning_rate=0.2, rates=ADAMW).endswith("unusually high; try 0.005")
    assert advised(learning_rate=0.003, rates=ADAMW, from_scratch=False) == ""
    assert advised(learning_rate=0.003, rates=ADAMW, from_scratch=False, processes=8) == ""
    told = advised(learning_rate=0.01, rates=ADAMW, from_scratch=False, processes=2)
    assert told.startswith("learning_rate 0.01 times the square root of 2 processes is high")
    assert told.endswith("try 0.001")


@pytest.mark.parametrize("rate", [1.5, 11.0])
def test_case_139_a_rate_that_is_high_for_anything_is_told_once(rate: float) -> None:
    assert advised(learning_rate=rate) == f"learning_rate {rate:g} is unusually high; try 0.02"
    assert advised(learning_rate=rate, from_scratch=False).endswith("may undo that; try 0.005")


@pytest.mark.parametrize("from_scratch", [True, False])
@pytest.mark.parametrize("processes", [1, 2, 8, 64])
@pytest.mark.parametrize("batch_size", [1, 8, 16, 32, 64, 256, 1024])
@pytest.mark.parametrize("rates", [SGD, ADAMW], ids=["SGD", "AdamW"])
def test_whoever_takes_the_advice_is_given_no_other(
    rates: UsualRates, batch_size: int, processes: int, from_scratch: bool
) -> None:
    for rate in (1e-9, 100.0):
        given = {
            "images": 200 * batch_size * processes,
            "classes": 2,
            "processes": processes,
            "from_scratch": from_scratch,
            "batch_size": batch_size,
            "rates": rates,
        }
        told = advised(learning_rate=rate, **given)
        if told or from_scratch:
            assert advised(learning_rate=float(told.rpartition("try ")[2]), **given) == ""


@pytest.mark.parametrize(
    ("name", "images", "classes", "from_scratch"),
    [
        ("train_and_score", 1456, 10, True),  # of the 1,797 digits
        ("train_and_score_registered", 1456, 10, True),
        ("photos", 50, 10, False),
        ("fine_tune", 50, 10, False),
        ("imagenet_resnet50", 1_281_167, 1000, True),
    ],
)
def test_pipelines_get_no_advice_on_their_own_parameters(name: str, images: int, classes: int, from_scratch: bool) -> None:
    inputs = yaml.safe_load((ROOT / "pipelines" / f"{name}.yaml").read_text())["inputs"]
    given = {key: inputs[key] for key in ("epochs", "batch_size", "learning_rate")}
    assert advised(images, classes, inputs.get("processes", 1), from_scratch, **given) == ""


def test_too_little_to_train_from_random_weights_is_told_once() -> None:
    assert advised(images=200).startswith("200 images of 10 classes are few for random weights")
    assert advised(images=1000, epochs=1) == "random weights need more steps than 63; try 4 epochs"
    assert advised(images=200, epochs=1).count("\n") == 0
