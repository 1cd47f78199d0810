from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from conftest import make_photos

from designer_vision.components.score_image_model import main
from designer_vision.directories.data_frame_directory import read_data_frame_directory
from designer_vision.errors import InvalidModelDirectoryError


def test_labelled_images_are_scored_with_their_labels_and_names(
    trained_model: Path, datasets: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(trained_model, datasets[1], tmp_path / "out")
    scored = read_data_frame_directory(tmp_path / "out")
    assert scored.labels == ("blue", "green", "red")
    assert scored.categories == ["blue", "blue", "green", "green", "red", "red"]
    assert scored.ids.tolist() == list(range(6))
    assert np.allclose(scored.probabilities.sum(axis=1), 1)
    assert scored.names == [f"{label}/{number}.png" for label in ("blue", "green", "red") for number in (100, 101)]
    assert f"\ntable of images and labels: {tmp_path / 'out' / 'scores.csv'}\n6 images scored" in "\n" + capsys.readouterr().out


def test_unlabelled_photos_in_a_plain_folder_are_scored_too(trained_model: Path, tmp_path: Path) -> None:
    for number, photo in enumerate(sorted(make_photos(tmp_path / "photos", per_class=1, size=(70, 50)).glob("*/*.png"))):
        photo.rename(tmp_path / "photos" / f"{number}.png")
    main(trained_model, tmp_path / "photos", tmp_path / "out")
    scored = read_data_frame_directory(tmp_path / "out")
    assert (len(scored.ids), scored.categories) == (3, None)
    assert scored.names == [f"photos/{label}/photo 0.png" for label in ("blue", "green", "red")]


def test_an_untrained_model_is_refused(untrained_model: Path, datasets: tuple[Path, Path], tmp_path: Path) -> None:
    with pytest.raises(InvalidModelDirectoryError, match="is an untrained model; connect the output of Train PyTorch Model"):
        main(untrained_model, datasets[1], tmp_path / "out")
