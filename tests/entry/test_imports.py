"""What each component's process has imported by its end: a library that it does not use costs seconds at every start."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import yaml
from conftest import ROOT, make_image_directory, make_photos, training_flags
from processes import run_cold

from designer_vision.components import score_image_model
from designer_vision.entry import init_image_transformation

SLOW_TO_IMPORT = {"azure", "jinja2", "matplotlib", "mlflow", "numpy", "pandas", "PIL", "pyarrow", "rich", "scipy", "sklearn",
                  "sympy", "torch", "torchvision"}  # fmt: skip
IMAGES = {"numpy", "PIL"}
IMAGE_LISTS = IMAGES | {"pyarrow"}
NETWORKS = IMAGES | {"torch", "torchvision"}
SHAPES = NETWORKS | {"sympy"}
"""torch imports its algebra of shapes where an operation's or a network's output size is asked for."""
REPORTS = IMAGE_LISTS | {"jinja2", "matplotlib", "mlflow", "pandas", "rich", "scipy", "sklearn"}
"""MLflow brings pandas and the last three."""
AT_EXIT = f"""
import atexit, os, sys
atexit.register(lambda: open(os.environ["IMPORTED"], "w").write(" ".join({SLOW_TO_IMPORT!r} & set(sys.modules))))
"""


def imported(tmp_path: Path, component: str, **flags: object) -> set[str]:
    """Which of the slow libraries a component's process has imported when it ends."""
    (tmp_path / "hook").mkdir()
    (tmp_path / "hook" / "sitecustomize.py").write_text(AT_EXIT)
    path = os.pathsep.join([str(tmp_path / "hook"), str(ROOT / "src")])
    variables = os.environ | {"PYTHONPATH": path, "IMPORTED": str(tmp_path / "imported")}
    words = [word for name, value in flags.items() for word in (f"--{name}", str(value))]
    result = run_cold([component, *words], variables, tmp_path, 120)
    assert result.returncode == 0, result.stderr
    return set((tmp_path / "imported").read_text().split())


def transformation(folder: Path) -> Path:
    """The TransformationDirectory of Resize and a random rotation."""
    inputs = yaml.safe_load((ROOT / "component" / "init_image_transformation.yaml").read_text())["inputs"]
    chosen = {name: port["default"] for name, port in inputs.items()} | {"size": 20, "random_rotation": True}
    init_image_transformation.main(init_image_transformation.Choices(**chosen), folder)
    return folder


def test_convert_imports_neither_torch_nor_arrow(tmp_path: Path) -> None:
    photos = make_photos(tmp_path / "photos")
    flags = {"input_dataset": photos, "output_image_directory": tmp_path / "out"}
    assert imported(tmp_path, "convert_to_image_directory", **flags) <= IMAGES


def test_split_imports_neither_torch_nor_pandas(tmp_path: Path) -> None:
    images = make_image_directory(tmp_path / "images")
    flags = {"input_image_directory": images, "fraction": 0.5, "random_seed": 1}
    outputs = {f"output_image_directory{number}": tmp_path / f"out{number}" for number in (1, 2)}
    assert imported(tmp_path, "split_image_directory", **flags, **outputs) <= IMAGE_LISTS


def test_init_imports_nothing_slow(tmp_path: Path) -> None:
    inputs = yaml.safe_load((ROOT / "component" / "init_image_transformation.yaml").read_text())["inputs"]
    flags = {name: port["default"] for name, port in inputs.items()}
    assert imported(tmp_path, "init_image_transformation", **flags, output_image_transformation=tmp_path / "out") == set()


def test_apply_imports_neither_pandas_nor_what_reports_need(tmp_path: Path) -> None:
    images = make_image_directory(tmp_path / "images")
    flags = {"mode": "For training", "input_image_transformation": transformation(tmp_path / "transformation")}
    flags |= {"input_image_directory": images, "output_image_directory": tmp_path / "out"}
    assert imported(tmp_path, "apply_image_transformation", **flags) <= IMAGE_LISTS | SHAPES


@pytest.mark.parametrize(
    ("component", "choice"),
    [("resnet", {"zero_init_residual": False}), ("densenet", {"memory_efficient": False}), ("image_network", {})],
)
def test_a_networks_component_imports_torch_and_torchvision_only(component: str, choice: dict[str, bool], tmp_path: Path) -> None:
    name = {"resnet": "resnet18", "densenet": "densenet121", "image_network": "mobilenet_v3_small"}[component]
    flags = {"model_name": name, "pretrained": False, "untrained_model": tmp_path / "out"}
    assert imported(tmp_path, component, **flags, **choice) <= NETWORKS


def test_score_imports_nothing_that_reports_need(trained_model: Path, datasets: tuple[Path, Path], tmp_path: Path) -> None:
    flags = {"trained_model": trained_model, "dataset": datasets[1], "threshold": 0, "scored_dataset": tmp_path / "out"}
    assert imported(tmp_path, "score_image_model", **flags) <= IMAGE_LISTS | SHAPES | {"pandas"}  # Arrow's, to write the tables


def test_evaluate_does_not_import_torch(trained_model: Path, datasets: tuple[Path, Path], tmp_path: Path) -> None:
    score_image_model.main(trained_model, datasets[1], 0, tmp_path / "scored")
    flags = {"scored_dataset": tmp_path / "scored", "dataset": datasets[1], "evaluation_results": tmp_path / "out"}
    assert imported(tmp_path, "evaluate_model", **flags) <= REPORTS


@pytest.mark.slow
def test_train_does_not_import_azures_client(untrained_model: Path, datasets: tuple[Path, Path], tmp_path: Path) -> None:
    flags = training_flags(untrained_model, *datasets, tmp_path / "out")
    assert imported(tmp_path, "train_pytorch_model", **flags) <= REPORTS | SHAPES
