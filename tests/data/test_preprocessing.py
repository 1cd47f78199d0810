from __future__ import annotations

from pathlib import Path

import pytest

from designer_vision.data.preprocessing import plan_preprocessing
from designer_vision.runtime.errors import InvalidDatasetError

FOLDER = Path("photos")


def test_images_of_one_size_are_taken_as_they_are() -> None:
    plan = plan_preprocessing(FOLDER, [(64, 64)], [], [])
    assert (plan.operations, plan.size) == ([], (64, 64))
    assert plan.evaluation.operations == [["Resize", 64], ["CenterCrop", 64]]


def test_unequal_images_without_a_transformation_get_the_default() -> None:
    plan = plan_preprocessing(FOLDER, [(300, 500), (500, 300)], [], [])
    assert plan.operations == plan.evaluation.operations == [["Resize", 256], ["CenterCrop", 224]]
    assert plan.size == plan.evaluation.size == (224, 224)


def test_a_random_crop_decides_the_size_of_unequal_images() -> None:
    plan = plan_preprocessing(
        FOLDER, [(256, 400), (400, 256)], [["Resize", 256]], [["RandomCrop", 224], ["RandomHorizontalFlip", {}]]
    )
    assert (plan.operations, plan.size) == ([], (224, 224))
    assert plan.evaluation.operations == [["Resize", 256], ["CenterCrop", {"size": [224, 224]}]]


def test_what_apply_did_is_what_evaluation_does() -> None:
    done = [["Resize", 80], ["CenterCrop", 64]]
    assert plan_preprocessing(FOLDER, [(64, 64)], done, [["RandomHorizontalFlip", {}]]).evaluation.operations == done


def test_what_is_not_random_behind_a_random_operation_is_part_of_evaluation() -> None:
    plan = plan_preprocessing(FOLDER, [(32, 32)], [["Resize", 32], ["CenterCrop", 32]], [["ColorJitter", {}], ["Grayscale", 3]])
    assert plan.evaluation.operations == [["Resize", 32], ["CenterCrop", 32], ["Grayscale", 3]]


def test_a_random_crop_larger_than_the_images_is_refused() -> None:
    with pytest.raises(InvalidDatasetError, match=r"photos cannot go through \[\['RandomCrop', 48\]\]"):
        plan_preprocessing(FOLDER, [(32, 40)], [["Resize", 32]], [["RandomCrop", 48]])


@pytest.mark.parametrize(("done", "later"), [([["Resize", 100]], []), ([], [["RandomHorizontalFlip", {}]])])
def test_a_transformation_that_leaves_sizes_mixed_is_refused_with_two_of_them(done: list, later: list) -> None:
    with pytest.raises(InvalidDatasetError, match=r"photos.*100 x 150 and 150 x 100; .*Init Image Transformation"):
        plan_preprocessing(FOLDER, [(150, 100), (100, 150)], done, later)
