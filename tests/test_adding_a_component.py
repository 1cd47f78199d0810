"""The page that adds a component works, followed to the letter in a copy of the project."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT, make_image_directory
from processes import run_words, with_database

PAGE = (ROOT / "docs" / "adding_a_component.md").read_text()
FILES = dict(re.findall(r"^`([\w/.]+)`:\n\n```\w+\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE))
PIPELINE = """
type: pipeline
settings: {default_compute: serverless}
inputs: {images: {type: uri_folder}}
jobs:
  take:
    type: command
    component: component/take_images.yaml
    inputs: {input_image_directory: "${{parent.inputs.images}}", images_per_class: 3}
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project with the files of the page."""
    folder = tmp_path_factory.mktemp("project")
    for name in ("src", "component", "environment", "tests"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md"):
        shutil.copy(ROOT / name, folder)
    for name, content in FILES.items():
        assert not (folder / name).exists()
        (folder / name).write_text(content)
    return folder


def test_the_page_has_the_four_files() -> None:
    assert [name.partition("/")[0] for name in FILES] == ["component", "src", "src", "tests"]


def test_its_files_are_as_ours_are(project: Path) -> None:
    for check in (["check"], ["format", "--check"]):
        words = [sys.executable, "-m", "ruff", *check, *(name for name in FILES if name.endswith(".py"))]
        done = subprocess.run(words, cwd=project, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout


def test_its_test_passes_and_so_do_those_of_its_contract(project: Path) -> None:
    words = ["pytest", "-p", "no:cacheprovider", "tests/components/test_take_images.py", "tests/test_contracts.py", "-k"]
    wanted = "take_images and not ports_and_parameters"  # these stand in a table of that test's own
    done = subprocess.run(
        [sys.executable, "-m", *words, wanted],
        cwd=project,
        env={name: value for name, value in os.environ.items() if not name.startswith("PYTEST")}
        | {"PYTHONPATH": str(project / "src")},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert int(re.findall(r"(\d+) passed", done.stdout)[0]) >= 10


def test_a_pipeline_runs_it(project: Path, tmp_path: Path) -> None:
    (project / "pipeline.yaml").write_text(PIPELINE)
    images = make_image_directory(tmp_path / "images")
    words = ["designer-vision", "run", str(project / "pipeline.yaml"), "--input", f"images={images}", "--output_dir", "out"]
    result = run_words(words, with_database(os.environ), tmp_path, 120)
    assert result.returncode == 0, result.stderr
    assert "9 of 12 images taken" in (tmp_path / "out/take/user_logs/std_log.txt").read_text()
