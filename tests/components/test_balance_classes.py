from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from conftest import make_image_directory, make_photos, run_entry, training_flags

from designer_vision.components import apply_image_transformation, split_image_directory
from designer_vision.components.balance_classes import main
from designer_vision.components.training_task import class_weights
from designer_vision.entry.init_image_transformation import Choices
from designer_vision.formats.image_directory import read_image_directory
from designer_vision.formats.transformation_directory import write_transformation_directory
from designer_vision.runtime.errors import InvalidDatasetError, NotLabeledDatasetError


def unequal(folder: Path) -> Path:
    """Class folders of 16 blue, 4 green and 1 red photos."""
    photos = make_photos(folder, per_class=16)
    for label, kept in (("green", 4), ("red", 1)):
        for photo in sorted((photos / label).iterdir())[kept:]:
            photo.unlink()
    return photos


def test_the_images_are_passed_on_with_the_weighting(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    photos = unequal(tmp_path / "photos")
    main(photos, "full", tmp_path / "out")
    before, after = read_image_directory(photos), read_image_directory(tmp_path / "out")
    assert (before.weighting, after.weighting) == ("none", "full")
    assert [after.read(row) for row in range(21)] == [before.read(row) for row in range(21)]
    assert np.array_equal(after.labels, before.labels)
    said = capsys.readouterr().out
    assert "blue: 16 images\ngreen: 4 images\nred: 1 image\n" in said
    assert "21 images passed on, weighting full" in said


@pytest.mark.parametrize(
    ("weighting", "proportions"), [("none", None), ("square_root", (1, 2, 4)), ("full", (1, 4, 16))], ids=["none", "root", "full"]
)
def test_the_weights_are_one_on_average_and_as_far_apart_as_the_weighting_says(
    tmp_path: Path, weighting: str, proportions: tuple[int, ...] | None
) -> None:
    main(unequal(tmp_path / "photos"), weighting, tmp_path / "out")
    index = read_image_directory(tmp_path / "out")
    weights = np.array(class_weights(index))
    if proportions is None:
        assert len(weights) == 0
        return
    assert weights[index.labels].mean() == pytest.approx(1)
    assert weights / weights[0] == pytest.approx(proportions)


def test_what_is_done_to_the_images_afterwards_keeps_it_and_none_takes_it_back(tmp_path: Path) -> None:
    main(make_image_directory(tmp_path / "images"), "square_root", tmp_path / "balanced")
    split_image_directory.main(tmp_path / "balanced", 0.5, 1, tmp_path / "one", tmp_path / "two")
    defaults = dict.fromkeys(Choices.__annotations__, False) | {"size": 16, "shape": "kept", "padding": 0}
    sizes = {name: 1 for name in defaults if name.endswith("_size")} | dict.fromkeys(
        ("random_rotation_degrees", "random_affine_degrees"), 0
    )
    write_transformation_directory(tmp_path / "smaller", Choices(**defaults | sizes | {"resize": True}).operations())
    apply_image_transformation.main("For training", tmp_path / "smaller", tmp_path / "two", tmp_path / "applied")
    assert read_image_directory(tmp_path / "applied").weighting == "square_root"
    main(tmp_path / "applied", "none", tmp_path / "taken_back")
    assert read_image_directory(tmp_path / "taken_back").weighting == "none"


def test_a_training_of_two_folders_is_weighted_by_the_images_that_it_trains_on(untrained_model: Path, tmp_path: Path) -> None:
    main(unequal(tmp_path / "photos"), "full", tmp_path / "balanced")
    validation = make_image_directory(tmp_path / "validation", first=100)
    result = run_entry(
        "train_pytorch_model", **training_flags(untrained_model, tmp_path / "balanced", validation, tmp_path / "out")
    )
    assert result.returncode == 0, result.stderr
    assert "weighting full: an image of blue counts 0.44 times in the loss, one of red 7 times" in result.stdout
    assert "prefer the larger classes" not in result.stdout
    report = (tmp_path / "out" / "report.html").read_text()
    assert "(weighting full)" in report
    assert "Balanced accuracy, the mean over the classes" in report


def test_images_without_labels_and_no_images_are_refused(tmp_path: Path) -> None:
    photos = make_photos(tmp_path / "photos", per_class=1) / "red"
    with pytest.raises(NotLabeledDatasetError, match="has no labels"):
        main(photos, "full", tmp_path / "out")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InvalidDatasetError, match="has no images"):
        main(tmp_path / "empty", "full", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_weighting_that_nobody_knows_is_refused_with_the_file(tmp_path: Path) -> None:
    main(make_image_directory(tmp_path / "images"), "full", tmp_path / "out")
    manifest = tmp_path / "out" / "_meta.yaml"
    manifest.write_text(manifest.read_text().replace("weighting: full", "weighting: much"))
    with pytest.raises(InvalidDatasetError, match=r"_meta\.yaml.*Invalid enum value 'much'"):
        read_image_directory(tmp_path / "out")
