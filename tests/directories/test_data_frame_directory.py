from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from designer_vision.directories.data_frame_directory import ScoredSet, read_data_frame_directory, write_data_frame_directory
from designer_vision.errors import InvalidDatasetError


def scored(categories: list[str | None] | None) -> ScoredSet:
    return ScoredSet(("cat", "dog"), np.array([[0.9, 0.1], [0.2, 0.8]]), np.array([3, 5]), categories)


@pytest.mark.parametrize("categories", [["cat", None], None])
def test_what_is_written_is_read_back(tmp_path: Path, categories: list[str | None] | None) -> None:
    write_data_frame_directory(tmp_path, scored(categories))
    read = read_data_frame_directory(tmp_path)
    assert (read.labels, read.categories, read.scored_labels) == (("cat", "dog"), categories, ["cat", "dog"])
    assert (read.probabilities == scored(None).probabilities).all()
    assert read.ids.tolist() == [3, 5]


def test_columns_and_schema_are_the_classic_ones(tmp_path: Path) -> None:
    write_data_frame_directory(tmp_path, scored(["cat", "dog"]))
    table = pq.read_table(tmp_path / "_data.parquet")
    names = ["category", "id", "Scored Probabilities_cat", "Scored Probabilities_dog", "Scored Labels"]
    assert table.column_names == names
    assert [str(kind) for kind in table.schema.types] == ["string", "int64", "double", "double", "string"]
    schema = json.loads((tmp_path / "schema" / "_schema.json").read_text())
    assert [column["name"] for column in schema["columnAttributes"]] == names
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
