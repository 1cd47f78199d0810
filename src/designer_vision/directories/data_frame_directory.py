"""DataFrameDirectory: a table, as the classic designer lays it out; here always a scored set.

_data.parquet         columns: category (labelled input only), id, Scored Probabilities_<label> ..., Scored Labels
schema/_schema.json   the columns, and which of them are labels and scores
_samples.json         the first 3 rows
_meta.yaml            type, format: Parquet, the names of the files above
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from designer_vision.directories.manifest import (
    Manifest,
    publishing,
    read_manifest,
    read_verified,
    write_json,
    write_manifest,
)
from designer_vision.errors import InvalidDatasetError

TYPE = "DataFrameDirectory"
DATA, SAMPLES, SCHEMA = "_data.parquet", "_samples.json", "schema/_schema.json"
PROBABILITIES, SCORED_LABELS, CATEGORY = "Scored Probabilities_", "Scored Labels", "category"


@dataclass(frozen=True)
class ScoredSet:
    """What a network says about some images.

    Attributes:
        labels: the network's classes, in index order.
        probabilities: float64 [images, classes].
        ids: int64 [images].
        categories: the true label of each image, None where it has none; None for an unlabelled set.
    """

    labels: tuple[str, ...]
    probabilities: npt.NDArray[np.float64]
    ids: npt.NDArray[np.int64]
    categories: list[str | None] | None

    @property
    def scored_labels(self) -> list[str]:
        """The most probable label of each image."""
        return [self.labels[index] for index in self.probabilities.argmax(axis=1)]


def score_columns(labels: tuple[str, ...], probabilities: npt.NDArray[np.float64]) -> dict[str, Any]:
    """The columns that scoring adds, by name: a probability a class in index order, then the label."""
    columns: dict[str, Any] = {PROBABILITIES + label: probabilities[:, index] for index, label in enumerate(labels)}
    return columns | {SCORED_LABELS: [labels[index] for index in probabilities.argmax(axis=1)]}


def write_data_frame_directory(folder: Path, scored: ScoredSet) -> None:
    """Write a scored set, its manifest last."""
    columns: dict[str, Any] = {} if scored.categories is None else {CATEGORY: pa.array(scored.categories, pa.string())}
    columns |= {"id": scored.ids} | score_columns(scored.labels, scored.probabilities)
    table = pa.table(columns)
    with publishing(folder):
        (folder / "schema").mkdir()
        pq.write_table(table, folder / DATA)
        write_json(folder / SCHEMA, _schema(table, scored))
        write_json(folder / SAMPLES, table.slice(0, 3).to_pylist())
        files = {"format": "Parquet", "data": DATA, "samples": SAMPLES, "schema": SCHEMA}
        write_manifest(folder, Manifest(TYPE, files), hashed=[DATA, SCHEMA, SAMPLES])


def _schema(table: pa.Table, scored: ScoredSet) -> dict[str, Any]:
    kinds = {"string": ("String", "str"), "int64": ("Numeric", "int64"), "double": ("Numeric", "float64")}
    attributes = [
        {
            "name": field.name,
            "type": kinds[str(field.type)][0],
            "isFeature": False,
            "elementType": {"typeName": kinds[str(field.type)][1], "isNullable": False},
            "properties": {},
        }
        for field in table.schema
    ]
    score_names = {PROBABILITIES + label: PROBABILITIES + label for label in scored.labels}
    label_columns = {} if scored.categories is None else {"labelColumns": {"True Labels": CATEGORY}}
    return {
        "columnAttributes": attributes,
        "featureChannels": [],
        **label_columns,
        "scoreColumns": score_names | {"Multi Class Assigned Labels": SCORED_LABELS},
    }


def read_data_frame_directory(folder: Path) -> ScoredSet:
    """Read a scored set that Score Image Model, ours or the classic one, wrote.

    Raises:
        InvalidDatasetError: the folder is no finished DataFrameDirectory, or its columns are not those of a scored set.
    """
    manifest = read_manifest(folder, TYPE, InvalidDatasetError)
    name = manifest.files.get("data", DATA)
    path = folder / name
    try:
        table = pq.read_table(pa.BufferReader(read_verified(folder, name, manifest, InvalidDatasetError)))
    except (pa.ArrowException, OSError) as error:
        raise InvalidDatasetError(f"{path} is not a readable Parquet file: {error}") from error
    labels = tuple(name.removeprefix(PROBABILITIES) for name in table.column_names if name.startswith(PROBABILITIES))
    if not labels:
        raise InvalidDatasetError(
            f"{path} has no column {PROBABILITIES}<label>, found {', '.join(table.column_names[:10])}; "
            "connect the output of Score Image Model"
        )
    probabilities = np.column_stack([table[PROBABILITIES + label].to_numpy() for label in labels]).astype(np.float64)
    ids = table["id"].to_numpy() if "id" in table.column_names else np.arange(len(table))
    categories = table[CATEGORY].to_pylist() if CATEGORY in table.column_names else None
    return ScoredSet(labels, probabilities, ids.astype(np.int64), categories)
