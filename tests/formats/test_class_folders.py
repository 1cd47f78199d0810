from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from designer_vision.formats.class_folders import TwoReadingsError, read_classes


def names(*folders: str, images: int = 2) -> list[str]:
    """Some images in each folder; "" is the top."""
    return [f"{folder}/{number}.png".lstrip("/") for folder in folders for number in range(images)]


READINGS = {
    "class folders": (names("cat", "dog"), ["cat", "cat", "dog", "dog"], ""),
    "folders below classes": (names("cat/big", "cat/small/old", "dog"), ["cat", "cat", "cat", "cat", "dog", "dog"], ""),
    "one folder around": (names("photos/cat", "photos/dog"), ["cat", "cat", "dog", "dog"], "which holds all the images"),
    "two folders around": (names("a/b/cat", "a/b/dog"), ["cat", "cat", "dog", "dog"], "a/b/, which holds all"),
    "one class": (names("cat"), ["cat", "cat"], ""),
    "one class with a folder": (names("cat", "cat/more"), ["cat"] * 4, ""),
    "images alone": (names(""), ["", ""], ""),
    "images and one folder of them": (names("", "old"), ["", "", "", ""], ""),
    "one stray image beside classes": (["cover.png", *names("cat", "dog")], ["", "cat", "cat", "dog", "dog"], ""),
    "train and val": (names("train/cat", "train/dog", "val/cat"), ["cat", "cat", "dog", "dog", "cat", "cat"], "train, val are parts"),
    "any case": (names("Train/cat", "TEST/cat"), ["cat"] * 4, "parts of one set"),
    "a test part without labels": (names("train/cat", "train/dog", "test"), ["cat", "cat", "dog", "dog", "", ""], "parts of one set"),
    "training_set and test_set": (names("training_set/cat", "test_set/cat"), ["cat"] * 4, "parts of one set"),
    "Train and Train2": (names("Train/cat", "Train2/cat"), ["cat"] * 4, "parts of one set"),
    "test tubes and train stations": (names("test tube", "train station"), ["test tube"] * 2 + ["train station"] * 2, ""),
    "train alone": (names("train/cat", "train/dog"), ["cat", "cat", "dog", "dog"], "which holds all"),
    "a train among vehicles": (names("train", "car", "plane"), ["train", "train", "car", "car", "plane", "plane"], ""),
    "the same folders in each class": (names("2023/cat", "2023/dog", "2024/cat", "2024/dog"), ["2023"] * 4 + ["2024"] * 4, "not the folders cat, dog"),
}  # fmt: skip


@pytest.mark.parametrize(("images", "labels", "note"), READINGS.values(), ids=READINGS)
def test_the_class_is_the_top_folder_and_what_is_not_plain_is_said(images: list[str], labels: list[str], note: str) -> None:
    reading = read_classes(images)
    assert reading.labels == labels
    assert reading.used == [label != "" or not any(labels) for label in labels]
    assert note in "".join(reading.notes)
    assert bool(note) == bool(reading.notes)


CONFLICTS = {
    "train and val hold images": (names("train", "val"), "the classes train, val, or parts of one set of images without classes"),
    "train and val hold other folders": (names("train/cat", "val/dog"), "the classes train, val, or parts of one set with the classes cat, dog"),
    "parts around parts": (names("seg_train/seg_train/x", "seg_test/seg_test/x"), "or classes deeper down, below seg_test, seg_train"),
    "parts with a folder for images": (names("train/images/x", "train/images/y", "val/images/x"), "classes deeper down, below train, val"),
    "parts below": (names("images/train/x", "images/val/x", "masks/train/x"), "the classes images, masks, or classes deeper down, below images"),
    "a cover beside the folder around": (names("", "data/train/x", "data/train/y"), "6 images without classes"),
    "a cover in the folder around": (["data/cover.png", *names("data/train/x", "data/train/y")], "4 images without classes|can be|classes"),
    "another folder beside parts": (names("train/cat", "val/cat", "extra"), "the classes extra, train, val, or parts"),
    "more images beside the classes than in them": (names("", images=9) + names("cat", "dog"), "13 images without classes, or the classes cat, dog"),
    "images beside the folder around the classes": (names("", "in/cat", "in/dog"), "6 images without classes, or the classes cat, dog in in"),
}  # fmt: skip


@pytest.mark.parametrize(("images", "message"), CONFLICTS.values(), ids=CONFLICTS)
def test_two_readings_are_an_error_that_has_both(images: list[str], message: str) -> None:
    with pytest.raises(TwoReadingsError, match=message):
        read_classes(images)


PARTS = st.sampled_from(["train", "val", "test", "cat", "dog", "a", "b"])


@given(st.lists(st.lists(PARTS, min_size=1, max_size=4).map("/".join), unique=True, max_size=12))
def test_any_tree_is_read_in_one_way_or_refused(folders: list[str]) -> None:
    images = [f"{folder}/{number}.png" for number, folder in enumerate(folders)]
    try:
        reading = read_classes(images)
    except TwoReadingsError:
        return
    assert len(reading.labels) == len(reading.used) == len(images)
    for name, label, used in zip(images, reading.labels, reading.used, strict=True):
        assert name.startswith(reading.entered)
        assert label in ("", *name.split("/")[:-1])
        assert used == (label != "" or not reading.has_classes)
