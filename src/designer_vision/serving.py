"""The MLflow side of a trained ModelDirectory: the files that make it a model, and the loader that reads them.

MLmodel              python_function with this module as its loader, and the signature
code/                this package's sources, so that the folder alone can be served
requirements.txt, conda.yaml, python_env.yaml   exact versions of what the loader imports
"""

from __future__ import annotations

import base64
import platform
import shutil
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pandas as pd
import torch
import yaml

import designer_vision
from designer_vision.directories.data_frame_directory import PROBABILITIES, SCORED_LABELS, score_columns
from designer_vision.directories.model_directory import Model
from designer_vision.errors import DesignerError
from designer_vision.precision import choose_precision
from designer_vision.scoring import BATCH_SIZE, Scorer, fit_for, pixels_of, read_trained_model
from designer_vision.settings import Settings
from designer_vision.tracking import import_mlflow

IMAGE = "image"
REQUIREMENTS = ("msgspec", "numpy", "pandas", "pillow", "pillow-heif", "pyarrow", "pyyaml", "simplejpeg", "torch", "torchvision")


def write_mlflow_files(folder: Path, labels: tuple[str, ...]) -> None:
    """Make a model folder, not yet published, one that MLflow loads and serves."""
    import mlflow
    from mlflow import pyfunc

    package = Path(designer_vision.__file__).parent
    shutil.copytree(package, folder / "code" / package.name, ignore=shutil.ignore_patterns("__pycache__"))
    # the image on Azure has mlflow-skinny only, whose version is the whole mlflow's
    pins = [f"mlflow=={mlflow.__version__}", *(f"{name}=={version(name).partition('+')[0]}" for name in REQUIREMENTS)]
    (folder / "requirements.txt").write_text("".join(f"{pin}\n" for pin in pins))
    python = platform.python_version()
    _write_yaml(folder / "python_env.yaml", {"python": python, "dependencies": ["-r requirements.txt"]})
    dependencies = [f"python={python}", "pip", {"pip": pins}]
    _write_yaml(folder / "conda.yaml", {"name": "mlflow-env", "channels": ["conda-forge"], "dependencies": dependencies})

    model = _description(labels)
    pyfunc.add_to_model(model, __name__, code="code", conda_env="conda.yaml", python_env="python_env.yaml")
    model.save(str(folder / "MLmodel"))


def _description(labels: tuple[str, ...]) -> Any:
    """What MLflow is told of a model: its input and its outputs."""
    from mlflow.models import Model as MlflowModel
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, Schema

    outputs = [ColSpec("double", PROBABILITIES + label) for label in labels] + [ColSpec("string", SCORED_LABELS)]
    return MlflowModel(signature=ModelSignature(inputs=Schema([ColSpec("string", IMAGE)]), outputs=Schema(outputs)))


def _write_yaml(path: Path, content: Any) -> None:
    path.write_text(yaml.safe_dump(content, sort_keys=False))


class ServedModel:
    """Scores photos sent as base64 text."""

    def __init__(self, model: Model) -> None:
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self._labels = model.labels
        self._scorer = Scorer(model, device, choose_precision(device, Settings.from_environment().precision))
        self._fit = fit_for(model)

    def predict(self, model_input: pd.DataFrame, params: dict[str, Any] | None = None) -> pd.DataFrame:
        """The score columns for a column `image` of base64 texts of JPEG, PNG or other image files, of any size.

        Raises:
            ValueError: a text is not base64 or not an image; the message says in which row.
        """
        texts = model_input[IMAGE]
        frames = []
        for start in range(0, len(texts), BATCH_SIZE):
            batch = [self._pixels(text, row) for row, text in enumerate(texts[start : start + BATCH_SIZE], start)]
            frames.append(pd.DataFrame(score_columns(self._labels, self._scorer(torch.stack(batch)))))
        return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame(columns=[SCORED_LABELS])

    def _pixels(self, text: object, row: int) -> torch.Tensor:
        name = f"row {row}, column {IMAGE}"
        if not isinstance(text, str):
            raise ValueError(f"{name}: a {type(text).__name__}, expected the bytes of an image file as base64 text")
        try:
            content = base64.b64decode("".join(text.rpartition("base64,")[2].split()), validate=True)
        except ValueError as error:
            raise ValueError(f"{name}: not base64 text ({error}); send the bytes of an image file as base64") from error
        try:
            return pixels_of(content, name, self._fit)
        except DesignerError as error:
            raise ValueError(error.message) from error


def application(model: Model) -> Any:
    """The web application that `mlflow models serve` starts, made without importing anything from the model's folder."""
    import_mlflow()
    from mlflow.pyfunc import PyFuncModel, scoring_server

    return scoring_server.init(PyFuncModel(_description(model.labels), ServedModel(model)))


def _load_pyfunc(path: str) -> ServedModel:
    """MLflow's entry: `path` is the model folder."""
    return ServedModel(read_trained_model(Path(path)))
