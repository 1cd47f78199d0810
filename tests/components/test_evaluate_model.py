from __future__ import annotations

import json
from pathlib import Path

import mlflow
import numpy as np

from designer_vision.components.evaluate_model import main
from designer_vision.directories.data_frame_directory import ScoredSet, write_data_frame_directory


def write_scored(folder: Path, predicted: list[int]) -> Path:
    write_data_frame_directory(folder, ScoredSet(("a", "b"), np.eye(2)[predicted], np.arange(4), ["a", "a", "b", "b"]))
    return folder


def test_figures_are_in_json_in_mlflow_and_in_a_picture(tmp_path: Path) -> None:
    main(write_scored(tmp_path / "scored", [0, 0, 1, 0]), None, tmp_path / "out")
    content = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert content["metrics"]["Overall accuracy"] == 0.75
    assert content["per_class"]["a"]["precision"] == 2 / 3
    assert content["confusion_matrix"] == {"labels": ["a", "b"], "true_by_predicted": [[2, 0], [1, 1]]}
    assert (tmp_path / "out" / "confusion_matrix.png").read_bytes().startswith(b"\x89PNG")
    (run,) = mlflow.MlflowClient().search_runs(["0"])
    assert run.data.metrics == content["metrics"]


def test_a_second_scored_set_stands_beside_the_first(tmp_path: Path, capsys) -> None:
    main(write_scored(tmp_path / "one", [0, 0, 1, 0]), write_scored(tmp_path / "two", [0, 0, 1, 1]), tmp_path / "out")
    content = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert content["to_compare"]["metrics"]["Overall accuracy"] == 1
    assert (tmp_path / "out" / "confusion_matrix_to_compare.png").is_file()
    assert "Overall accuracy 0.75 (to compare: 1)" in capsys.readouterr().out
