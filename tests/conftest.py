"""Small data that tests make, and the processes they start."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings
from PIL import Image
from processes import run_words, with_database

from designer_vision.data.images import encode_png
from designer_vision.formats.image_directory import ImageDirectoryWriter
from designer_vision.formats.image_index import ImageInfo, Row
from designer_vision.networks.architectures import Architecture
from designer_vision.runtime.files import hash_of_bytes

pytest_plugins = ["faults.jobs"]
settings.register_profile("ours", deadline=None)  # machines are shared: how long a test takes says nothing
settings.load_profile("ours")
ROOT = Path(__file__).parent.parent
TRACKED = {"train_pytorch_model", "evaluate_model"}
"""Components that log to MLflow."""
BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
needs_browser = pytest.mark.skipif(BROWSER is None, reason="no Chromium here; .ci/run installs it")
COLORS = {"blue": (30, 30, 220), "green": (30, 220, 30), "red": (220, 30, 30)}


LONGEST_FIRST = ("pipeline", "faults", "components", "runtime", "training", "designer", "client")
"""Folders whose files take minutes: where two processes test, neither is left with one of these in the end."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    def place(item: pytest.Item) -> int:
        folder = item.path.parent.name
        return LONGEST_FIRST.index(folder) if folder in LONGEST_FIRST else len(LONGEST_FIRST)

    items.sort(key=place)


def colored_pixels(label: str, number: int, height: int, width: int) -> np.ndarray:
    """A noisy picture in the label's colour: easy to tell apart, and no two are equal."""
    generator = np.random.default_rng((number, *label.encode()))
    noise = generator.integers(-30, 30, (height, width, 3))
    return np.clip(np.array(COLORS[label]) + noise, 0, 255).astype(np.uint8)


def make_photos(folder: Path, per_class: int = 4, size: tuple[int, int] = (32, 32)) -> Path:
    """Class folders of PNG files."""
    for label in COLORS:
        (folder / label).mkdir(parents=True)
        for number in range(per_class):
            Image.fromarray(colored_pixels(label, number, *size)).save(folder / label / f"photo {number}.png")
    return folder


def make_image_directory(folder: Path, per_class: int = 4, size: tuple[int, int] = (32, 32), first: int = 0, **recorded) -> Path:
    """An ImageDirectory of our writer; `first` moves the numbers on, so that two sets have no picture in common."""
    with ImageDirectoryWriter(folder, list(COLORS), **recorded) as writer:
        for label in COLORS:
            for number in range(first, first + per_class):
                content = encode_png(colored_pixels(label, number, *size))
                name = f"{label}/{number}.png"
                info = ImageInfo(height=size[0], width=size[1], content_hash=hash_of_bytes(content), original_file_name=name)
                writer.add(content, ".png", Row(info, label))
    return folder


def hear_ctrl_c() -> None:
    """For a process that is to be interrupted, also where the tests run in a background job, which ignores it."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def run_entry(component: str, environment: dict[str, str] | None = None, **flags: object) -> subprocess.CompletedProcess[str]:
    """Run a component's entry as a process of its own, which has its imports already."""
    words = [word for name, value in flags.items() for word in (f"--{name}", str(value))]
    variables = os.environ | {"PYTHONPATH": str(ROOT / "src")} | (environment or {})
    if component in TRACKED:
        variables = with_database(variables)
    return run_words([component, *words], variables, Path.cwd(), 120)


@pytest.fixture(autouse=True)
def _metrics_stay_in_the_test(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """MLflow, where a test reaches it, writes below the test's folder; and no test inherits a rank."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'mlflow.db'}")
    for name in ("MLFLOW_RUN_ID", "RANK", "WORLD_SIZE", "LOCAL_RANK", "DESIGNER_VISION_PRECISION"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="session")
def untrained_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The ModelDirectory of an untrained ResNet-18."""
    from designer_vision.formats.model_directory import untrained, write_model_directory

    folder = tmp_path_factory.mktemp("models") / "untrained"
    write_model_directory(folder, untrained(Architecture("resnet18"), pretrained=False))
    return folder


@pytest.fixture(scope="session")
def datasets(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A training set of 36 and a validation set of 6 pictures of 32 x 32 pixels in three colours."""
    folder = tmp_path_factory.mktemp("datasets")
    training = make_image_directory(folder / "training", per_class=12)
    return training, make_image_directory(folder / "validation", per_class=2, first=100)


@pytest.fixture(scope="session")
def trained_model(untrained_model: Path, datasets: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The ModelDirectory of a ResNet-18 that Train PyTorch Model, as one process, trained for two epochs."""
    folder = tmp_path_factory.mktemp("models") / "trained"
    result = run_entry(
        "train_pytorch_model",
        {"MLFLOW_TRACKING_URI": f"sqlite:///{folder.parent / 'mlflow.db'}"},
        **training_flags(untrained_model, *datasets, folder, epochs=2),
    )
    assert result.returncode == 0, result.stderr
    return folder


def training_flags(model: Path, training: Path, validation: Path, output: Path, **changed: object) -> dict[str, object]:
    """All flags of Train PyTorch Model."""
    flags: dict[str, object] = {
        "untrained_model": model,
        "training_dataset": training,
        "validation_dataset": validation,
        "epochs": 1,
        "batch_size": 6,
        "warmup_step_number": 0,
        "learning_rate": 0.01,
        "random_seed": 1,
        "patience": 3,
        "print_frequency": 2,
        "trained_model": output,
    }
    return flags | changed


@pytest.fixture
def slow_mount(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Path]]:
    """Mounts a folder elsewhere, each file with waits of its own: `slow_mount(folder, attribute_ms=5, stall="x.png")`."""
    mounts: list[tuple[Path, subprocess.Popen[str]]] = []

    def mount(source: Path, **flags: object) -> Path:
        place = tmp_path_factory.mktemp("mount")
        words = [word for name, value in flags.items() for word in (f"--{name}", str(value))]
        program = [sys.executable, str(ROOT / "benchmarks/slow_folder.py"), str(source), str(place), *words]
        server = subprocess.Popen(program, stderr=subprocess.PIPE, text=True)
        mounts.append((place, server))
        while not place.is_mount():
            if server.poll() is not None:
                assert server.stderr
                pytest.skip(server.stderr.read().strip())
            time.sleep(0.02)
        return place

    yield mount
    for place, server in mounts:
        server.terminate()
        server.wait()
        assert not place.is_mount()
