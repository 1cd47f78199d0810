"""The MLflow side of a trained ModelDirectory: the files that make it a model, and the loader that reads them.

MLmodel              python_function with this module as its loader, and the signature
code/                this package's sources, so that the folder alone can be served
requirements.txt, conda.yaml, python_env.yaml   exact versions of what the loader imports, and what an endpoint on Azure needs
"""

from __future__ import annotations

import base64
import platform
import shutil
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
import yaml

import designer_vision
from designer_vision.formats.data_frame_directory import PROBABILITIES, SCORED_LABELS, check_threshold, score_columns
from designer_vision.formats.model_directory import Model
from designer_vision.inference.scoring import Scorer, batch_size_for, fit_for, pixels_of, read_trained_model
from designer_vision.runtime.description import from_json
from designer_vision.runtime.errors import DesignerError, ModuleOutOfMemoryError, NotInRangeValueError, RequestError
from designer_vision.runtime.gpus import device_for_scoring
from designer_vision.runtime.precision import choose_precision
from designer_vision.runtime.settings import Settings
from designer_vision.runtime.tracking import import_mlflow

IMAGE, THRESHOLD = "image", "threshold"
ERROR = "Error"
"""The column of an answer that says why a row has no label; None in all other rows."""
REQUIREMENTS = ("msgspec", "numpy", "pandas", "pillow", "pillow-heif", "pyyaml", "simplejpeg", "torch", "torchvision")
"""Without pyarrow, which mlflow brings: what Azure ML adds for a batch endpoint wants an older one."""
ON_AZURE = ("azureml-ai-monitoring==1.0.0", "azureml-inference-server-http==1.5.1")
"""What Azure ML's own scoring script imports where a model is deployed without another one, and the server that runs it."""
EXAMPLE = f'{{"input_data": {{"columns": ["{IMAGE}"], "data": [["base64 text"]]}}}}'
MOST_BYTES = 2**26
"""Of a request: some twenty photos as they come from a camera."""


def write_mlflow_files(folder: Path, labels: tuple[str, ...]) -> None:
    """Make a model folder, not yet published, one that MLflow loads and serves."""
    import mlflow
    from mlflow import pyfunc

    package = Path(designer_vision.__file__).parent
    shutil.copytree(package, folder / "code" / package.name, ignore=shutil.ignore_patterns("__pycache__"))
    # the image on Azure has mlflow-skinny only, whose version is the whole mlflow's
    own = (f"{name}=={version(name).partition('+')[0]}" for name in REQUIREMENTS)
    pins = [f"mlflow=={mlflow.__version__}", *own, *ON_AZURE]
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
    from mlflow.types import ColSpec, ParamSchema, ParamSpec, Schema

    outputs = [ColSpec("double", PROBABILITIES + label, required=False) for label in labels]
    outputs += [ColSpec("string", name, required=False) for name in (SCORED_LABELS, ERROR)]
    params = ParamSchema([ParamSpec(THRESHOLD, "double", 0.0)])
    return MlflowModel(signature=ModelSignature(Schema([ColSpec("string", IMAGE)]), Schema(outputs), params))


def _write_yaml(path: Path, content: Any) -> None:
    path.write_text(yaml.safe_dump(content, sort_keys=False))


class ServedModel:
    """Scores photos sent as base64 text."""

    def __init__(self, model: Model) -> None:
        device = device_for_scoring()
        self._labels, self._batch_size = model.labels, batch_size_for(device)
        self._scorer = Scorer(model, device, choose_precision(device, Settings.from_environment().precision))
        self._fit = fit_for(model)

    def predict(self, model_input: pd.DataFrame, params: dict[str, Any] | None = None) -> pd.DataFrame:
        """The score columns for a column `image` of base64 texts of JPEG, PNG or other image files, of any size.

        Args:
            model_input: with that column.
            params: `threshold`, where images with no class of that probability shall be labelled unknown.

        Returns:
            A row for each text, in their order. One that cannot be scored has the reason in the column `Error`, and else None:
            an endpoint on Azure does not hand on what an exception says.

        Raises:
            NotInRangeValueError: threshold is not between 0 and 1, or there is a class called unknown.
        """
        return self.score(list(model_input[IMAGE]), (params or {}).get(THRESHOLD, 0.0))

    def score(self, texts: Sequence[object], threshold: float = 0.0) -> pd.DataFrame:
        """The rows of some texts, as `predict` gives them."""
        check_threshold(threshold, self._labels)
        size = self._batch_size
        frames = [self._answers(texts[start : start + size], start, threshold) for start in range(0, len(texts), size)]
        return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame(columns=[SCORED_LABELS, ERROR])

    def _answers(self, texts: Sequence[object], first: int, threshold: float) -> pd.DataFrame:
        """The rows of one batch; `first` is the number of its first row."""
        read = {row: self._pixels(text, f"row {first + row}, column {IMAGE}") for row, text in enumerate(texts)}
        reasons = {row: reason for row, reason in read.items() if isinstance(reason, str)}
        pixels = {row: seen for row, seen in read.items() if isinstance(seen, torch.Tensor)}
        probabilities = np.empty((0, len(self._labels)))
        try:
            if pixels:
                probabilities = self._scorer(torch.stack([*pixels.values()]))
        except ModuleOutOfMemoryError as error:
            reasons |= dict.fromkeys(pixels, error.message)
            pixels = {}
        for row, numbers in zip(pixels, probabilities, strict=True):
            if not np.isfinite(numbers).all():
                reasons[row] = f"the network gives no numbers for row {first + row}; train the model again"
        frame = pd.DataFrame(score_columns(self._labels, probabilities, threshold), index=[*pixels])
        if reasons:
            frame = frame.drop(index=[row for row in reasons if row in pixels]).reindex([*read]).astype(object)
            frame = frame.where(frame.notna(), None)  # not NaN, which is no JSON
        return frame.assign(**{ERROR: pd.Series([reasons.get(row) for row in read], frame.index, dtype=object)})

    def _pixels(self, text: object, name: str) -> torch.Tensor | str:
        """The photo, or why it cannot be read."""
        if not isinstance(text, str):
            found = "nothing" if text is None or (isinstance(text, float) and np.isnan(text)) else f"a {type(text).__name__}"
            return f"{name}: {found}, expected the bytes of an image file as base64 text"
        try:
            content = base64.b64decode("".join(text.rpartition("base64,")[2].split()), validate=True)
        except ValueError as error:
            return f"{name}: not base64 text ({error}); send the bytes of an image file as base64"
        try:
            return pixels_of(content, name, self._fit)
        except DesignerError as error:
            return error.message


