from __future__ import annotations

import csv
import json
import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from designer_vision.formats.data_frame_directory import ScoredSet, read_data_frame_directory, write_data_frame_directory
from designer_vision.runtime.errors import InvalidDatasetError

NAMES = ["cats/a.jpg", "b, c.png"]


def scored(categories: list[str | None] | None, names: list[str] | None = NAMES) -> ScoredSet:
    return ScoredSet(("cat", "dog"), np.array([[0.9, 0.1], [0.2, 0.8]]), np.array([3, 5]), categories, names)


@pytest.mark.parametrize("categories", [["cat", None], None])
def test_what_is_written_is_read_back(tmp_path: Path, categories: list[str | None] | None) -> None:
    write_data_frame_directory(tmp_path, scored(categories))
    read = read_data_frame_directory(tmp_path)
    assert (read.labels, read.categories, read.scored_labels) == (("cat", "dog"), categories, ["cat", "dog"])
    assert (read.probabilities == scored(None).probabilities).all()
    assert (read.ids.tolist(), read.names) == ([3, 5], NAMES)


def test_columns_and_schema_are_the_classic_ones(tmp_path: Path) -> None:
    write_data_frame_directory(tmp_path, scored(["cat", "dog"]))
    table = pq.read_table(tmp_path / "_data.parquet")
    names = ["category", "id", "file_name", "Scored Probabilities_cat", "Scored Probabilities_dog", "Scored Labels"]
    assert table.column_names == names
    assert [str(kind) for kind in table.schema.types] == ["string", "int64", "string", "double", "double", "string"]
    schema = json.loads((tmp_path / "schema" / "_schema.json").read_text())
    assert [column["name"] for column in schema["columnAttributes"]] == names
    element = {"typeName": "str", "isNullable": False}
    assert schema["columnAttributes"][2] == {
        "name": "file_name", "type": "String", "isFeature": False, "elementType": element, "properties": {},
    }  # fmt: skip
    assert schema["labelColumns"] == {"True Labels": "category"}
    assert schema["scoreColumns"]["Multi Class Assigned Labels"] == "Scored Labels"
    meta = yaml.safe_load((tmp_path / "_meta.yaml").read_text())
    assert (meta["format"], meta["data"], meta["schema"]) == ("Parquet", "_data.parquet", "schema/_schema.json")


def test_an_unlabeled_set_has_no_label_columns(tmp_path: Path) -> None:
    write_data_frame_directory(tmp_path, scored(None))
    assert "labelColumns" not in json.loads((tmp_path / "schema" / "_schema.json").read_text())


def test_a_table_that_is_no_scored_set_is_refused(tmp_path: Path) -> None:
    write_data_frame_directory(tmp_path, scored(None))
    pq.write_table(pa.table({"x": [1]}), tmp_path / "_data.parquet")
    meta = yaml.safe_load((tmp_path / "_meta.yaml").read_text()) | {"extension": {}}
    (tmp_path / "_meta.yaml").write_text(yaml.safe_dump(meta))
    with pytest.raises(InvalidDatasetError, match="the columns x, expected Scored Probabilities_<label>"):
        read_data_frame_directory(tmp_path)


def test_a_folder_that_the_classic_module_wrote_is_read(tmp_path: Path) -> None:
    columns = {"id": [7], "Scored Probabilities_b": [0.25], "Scored Probabilities_a": [0.75], "Scored Labels": ["a"]}
    pq.write_table(pa.table({"category": ["b"], **columns}), tmp_path / "_data.parquet")
    meta = {
        "type": "DataFrameDirectory",
        "extension": {},
        "format": "Parquet",
        "data": "_data.parquet",
        "samples": "_samples.json",
    }
    visualization = {"visualization": [{"type": "Visualizer", "path": "_visualization.json"}], "schema": "schema/_schema.json"}
    (tmp_path / "_meta.yaml").write_text(yaml.safe_dump(meta | visualization))
    read = read_data_frame_directory(tmp_path)
    assert (read.labels, read.scored_labels, read.categories, read.ids.tolist()) == (("b", "a"), ["a"], ["b"], [7])
    assert read.names is None


