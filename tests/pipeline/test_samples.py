"""Pipelines of this repository that people copy, run by the local runner on a few small photos."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from conftest import ROOT, make_photos
from processes import run_words, with_database

from designer_vision.formats.data_frame_directory import read_data_frame_directory
from designer_vision.formats.model_directory import read_model_directory


def run(
    pipeline: str, folder: Path, environment: dict[str, str] | None = None, **inputs: object
) -> subprocess.CompletedProcess[str]:
    """`designer-vision run`, in this environment."""
    words = [word for name, value in inputs.items() for word in ("--input", f"{name}={value}")]
    words = ["designer-vision", "run", str(ROOT / f"pipelines/{pipeline}.yaml"), "--output_dir", str(folder), *words]
    return run_words(words, with_database(os.environ | (environment or {})), Path.cwd(), 280)


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
    assert "done: none; applied during training: none" in log  # no random operation reaches the validation images


def test_a_trained_model_scores_new_photos_in_a_pipeline_of_its_own(tmp_path: Path, trained_model: Path) -> None:
    photos = make_photos(tmp_path / "photos", per_class=2, size=(40, 50))
    result = run("score_only", tmp_path / "out", trained_model=trained_model, images=photos)
    assert result.returncode == 0, result.stderr
    scored = read_data_frame_directory(tmp_path / "out/score/outputs/scored_dataset")
    assert (len(scored.ids), scored.labels) == (6, ("blue", "green", "red"))


def test_photos_become_a_network_and_a_model_of_ones_own_is_trained_further(tmp_path: Path, trained_model: Path) -> None:
    photos = make_photos(tmp_path / "photos", per_class=10, size=(40, 50))
    (photos / "red").rename(photos / "pink")
    (photos / "pink" / "notes.txt").write_text("x")
    given = {"images": photos, "epochs": 1, "image_size": 32, "resize": 36, "network.trained_model": trained_model}
    result = run("photos", tmp_path / "out", **given)
    assert result.returncode == 0, result.stderr
    model = read_model_directory(tmp_path / "out/train/outputs/trained_model")
    assert (model.labels, model.size) == (("blue", "green", "pink"), (32, 32))
    assert model.operations == [["Resize", 36], ["CenterCrop", {"size": [32, 32]}]]
    log = (tmp_path / "out/train/user_logs/std_log.txt").read_text()
    assert "all layers of that network are kept and trained further; its head is replaced by a new one for 3 classes" in log
    scored = read_data_frame_directory(tmp_path / "out/score/outputs/scored_dataset")
    assert all(name.startswith(("blue/", "green/", "pink/")) for name in scored.names or [""])
    assert "convert: warning: 30 images of 3 classes; left out: 1 .txt" in result.stdout
    assert (tmp_path / "out/evaluate/outputs/evaluation_results/report.html").is_file()


def test_weights_that_cannot_be_fetched_end_the_run_at_its_first_step_with_both_ways_out(tmp_path: Path) -> None:
    nowhere = {"TORCH_HOME": str(tmp_path / "torch"), "https_proxy": "http://127.0.0.1:9"}
    result = run("photos", tmp_path / "out", nowhere, images=make_photos(tmp_path / "photos"))
    assert result.returncode == 1
    assert f"put it into {tmp_path}/torch/hub/checkpoints" in result.stderr
    assert "or start without them: pretrained False" in result.stderr
    assert not (tmp_path / "out/train").exists()


def test_what_cannot_run_here_is_said(tmp_path: Path) -> None:
    result = run("score_only", tmp_path / "out", images=make_photos(tmp_path / "photos"))
    assert result.returncode == 1
    assert "not on this machine" in result.stderr
    assert "Traceback" not in result.stderr
