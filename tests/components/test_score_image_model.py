from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from conftest import make_photos, run_entry

from designer_vision.components.score_image_model import main
from designer_vision.formats.data_frame_directory import read_data_frame_directory
from designer_vision.runtime.errors import InvalidModelDirectoryError


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
    assert scored.names == ["0.png", "1.png", "2.png"]


def test_images_that_cannot_be_read_are_left_out_named_and_listed(
    trained_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photos = make_photos(tmp_path / "photos")
    for number in range(4):
        (photos / "blue" / f"photo {number}.png").write_bytes(b"")
    for number in range(3):
        (photos / "green" / f"photo {number}.png").write_bytes(b"<html>")
    main(trained_model, photos, tmp_path / "out")
    scored = read_data_frame_directory(tmp_path / "out")
    assert (scored.ids.tolist(), scored.categories) == ([7, 8, 9, 10, 11], ["green", "red", "red", "red", "red"])
    assert scored.names is not None
    assert scored.names[0] == "green/photo 3.png"
    lines = capsys.readouterr().out.splitlines()
    first = lines.index("warning: 7 of 12 images cannot be scored and are left out, see unreadable.txt:")
    assert lines[first + 1].startswith("  blue/photo 0.png: ")
    assert lines[first + 5].startswith("  green/photo 0.png: ")
    assert lines[first + 6] == "  and 2 more"
    assert lines[-1].startswith("5 images scored, ")
    listed = (tmp_path / "out" / "unreadable.txt").read_text().splitlines()
    assert [line.partition(":")[0] for line in listed[-2:]] == ["green/photo 1.png", "green/photo 2.png"]


def test_a_folder_without_a_readable_image_leaves_no_output(trained_model: Path, tmp_path: Path) -> None:
    photos = make_photos(tmp_path / "photos", per_class=1)
    for path in photos.rglob("*.png"):
        path.write_bytes(b"")
    result = run_entry("score_image_model", trained_model=trained_model, dataset=photos, scored_dataset=tmp_path / "out")
    assert result.returncode == 1
    assert result.stderr.startswith(f"Error 0018: InvalidDatasetError: dataset: none of the 3 images in {photos} can be scored;")
    assert not (tmp_path / "out").exists()


def test_an_untrained_model_is_refused(untrained_model: Path, datasets: tuple[Path, Path], tmp_path: Path) -> None:
    with pytest.raises(InvalidModelDirectoryError, match="is an untrained model; connect the output of Train PyTorch Model"):
        main(untrained_model, datasets[1], tmp_path / "out")
