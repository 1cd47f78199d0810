"""DataFrameDirectory: a table, as the classic designer lays it out; here always a scored set.

_data.parquet         columns: category (labelled input only), id, file_name, Scored Probabilities_<label> ..., Scored Labels
schema/_schema.json   the columns, and which of them are labels and scores
_samples.json         the first 3 rows
_meta.yaml            type, format: Parquet, the names of the files above
scores.csv            the same for people: file_name, true_label (labelled input only), predicted_label, probability (of the
                      most probable label), probability_<label> ...
unreadable.txt        the images that could not be scored, where there were any

`file_name` and the last two files are ours; a classic reader passes over them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from designer_vision.formats.manifest import (
    Manifest,
    publishing,
    read_manifest,
    read_verified,
    write_json,
    write_manifest,
)
from designer_vision.runtime.console import cell, printable
from designer_vision.runtime.errors import InvalidDatasetError, NotInRangeValueError
from designer_vision.runtime.values import check_range

TYPE = "DataFrameDirectory"
MOST_BYTES, MOST_ROWS, MOST_COLUMNS = 4 * 2**30, 20_000_000, 6000
"""Of a table: two million images of 250 classes, say."""
LONGEST = {"category": 1000, "file_name": 5000}
"""Letters of a text in these columns."""
DATA, SAMPLES, SCHEMA = "_data.parquet", "_samples.json", "schema/_schema.json"
SCORES, UNREADABLE = "scores.csv", "unreadable.txt"
PROBABILITIES, SCORED_LABELS, CATEGORY, FILE_NAME = "Scored Probabilities_", "Scored Labels", "category", "file_name"
UNKNOWN = "unknown"
"""The label of an image whose most probable class is less probable than a threshold."""
DIGITS = 6
"""Of a probability in `scores.csv`."""


@dataclass(frozen=True)
class ScoredSet:
    """What a network says about some images.

    Attributes:
        labels: the network's classes, in index order.
        probabilities: float64 [images, classes].
        ids: int64 [images].
        categories: the true label of each image, None where it has none; None for an unlabelled set.
        names: what the person called each image's file; None in a set that does not say, as a classic one.
        threshold: the probability from which on a label is given.
    """

    labels: tuple[str, ...]
    probabilities: npt.NDArray[np.float64]
    ids: npt.NDArray[np.int64]
    categories: list[str | None] | None
    names: list[str] | None = None
    threshold: float = 0.0

    @property
    def scored_labels(self) -> list[str]:
        """The label of each image."""
        return labels_of(self.labels, self.probabilities, self.threshold)


def labels_of(labels: tuple[str, ...], probabilities: npt.NDArray[np.float64], threshold: float) -> list[str]:
    """The most probable label of each row [n, classes], or UNKNOWN where its probability is below the threshold."""
    is_known = probabilities.max(axis=1, initial=0) >= threshold
    return [labels[index] if known else UNKNOWN for index, known in zip(probabilities.argmax(axis=1), is_known, strict=True)]


def check_threshold(threshold: float, labels: tuple[str, ...]) -> None:
    """Refuse what is no threshold for a model with these labels.

    Raises:
        NotInRangeValueError: it is not between 0 and 1, or UNKNOWN would be taken for one of the labels.
    """
    check_range("threshold", threshold, 0, 1)
    if threshold > 0 and UNKNOWN in labels:
        raise NotInRangeValueError(
            f"threshold is {threshold}, and the model has a class called {UNKNOWN!r}, which could not be told from images below "
            "the threshold; expected 0"
        )


def score_columns(labels: tuple[str, ...], probabilities: npt.NDArray[np.float64], threshold: float = 0.0) -> dict[str, Any]:
    """The columns that scoring adds, by name: a probability a class in index order, then the label."""
    columns: dict[str, Any] = {PROBABILITIES + label: probabilities[:, index] for index, label in enumerate(labels)}
    return columns | {SCORED_LABELS: labels_of(labels, probabilities, threshold)}


def write_data_frame_directory(folder: Path, scored: ScoredSet, unreadable: Sequence[str] = ()) -> None:
    """Write a scored set, its manifest last.

    Args:
        folder: the output.
        scored: what was scored.
        unreadable: a line about each image that could not be.
    """
    columns: dict[str, Any] = {} if scored.categories is None else {CATEGORY: pa.array(scored.categories, pa.string())}
    columns |= {"id": scored.ids}
    if scored.names is not None:
        columns |= {FILE_NAME: pa.array([storable(name) for name in scored.names], pa.string())}
    table = pa.table(columns | score_columns(scored.labels, scored.probabilities, scored.threshold))
    with publishing(folder):
        (folder / "schema").mkdir()
        pq.write_table(table, folder / DATA)
        write_json(folder / SCHEMA, _schema(table, scored))
        write_json(folder / SAMPLES, table.slice(0, 3).to_pylist())
        pyarrow.csv.write_csv(_for_people(scored), folder / SCORES)
        if unreadable:
            (folder / UNREADABLE).write_text("".join(f"{printable(line)}\n" for line in unreadable), encoding="utf-8")
        manifest = Manifest(TYPE, format="Parquet", data=DATA, samples=SAMPLES, schema=SCHEMA)
        write_manifest(folder, manifest, hashed=[DATA, SCHEMA, SAMPLES])


def storable(name: str) -> str:
    """The name of a file, which can be any bytes and of any length, as text that a reader takes."""
    return name.encode("utf-8", "backslashreplace").decode()[: LONGEST[FILE_NAME]]


def _for_people(scored: ScoredSet) -> pa.Table:
    """The table of `scores.csv`."""
    names = scored.names if scored.names is not None else [f"id {number}" for number in scored.ids]
    columns: list[tuple[str, Any]] = [(FILE_NAME, [cell(name) for name in names])]
    if scored.categories is not None:
        columns.append(("true_label", [cell(label or "") for label in scored.categories]))
    columns.append(("predicted_label", [cell(label) for label in scored.scored_labels]))
    columns.append(("probability", scored.probabilities.max(axis=1).round(DIGITS)))
    columns += [
        (printable(f"probability_{label}"), scored.probabilities[:, index].round(DIGITS))
        for index, label in enumerate(scored.labels)
    ]
    return pa.Table.from_arrays([pa.array(column) for _, column in columns], [name for name, _ in columns])


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
        content = pa.BufferReader(read_verified(folder, name, manifest, InvalidDatasetError, MOST_BYTES))
        schema = pq.ParquetFile(content).schema
        texts = [column.path for column in map(schema.column, range(len(schema))) if column.path in LONGEST]
        file = pq.ParquetFile(content, read_dictionary=texts)  # a text is kept once, however many rows have it
        labels = _check_columns(path, file)
        table = file.read(columns=[name for name in file.schema_arrow.names if name in (*LONGEST, "id") or _is_score(name)])
        table.validate(full=True)
        categories, names = (_texts(path, table, name) for name in LONGEST)
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise InvalidDatasetError(f"{path} is not a readable Parquet file: {' '.join(str(error).split())[:300]}") from error
    with_gaps = next((name for name in table.column_names if name != CATEGORY and table[name].null_count), None)
    if with_gaps is not None:
        raise InvalidDatasetError(f"{path} has rows without a value in the column {with_gaps!r}; score the images again")
    probabilities = np.column_stack([table[PROBABILITIES + label].to_numpy() for label in labels]).astype(np.float64)
    if not np.isfinite(probabilities).all():
        raise InvalidDatasetError(f"{path} has probabilities that are not numbers; score the images again")
    ids = table["id"].to_numpy() if "id" in table.column_names else np.arange(len(table))
    return ScoredSet(labels, probabilities, ids.astype(np.int64), categories, names)


def _texts(path: Path, table: pa.Table, name: str) -> list[Any] | None:
    """A column of texts; None where the table has no such column."""
    if name not in table.column_names:
        return None
    texts: list[Any] = []
    for chunk in table[name].chunks:
        values = chunk.dictionary.to_pylist()
        if max((len(value) for value in values if value), default=0) > LONGEST[name]:
            raise InvalidDatasetError(f"{path} has a {name} of more than {LONGEST[name]} letters; score the images again")
        texts += [None if number is None else values[number] for number in chunk.indices.to_pylist()]
    return texts


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
    if max(map(len, labels)) > LONGEST[CATEGORY]:
        raise InvalidDatasetError(f"{path} has a label of more than {LONGEST[CATEGORY]} letters; score the images again")
    if len(set(names)) < len(names):
        raise InvalidDatasetError(f"{path} has columns of the same name; score the images again")
    if rows * len(labels) * 8 > MOST_BYTES or rows > MOST_ROWS or len(names) > MOST_COLUMNS:
        raise InvalidDatasetError(f"{path} says that it has {rows} rows of {len(labels)} classes, more than can be evaluated")
    for field in file.schema_arrow:
        name, kind = field.name, field.type
        if name in LONGEST:
            is_right = pa.types.is_dictionary(kind) and kind.value_type == pa.string()
        elif name == "id":
            is_right = pa.types.is_integer(kind)
        else:
            is_right = pa.types.is_floating(kind) or not _is_score(name)
        if not is_right:
            raise InvalidDatasetError(f"{path}: the column {name!r} holds {kind}; score the images again")
    return labels
