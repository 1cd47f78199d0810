"""Pipelines of this repository that people copy, run by the local runner on a few small photos."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT, make_photos

from designer_vision.directories.data_frame_directory import read_data_frame_directory
from designer_vision.directories.model_directory import read_model_directory


def run(pipeline: str, folder: Path, **inputs: object) -> subprocess.CompletedProcess[str]:
    """`designer-vision run`, in this environment."""
    words = [word for name, value in inputs.items() for word in ("--input", f"{name}={value}")]
    program = "from designer_vision.pipeline.command_line import main; main()"
    return subprocess.run(
        [sys.executable, "-c", program, "run", str(ROOT / f"pipelines/{pipeline}.yaml"), "--output_dir", str(folder), *words],
        capture_output=True,
        text=True,
        timeout=280,
    )


def zipped(folder: Path, per_class: int) -> Path:
    """Class folders in a zip, as Microsoft's sample has them."""
    return Path(shutil.make_archive(str(folder), "zip", make_photos(folder, per_class)))


def test_microsofts_sample_runs_on_two_zip_files(tmp_path: Path) -> None:
    result = run(
        "image_classification_with_densenet",
        tmp_path / "out",
        training_zip=zipped(tmp_path / "train", 3),
        validation_zip=zipped(tmp_path / "valid", 1),
        model_name="densenet121",
        epochs=1,
        batch_size=4,
    )
    assert result.returncode == 0, result.stderr
    model = read_model_directory(tmp_path / "out/train/outputs/trained_model")
    assert (model.architecture.model_name, model.labels, model.size) == ("densenet121", ("blue", "green", "red"), (256, 256))
    log = (tmp_path / "out/apply_to_validation/user_logs/std_log.txt").read_text()
    assert "done: nothing; left to the training: nothing" in log  # no random operation reaches the validation images


def test_a_trained_model_scores_new_photos_in_a_pipeline_of_its_own(tmp_path: Path, trained_model: Path) -> None:
    photos = make_photos(tmp_path / "photos", per_class=2, size=(40, 50))
    result = run("score_only", tmp_path / "out", trained_model=trained_model, images=photos)
    assert result.returncode == 0, result.stderr
    scored = read_data_frame_directory(tmp_path / "out/score/outputs/scored_dataset")
    assert (len(scored.ids), scored.labels) == (6, ("blue", "green", "red"))


@pytest.mark.parametrize(
    ("pipeline", "message"), [("sweep", "step train is no command of a local component"), ("score_only", "not on this machine")]
)
def test_what_cannot_run_here_is_said(tmp_path: Path, pipeline: str, message: str) -> None:
    inputs = {"training_dataset": tmp_path, "validation_dataset": tmp_path} if pipeline == "sweep" else {}
    result = run(pipeline, tmp_path / "out", **inputs)
    assert result.returncode == 1
    assert message in result.stderr
    assert "Traceback" not in result.stderr