def answer(model: ServedModel, body: bytes) -> tuple[int, Any]:
    """What an endpoint answers: the work of a scoring script, apart from the server that calls it.

    Args:
        model: as `load` gives it.
        body: JSON: `input_data` or `dataframe_split` with `columns` and `data`, `dataframe_records` with an object a photo, or
            `input_data` with a list of texts.

    Returns:
        The status, and what goes into the answer as JSON: the rows, or a message.
    """
    try:
        request = _request_of(body)
        return 200, model.score(_texts_of(request), _threshold_of(request)).to_dict("records")
    except (RequestError, NotInRangeValueError) as error:
        return 400, {"message": error.message}


def _request_of(body: bytes) -> dict[str, Any]:
    """The object that a request is.

    Raises:
        RequestError: it is not what an endpoint takes.
    """
    if len(body) > MOST_BYTES:
        raise RequestError(f"the request has {len(body):,} bytes, expected {MOST_BYTES:,} at most; send fewer or smaller photos")
    return from_json(body, dict[str, Any], "the request", RequestError, expected=f"JSON like {EXAMPLE}")


def _threshold_of(request: dict[str, Any]) -> float:
    """The parameter of a request, beside its rows or, as Azure's own script has it, among them; 0 without one."""
    inside = request.get("input_data")
    params = request.get("params") or (inside.get("params") if isinstance(inside, dict) else None) or {}
    threshold = params.get(THRESHOLD, 0.0) if isinstance(params, dict) and not set(params) - {THRESHOLD} else None
    if isinstance(threshold, bool) or not isinstance(threshold, (int, float)):
        raise RequestError(f'the request has params {str(params)[:100]}, expected {{"{THRESHOLD}": 0.5}}')
    return float(threshold)


def _texts_of(request: dict[str, Any]) -> list[object]:
    """The column `image` of a request, whatever is in its rows.

    Raises:
        RequestError: it is not what an endpoint takes.
    """
    key = next((key for key in ("input_data", "dataframe_split", "dataframe_records") if key in request), None)
    content = request.get(key) if key else None
    if isinstance(content, dict) and {"columns", "data"} <= content.keys():
        columns, rows = content["columns"], content["data"]
        if isinstance(columns, list) and IMAGE in columns and isinstance(rows, list):
            place = columns.index(IMAGE)
            return [row[place] if isinstance(row, list) and len(row) == len(columns) else row for row in rows]
    if isinstance(content, list):
        return [row.get(IMAGE) if isinstance(row, dict) else row for row in content]
    found = ", ".join(request) if key is None else f"{key} without a column {IMAGE}"
    raise RequestError(f"the request has {found[:100] or 'nothing'}, expected JSON like {EXAMPLE}")


def application(model: Model) -> Any:
    """The web application that `mlflow models serve` starts, made without importing anything from the model's folder."""
    import_mlflow()
    from mlflow.pyfunc import PyFuncModel, scoring_server

    return scoring_server.init(PyFuncModel(_description(model.labels), ServedModel(model)))


def load(folder: Path) -> ServedModel:
    """A trained model, ready to answer.

    Raises:
        InvalidModelDirectoryError: it is untrained or damaged.
    """
    return ServedModel(read_trained_model(folder))


def _load_pyfunc(path: str) -> ServedModel:
    """MLflow's entry: `path` is the model folder."""
    return load(Path(path))
