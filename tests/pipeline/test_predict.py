"""`designer-vision predict`: answers for photos, as they come."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from conftest import ROOT, colored_pixels, make_photos
from PIL import Image

from designer_vision.components import score_image_model
from designer_vision.formats.data_frame_directory import read_data_frame_directory
from designer_vision.formats.image_directory import read_image_directory
from designer_vision.formats.model_directory import read_model_directory
from designer_vision.inference.prediction import find_photos
from designer_vision.inference.prediction import predict as predictions
from designer_vision.inference.scoring import Scorer, score
from designer_vision.pipeline.command_line import main
from designer_vision.runtime.precision import choose_precision

UNWANTED = ("mlflow", "pandas", "sklearn", "matplotlib", "scipy", "azure")
IN_ANOTHER_PROCESS = f"""
import sys
from designer_vision.pipeline.command_line import main
assert "torch" not in sys.modules
main(["predict", *sys.argv[1:]], standalone_mode=False)
print([name for name in {UNWANTED} if name in sys.modules], type(sys.modules["torch._dynamo"]).__name__)
import torch
print(torch.compile(lambda x: x + 1, backend="eager")(torch.zeros(1)).item(), type(sys.modules["torch._dynamo"]).__name__)
"""


def predict(*words: object) -> Result:
    return CliRunner().invoke(main, ["predict", *map(str, words)])


def saved(path: Path, label: str = "red", number: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(colored_pixels(label, number, 40, 50)).save(path)
    return path


def test_probabilities_are_those_of_score_image_model(trained_model: Path, tmp_path: Path) -> None:
    photos = make_photos(tmp_path / "photos", per_class=7, size=(70, 50))  # more than a batch
    score_image_model.main(trained_model, photos, 0, tmp_path / "scored")
    scored = read_data_frame_directory(tmp_path / "scored")
    result = predict(trained_model, photos, "--json")
    assert result.exit_code == 0, result.output
    told = [json.loads(line) for line in result.stdout.splitlines()]
    assert [one["file"] for one in told] == [str(photos / name) for name in scored.names or ()]
    for one, row, label in zip(told, scored.probabilities, scored.scored_labels, strict=True):
        assert one["predictions"][0]["label"] == label
        found = {answer["label"]: answer["probability"] for answer in one["predictions"]}
        assert np.allclose([found[name] for name in scored.labels], row, atol=1e-6)
        assert list(found.values()) == sorted(found.values(), reverse=True)


def test_a_process_of_its_own_imports_only_what_it_needs_and_torch_stays_whole(trained_model: Path, tmp_path: Path) -> None:
    words = [sys.executable, "-c", IN_ANOTHER_PROCESS, str(trained_model), str(saved(tmp_path / "a.png"))]
    result = subprocess.run(
        words, env=os.environ | {"PYTHONPATH": str(ROOT / "src")}, capture_output=True, text=True, timeout=120
    )
    assert result.returncode == 0, result.stderr
    answer, imported, compiled = result.stdout.splitlines()
    assert answer.startswith(f"{tmp_path / 'a.png'}: ")
    assert answer.count("%") == 3
    assert imported == "[] _Later"
    assert compiled == "1.0 module"


def test_a_table_has_a_label_and_a_probability_five_times_or_once_a_class(trained_model: Path, tmp_path: Path) -> None:
    result = predict(trained_model, saved(tmp_path / "=a,b.png"), "--csv")
    header, row = csv.reader(io.StringIO(result.stdout))
    assert header == ["file", *(f"{name}_{number}" for number in (1, 2, 3) for name in ("label", "probability"))]
    assert (row[0], len(row)) == (str(tmp_path / "=a,b.png"), 7)
    assert abs(sum(map(float, row[2::2])) - 1) < 1e-5


def test_below_the_threshold_a_photo_is_unknown_and_its_probabilities_stay(trained_model: Path, tmp_path: Path) -> None:
    photos = make_photos(tmp_path / "photos", per_class=2)
    answers = [json.loads(line) for line in predict(trained_model, photos, "--json").stdout.splitlines()]
    highest = sorted(answer["predictions"][0]["probability"] for answer in answers)
    between = (highest[0] + highest[-1]) / 2
    expected = [
        answer["predictions"][0]["label"] if answer["predictions"][0]["probability"] >= between else "unknown"
        for answer in answers
    ]
    assert "unknown" in expected
    assert set(expected) != {"unknown"}
    told = [json.loads(line) for line in predict(trained_model, photos, "--json", "--threshold", between).stdout.splitlines()]
    assert [answer.pop("label") for answer in told] == expected
    assert told == answers
    table = csv.DictReader(io.StringIO(predict(trained_model, photos, "--csv", "--threshold", between).stdout))
    assert [row["label"] for row in table] == expected
    plain = predict(trained_model, photos, "--threshold", between).stdout.splitlines()
    assert [line.rpartition(": ")[2].partition(" (")[0] for line in plain] == expected


@pytest.mark.parametrize("threshold", [1.5, -0.1, "nan"])
def test_what_is_no_threshold_is_one_line(trained_model: Path, tmp_path: Path, threshold: object) -> None:
    result = predict(trained_model, saved(tmp_path / "photo.png"), "--threshold", threshold)
    assert (result.exit_code, result.stdout) == (1, "")
    assert (
        result.stderr.startswith(f"NotInRangeValueError: threshold is {threshold}")
        or "threshold" in result.stderr.splitlines()[-1]
    )


def test_a_name_is_one_line_and_nothing_that_a_spreadsheet_computes(
    trained_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    saved(tmp_path / "=a\nb.png")
    assert predict(trained_model, "=a\nb.png").stdout.startswith("=a\\nb.png: ")
    assert predict(trained_model, "=a\nb.png", "--csv").stdout.splitlines()[1].startswith("'=a\\nb.png,")
    assert json.loads(predict(trained_model, "=a\nb.png", "--json").stdout)["file"] == "=a\nb.png"


def test_folders_are_walked_and_what_is_no_image_is_counted_once(trained_model: Path, tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    saved(photos / "deep" / "er" / "a.png")
    saved(photos / "b.png").rename(photos / "without a suffix")
    (photos / "notes.txt").write_text("hello")
    (photos / ".hidden.png").write_bytes(b"")
    saved(photos / ".thumbnails" / "c.png")
    (photos / "broken.jpg").write_bytes(b"<html>")
    result = predict(trained_model, photos)
    assert result.exit_code == 0
    assert [line.partition(": ")[0] for line in result.stdout.splitlines()] == [
        str(photos / "without a suffix"), str(photos / "deep" / "er" / "a.png"),
    ]  # fmt: skip
    formats = "JPEG, PNG, PPM, BMP, TIFF, WEBP, GIF, AVIF, HEIF"
    assert result.stderr.splitlines() == [
        f"warning: {photos / 'broken.jpg'} is not an image in one of the formats {formats}; it is left out",
        "skipped: 1 not images, 2 hidden",
    ]


@pytest.mark.skipif(sys.platform != "linux", reason="names of any bytes")
def test_a_file_of_any_name_and_a_link_that_the_person_gave_are_read(trained_model: Path, tmp_path: Path) -> None:
    photo = saved(tmp_path / "photo.png")
    (tmp_path / "link.png").symlink_to(photo)
    odd = tmp_path / os.fsdecode(b"caf\xe9.png")
    odd.write_bytes(photo.read_bytes())
    result = predict(trained_model, tmp_path / "link.png", odd)
    assert result.exit_code == 0, result.output
    assert [line.rpartition(": ")[0] for line in result.stdout.splitlines()] == [
        f"{tmp_path}/link.png", f"{tmp_path}/caf\\udce9.png",
    ]  # fmt: skip


def test_a_link_in_a_folder_that_leads_out_of_it_and_a_pipe_are_left_out(trained_model: Path, tmp_path: Path) -> None:
    saved(tmp_path / "photos" / "a.png")
    (tmp_path / "photos" / "b.png").symlink_to(saved(tmp_path / "b.png"))
    os.mkfifo(tmp_path / "photos" / "c.png")
    result = predict(trained_model, tmp_path / "photos")
    assert len(result.stdout.splitlines()) == 1
    assert "b.png is a link that points outside the folder; it is left out" in result.stderr
    assert "c.png is a pipe, expected a plain file" in result.stderr


def test_a_folder_that_cannot_be_read_is_named_and_the_others_are_read(
    trained_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed, scandir = saved(tmp_path / "photos" / "closed" / "a.png").parent, os.scandir
    saved(tmp_path / "photos" / "b.png")

    def refusing(path: str) -> object:
        if Path(path) == closed:
            raise PermissionError(13, "Permission denied", path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refusing)
    result = predict(trained_model, tmp_path / "photos")
    assert result.exit_code == 0
    assert len(result.stdout.splitlines()) == 1
    assert result.stderr == f"warning: {closed} cannot be read: Permission denied; it is left out\n"


def test_where_nothing_is_predicted_the_exit_code_is_1_and_the_last_line_says_so(trained_model: Path, tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.jpg").write_bytes(b"")
    result = predict(trained_model, tmp_path / "photos", tmp_path / "gone.png")
    assert (result.exit_code, result.stdout) == (1, "")
    lines = result.stderr.splitlines()
    assert "gone.png does not exist" in lines[1]
    where = f"{tmp_path / 'photos'}, {tmp_path / 'gone.png'}"
    assert lines[-1] == f"Error 0018: InvalidDatasetError: there is no image that can be read in {where}"
    (tmp_path / "empty").mkdir()
    assert "there is no image that can be read in" in predict(trained_model, tmp_path / "empty").stderr


@pytest.mark.parametrize("inside", [".", "outputs", "train/outputs"])
def test_a_folder_around_the_model_is_refused_with_the_model_to_give(trained_model: Path, tmp_path: Path, inside: str) -> None:
    outer = tmp_path / "run"
    (outer / inside).mkdir(parents=True)
    (outer / inside / "trained_model").symlink_to(trained_model)
    result = predict(outer, saved(tmp_path / "a.png"))
    right = outer / inside / "trained_model"
    assert result.exit_code == 1
    assert result.stderr == f"Error: PipelineError: {outer} is not a model, but there is one in it; give {right}\n"


def test_what_is_no_trained_model_is_one_line(untrained_model: Path, tmp_path: Path) -> None:
    photo = saved(tmp_path / "a.png")
    for folder, message in (
        (untrained_model, "is an untrained model"), (tmp_path, "has no _meta.yaml"), (tmp_path / "no", "is not a folder"),
    ):  # fmt: skip
        result = predict(folder, photo)
        assert (result.exit_code, result.stdout, len(result.stderr.splitlines())) == (1, "", 1)
        assert message in result.stderr
        assert result.stderr.startswith("Error 0159: InvalidModelDirectoryError: ")


def test_two_formats_at_once_are_refused(tmp_path: Path) -> None:
    assert "two formats" in predict(tmp_path, tmp_path, "--csv", "--json").stderr


def test_the_first_answer_waits_for_one_photo_and_the_next_for_few(
    trained_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original, batches = Scorer.__call__, []
    monkeypatch.setattr(Scorer, "__call__", lambda self, images: (batches.append(len(images)), original(self, images))[1])
    photos, _ = find_photos(make_photos(tmp_path / "photos"))
    answers = predictions(read_model_directory(trained_model), photos)
    assert next(answers)[0].called.endswith("blue/photo 0.png")
    assert batches == [1]
    assert len(list(answers)) == 11
    assert batches == [1, 8, 3]


def test_a_classic_model_takes_photos_as_score_image_model_does(trained_model: Path, tmp_path: Path) -> None:
    classic = dataclasses.replace(read_model_directory(trained_model), operations=None, size=None)
    folder = make_photos(tmp_path / "photos", per_class=1, size=(40, 40))
    expected = score(classic, read_image_directory(folder), torch.device("cpu"), choose_precision(torch.device("cpu")), 0)
    (folder / "notes.txt").write_text("hello")
    (folder / "broken.png").write_bytes(b"")
    photos, _ = find_photos(folder)
    found = [answer[0][1] for _, answer in predictions(classic, photos) if isinstance(answer, list)]
    assert np.allclose(found, expected.probabilities.max(axis=1), atol=1e-6)
