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
import pyarrow.compute as pc
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
MOST_BYTES, MOST_ROWS, MOST_COLUMNS = 4 * 2**30, 20_000_000, 6000
"""Of a table: two million images of 250 classes, say."""
LONGEST_LABEL = 1000
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
        manifest = Manifest(TYPE, format="Parquet", data=DATA, samples=SAMPLES, schema=SCHEMA)
        write_manifest(folder, manifest, hashed=[DATA, SCHEMA, SAMPLES])


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
    name = manifest.data or DATA
    path = folder / name
    try:
        file = pq.ParquetFile(pa.BufferReader(read_verified(folder, name, manifest, InvalidDatasetError, MOST_BYTES)))
        labels = _check_columns(path, file)
        table = file.read(columns=[name for name in file.schema_arrow.names if name in (CATEGORY, "id") or _is_score(name)])
        table.validate(full=True)
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise InvalidDatasetError(f"{path} is not a readable Parquet file: {' '.join(str(error).split())[:300]}") from error
    with_gaps = next((name for name in table.column_names if name != CATEGORY and table[name].null_count), None)
    if with_gaps is not None:
        raise InvalidDatasetError(f"{path} has rows without a value in the column {with_gaps!r}; score the images again")
    probabilities = np.column_stack([table[PROBABILITIES + label].to_numpy() for label in labels]).astype(np.float64)
    if not np.isfinite(probabilities).all():
        raise InvalidDatasetError(f"{path} has probabilities that are no numbers; score the images again")
    ids = table["id"].to_numpy() if "id" in table.column_names else np.arange(len(table))
    categories = None
    if CATEGORY in table.column_names:
        if max(map(len, labels)) > LONGEST_LABEL or (pc.max(pc.utf8_length(table[CATEGORY])).as_py() or 0) > LONGEST_LABEL:
            raise InvalidDatasetError(f"{path} has labels of more than {LONGEST_LABEL} letters; score the images again")
        categories = table[CATEGORY].to_pylist()
    return ScoredSet(labels, probabilities, ids.astype(np.int64), categories)


def _is_score(name: str) -> bool:
    return name.startswith(PROBABILITIES)


def _check_columns(path: Path, file: pq.ParquetFile) -> tuple[str, ...]:
    """The labels of a scored set, once its columns are known to be those of one and to fit into memory."""
    names, rows = file.schema_arrow.names, file.metadata.num_rows
    labels = tuple(name.removeprefix(PROBABILITIES) for name in names if _is_score(name))
    if not labels or not rows:
        raise InvalidDatasetError(
            f"{path} has {rows} rows and the columns {', '.join(names[:10])}, expected {PROBABILITIES}<label>; "
            "connect the output of Score Image Model"
        )
    if len(set(names)) < len(names):
        raise InvalidDatasetError(f"{path} has columns of the same name; score the images again")
    if rows * len(labels) * 8 > MOST_BYTES or rows > MOST_ROWS or len(names) > MOST_COLUMNS:
        raise InvalidDatasetError(f"{path} says that it has {rows} rows of {len(labels)} classes, more than can be evaluated")
    for field in file.schema_arrow:
        name, kind = field.name, field.type
        if name == CATEGORY:
            is_right = pa.types.is_string(kind) or pa.types.is_large_string(kind)
        elif name == "id":
            is_right = pa.types.is_integer(kind)
        else:
            is_right = pa.types.is_floating(kind) or not _is_score(name)
        if not is_right:
            raise InvalidDatasetError(f"{path}: the column {name!r} holds {kind}; score the images again")
    return labels