def written(folder: Path, **columns: object) -> Path:
    """A scored set of two images whose table has these columns too."""
    pq.write_table(pa.table({"Scored Probabilities_a": [0.5, 1.0], **columns}), folder / "_data.parquet")
    (folder / "_meta.yaml").write_text("type: DataFrameDirectory\n")
    return folder


@pytest.mark.parametrize(
    ("column", "message"),
    [
        ([1, 2], "the column 'file_name' holds int64"),
        (pa.array([b"a", b"\xff"]), "the column 'file_name' holds .*binary"),
        (pa.array([{"a": "x"}, {"a": "y"}]), "the column 'file_name' holds struct"),
        (["a", None], "rows without a value in the column 'file_name'"),
        (["a", "x" * 5001], "a file_name of more than 5000 letters"),
    ],
)
def test_file_names_that_are_none_are_refused(tmp_path: Path, column: object, message: str) -> None:
    with pytest.raises(InvalidDatasetError, match=message):
        read_data_frame_directory(written(tmp_path, file_name=column))


def test_a_text_of_very_many_rows_takes_the_memory_of_one(tmp_path: Path) -> None:
    probabilities, names = pa.array(np.ones(100_000)), pa.array(["x" * 5000]).take(pa.array(np.zeros(100_000, np.int64)))
    pq.write_table(pa.table({"Scored Probabilities_a": probabilities, "file_name": names}), tmp_path / "_data.parquet")
    (tmp_path / "_meta.yaml").write_text("type: DataFrameDirectory\n")
    read = read_data_frame_directory(tmp_path).names
    assert read is not None
    assert (len(read), len({id(name) for name in read})) == (100_000, 1)


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string(), pa.dictionary(pa.int8(), pa.string())])
def test_texts_are_read_however_parquet_stores_them(tmp_path: Path, kind: pa.DataType) -> None:
    folder = written(tmp_path, category=pa.array(["a", None], kind), file_name=pa.array(["x", "x"], kind))
    read = read_data_frame_directory(folder)
    assert (read.categories, read.names) == (["a", None], ["x", "x"])


def test_a_file_whose_name_is_no_text_or_endless_is_written_and_read_back(tmp_path: Path) -> None:
    write_data_frame_directory(tmp_path, scored(None, [os.fsdecode(b"caf\xe9.png"), "x" * 6000]))
    assert read_data_frame_directory(tmp_path).names == ["caf\\udce9.png", "x" * 5000]


def rows(folder: Path) -> list[list[str]]:
    with (folder / "scores.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.reader(file))


def test_people_get_a_csv_with_name_labels_and_probabilities(tmp_path: Path) -> None:
    write_data_frame_directory(tmp_path / "labelled", scored(["cat", None]))
    assert rows(tmp_path / "labelled") == [
        ["file_name", "true_label", "predicted_label", "probability", "probability_cat", "probability_dog"],
        ["cats/a.jpg", "cat", "cat", "0.9", "0.9", "0.1"],
        ["b, c.png", "", "dog", "0.8", "0.2", "0.8"],
    ]
    write_data_frame_directory(tmp_path / "unlabelled", scored(None))
    assert rows(tmp_path / "unlabelled")[1] == ["cats/a.jpg", "cat", "0.9", "0.9", "0.1"]


def test_a_name_is_nothing_that_a_spreadsheet_computes_and_no_second_line(tmp_path: Path) -> None:
    write_data_frame_directory(tmp_path, scored(["-1", "@x"], ['=HYPERLINK("http://x")', "a\nb.png"]))
    assert [row[:2] for row in rows(tmp_path)[1:]] == [['\'=HYPERLINK("http://x")', "-1"], ["a\\nb.png", "'@x"]]


def test_what_could_not_be_scored_is_listed_a_line_each(tmp_path: Path) -> None:
    write_data_frame_directory(tmp_path / "some", scored(None), ["a\nb.png is not an image", "c.png is missing"])
    assert (tmp_path / "some" / "unreadable.txt").read_text() == "a\\nb.png is not an image\nc.png is missing\n"
    write_data_frame_directory(tmp_path / "none", scored(None))
    assert not (tmp_path / "none" / "unreadable.txt").exists()
