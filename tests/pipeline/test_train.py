from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest
from click.testing import CliRunner
from conftest import make_photos
from PIL import Image
from processes import run_words, with_database

from designer_vision.pipeline.command_line import main
from designer_vision.pipeline.train import choose, gpus_here
from designer_vision.runtime.errors import DesignerError


def train(*words: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    return run_words(["designer-vision", "train", *words], with_database(os.environ), cwd, 280)


def test_without_a_gpu_the_images_are_smaller_and_with_some_each_gets_a_process(tmp_path: Path) -> None:
    photos = make_photos(tmp_path / "photos")
    inputs = choose(photos, None, gpus=0).inputs
    assert inputs == {"images": str(photos), "image_size": "160", "resize": "183", "processes": "1"}
    assert choose(photos, None, gpus=2).inputs == inputs | {"image_size": "224", "resize": "256", "processes": "2"}


def test_from_scratch_there_are_more_epochs_and_a_higher_learning_rate(tmp_path: Path) -> None:
    inputs = choose(make_photos(tmp_path / "photos"), "scratch", gpus=0).inputs
    assert (inputs["pretrained"], inputs["epochs"], inputs["learning_rate"]) == ("false", "30", "0.02")


def test_a_model_of_ones_own_decides_the_size(tmp_path: Path, trained_model: Path) -> None:
    choice = choose(make_photos(tmp_path / "photos"), str(trained_model), gpus=0)
    assert (choice.inputs["network.trained_model"], choice.inputs["image_size"]) == (str(trained_model), "32")
    with pytest.raises(DesignerError, match=f"--from is {trained_model.parent}, .*give one of: {trained_model}"):
        choose(tmp_path / "photos", str(trained_model.parent), gpus=0)
    with pytest.raises(DesignerError, match=r"has no _meta\.yaml|is not a folder"):
        choose(tmp_path / "photos", str(tmp_path / "nothing"), gpus=0)


def test_what_was_found_is_told(tmp_path: Path) -> None:
    photos = make_photos(tmp_path / "around" / "photos")
    (photos / "red" / "a.svg").write_text("x")
    (photos / "red" / "photo 0.png").unlink()
    lines = dict(choose(tmp_path / "around", None, gpus=0).lines)
    assert lines["photos"] == "11 of 3 classes, from red (3) to blue (4)"
    assert lines["left out"] == "1 .svg"
    assert lines["note"] == "the classes are looked for in photos/, which holds all the images"


def test_labels_of_a_file_are_told_with_its_name(tmp_path: Path) -> None:
    photos = make_photos(tmp_path) / "red"
    (photos / "labels.csv").write_text("file_name,label\n" + "".join(f"photo {n}.png,{'ab'[n % 2]}\n" for n in range(5)))
    lines = dict(choose(photos, None, gpus=0).lines)
    assert (lines["photos"], lines["labels"]) == ("4 of 2 classes, 2 each", "from labels.csv")
    assert lines["left out"] == "1 images named in a label file but not found"
    assert lines["note"].endswith("the first: labels.csv line 6: 'photo 4.png' is not here")


def test_folders_that_cannot_be_trained_on_are_one_line(tmp_path: Path) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    for folder, message in ((tmp_path, "has 1 images and no class folders"), (tmp_path / "nowhere", "does not exist")):
        result = train(folder, cwd=tmp_path)
        assert (result.returncode, len(result.stderr.splitlines())) == (1, 1)
        assert message in result.stderr
    assert not (tmp_path / "runs").exists()


def test_one_line_goes_from_photos_to_a_prediction_of_one_photo(tmp_path: Path, trained_model: Path) -> None:
    make_photos(tmp_path / "photos", per_class=10, size=(40, 50))
    shutil.make_archive(str(tmp_path / "more"), "zip", tmp_path / "photos")
    result = train("photos", "--from", trained_model, "--input", "epochs=1", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert re.search(r"^top-1 \d+\.\d %$", result.stdout, re.MULTILINE)
    (line,) = re.findall(r"^to predict: (.*) PHOTO$", result.stdout, re.MULTILINE)
    photo = tmp_path / "photos" / "red" / "photo 1.png"
    told = subprocess.run(
        ["bash", "-c", f"{line} {shlex.quote(str(photo))}"], cwd=tmp_path, capture_output=True, text=True, timeout=60
    )
    assert re.fullmatch(rf"{photo}: (red|green|blue) \d+\.\d %, .*\n", told.stdout), told.stderr
    again = train("photos", "--from", trained_model, "--input", "epochs=1", cwd=tmp_path)
    assert "train: reused" in again.stdout
    make_photos(tmp_path / "elsewhere" / "photos")
    refused = train(tmp_path / "elsewhere" / "photos", cwd=tmp_path)
    assert refused.returncode == 1
    assert f"runs/photos holds a training on {tmp_path}/photos; give another --output_dir" in refused.stderr


@pytest.mark.parametrize("place", ["designer_vision.pipeline.train.choose", "designer_vision.pipeline.run.check"])
def test_a_disk_that_fails_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str) -> None:
    def failing(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied", "photos/private")

    monkeypatch.setattr(place, failing)
    result = CliRunner().invoke(main, ["train", str(make_photos(tmp_path / "photos"))])
    assert (result.exit_code, result.stderr.count("\n")) == (1, 1)
    assert result.stderr.startswith("Error: FileSystemError: [Errno 13] Permission denied: 'photos/private'")


def test_what_a_person_chooses_is_what_is_told_and_the_size_of_the_photos_follows(tmp_path: Path) -> None:
    choice = choose(make_photos(tmp_path / "photos"), "scratch", 0, {"image_size": "64", "epochs": "2"})
    assert (choice.inputs["image_size"], choice.inputs["resize"], choice.inputs["epochs"]) == ("64", "73", "2")
    assert dict(choice.lines)["input"].startswith("64 x 64 pixels (as you chose)")
    assert dict(choice.lines)["photos"] == "12 of 3 classes, 4 each"


def test_gpus_that_this_process_may_not_use_do_not_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(4):
        (tmp_path / "gpus" / str(number)).mkdir(parents=True)
    monkeypatch.setattr("designer_vision.pipeline.train.GPUS", tmp_path / "gpus")
    for visible, count in (("0,1", 2), ("", 0), ("-1", 0), ("0,1,2,3,4,5", 4)):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
        assert gpus_here() == count
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    assert gpus_here() == 4


def test_a_single_photo_and_a_text_are_no_archives(tmp_path: Path) -> None:
    photos = make_photos(tmp_path / "photos")
    with pytest.raises(DesignerError, match="is one file; give the folder"):
        choose(photos / "red" / "photo 1.png", None, 0)
    packed = Path(shutil.make_archive(str(tmp_path / "packed"), "zip", photos))
    assert choose(packed, None, 0).lines[0] == ("photos", f"{packed}, an archive")


def test_a_model_in_the_output_folder_is_not_removed_by_the_training_that_begins_with_it(
    tmp_path: Path, trained_model: Path
) -> None:
    make_photos(tmp_path / "photos")
    model = shutil.copytree(trained_model, tmp_path / "runs" / "photos" / "train" / "outputs" / "trained_model")
    (tmp_path / "runs" / "photos" / "pipeline.json").write_text("{}")
    result = train("photos", "--from", model, cwd=tmp_path)
    assert result.returncode == 1
    assert f"network.trained_model is {model}, and the output folder" in result.stderr
    assert (model / "model").is_file()


def test_photos_in_the_working_directory_are_not_written_into(tmp_path: Path) -> None:
    photos = make_photos(tmp_path / "photos")
    result = train(".", cwd=photos)
    assert result.returncode == 1
    assert "lies in it or holds it; give another --output_dir" in result.stderr
    assert sorted(path.name for path in photos.iterdir()) == ["blue", "green", "red"]
