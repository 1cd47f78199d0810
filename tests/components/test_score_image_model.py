from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow.parquet
import pytest
from conftest import make_photos, run_entry

from designer_vision.components.score_image_model import main
from designer_vision.formats.data_frame_directory import check_threshold, read_data_frame_directory
from designer_vision.runtime.errors import InvalidModelDirectoryError, NotInRangeValueError


def test_labelled_images_are_scored_with_their_labels_and_names(
    trained_model: Path, datasets: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(trained_model, datasets[1], 0, tmp_path / "out")
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
    main(trained_model, tmp_path / "photos", 0, tmp_path / "out")
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
    main(trained_model, photos, 0, tmp_path / "out")
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
    result = run_entry(
        "score_image_model", trained_model=trained_model, dataset=photos, threshold=0, scored_dataset=tmp_path / "out"
    )
    assert result.returncode == 1
    assert result.stderr.startswith(f"Error 0018: InvalidDatasetError: dataset: none of the 3 images in {photos} can be scored;")
    assert not (tmp_path / "out").exists()


def test_an_untrained_model_is_refused(untrained_model: Path, datasets: tuple[Path, Path], tmp_path: Path) -> None:
    with pytest.raises(InvalidModelDirectoryError, match="is an untrained model; connect the output of Train PyTorch Model"):
        main(untrained_model, datasets[1], 0, tmp_path / "out")


def test_images_without_a_probable_class_are_unknown(
    trained_model: Path, datasets: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(trained_model, datasets[1], 0, tmp_path / "all")
    kept = read_data_frame_directory(tmp_path / "all")
    highest = np.sort(kept.probabilities.max(axis=1))
    main(trained_model, datasets[1], float(highest[2]), tmp_path / "out")
    table = pyarrow.parquet.read_table(tmp_path / "out" / "_data.parquet")
    expected = [
        label if probability >= highest[2] else "unknown"
        for label, probability in zip(kept.scored_labels, kept.probabilities.max(axis=1), strict=True)
    ]
    assert expected.count("unknown") == 2
    assert table["Scored Labels"].to_pylist() == expected
    assert np.array_equal(read_data_frame_directory(tmp_path / "out").probabilities, kept.probabilities)
    assert [line.split(",")[2].strip('"') for line in (tmp_path / "out" / "scores.csv").read_text().splitlines()[1:]] == expected
    assert f"2 of 6 images have no class of probability {highest[2]:g} or more: unknown" in capsys.readouterr().out


@pytest.mark.parametrize("threshold", [-0.1, 1.5, float("nan")])
def test_what_is_no_threshold_is_refused(
    trained_model: Path, datasets: tuple[Path, Path], tmp_path: Path, threshold: float
) -> None:
    with pytest.raises(NotInRangeValueError, match="threshold is .*, it must be between 0 and 1"):
        main(trained_model, datasets[1], threshold, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_class_called_unknown_takes_no_threshold() -> None:
    check_threshold(0, ("cat", "unknown"))
    with pytest.raises(NotInRangeValueError, match="the model has a class called 'unknown'"):
        check_threshold(0.5, ("cat", "unknown"))
