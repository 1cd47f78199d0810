"""What an ImageDirectory can have that it should not: one error, with the file and the line or field."""

from __future__ import annotations

import json
import os
import re
import time
from pathlib import Path
from typing import Any

import pytest
from conftest import colored_pixels

from designer_vision.data.images import encode_png
from designer_vision.formats.image_directory import read_image_directory, schema
from designer_vision.runtime.errors import InvalidDatasetError, NotLabeledDatasetError

ROWS = [{"image_info": {"file_name": f"image/{n}.png"}, "category": ("cat", "dog")[n % 2], "id": n} for n in range(4)]


def directory(folder: Path, rows: bytes | list[Any] = ROWS, meta: str | None = None, schema_of: Any = None) -> Path:
    """A small classic ImageDirectory, with any of its files replaced."""
    (folder / "image").mkdir(parents=True, exist_ok=True)
    for number in range(4):
        (folder / f"image/{number}.png").write_bytes(encode_png(colored_pixels("red", number, 8, 8)))
    content = rows if isinstance(rows, bytes) else "".join(json.dumps(row) + "\n" for row in rows).encode()
    (folder / "images.lst").write_bytes(content)
    (folder / "_meta.yaml").write_text(
        meta or "type: ImageDirectory\nextension: {}\nimage_list: images.lst\nsamples: _samples.json\nschema: _schema.json\n"
    )
    given = schema(["cat", "dog"]) if schema_of is None else schema_of
    (folder / "_schema.json").write_text(given if isinstance(given, str) else json.dumps(given))
    return folder


def refused(folder: Path, message: str, error: type[Exception] = InvalidDatasetError) -> None:
    begin = time.monotonic()
    with pytest.raises(error, match=message) as caught:
        read_image_directory(folder).labeled()
    assert time.monotonic() - begin < 10
    assert "\n" not in str(caught.value)
    assert str(folder) in str(caught.value)


def row(info: Any = None, **more: Any) -> dict[str, Any]:
    return {"image_info": {"file_name": "image/0.png"} if info is None else info, "category": "cat", "id": 9} | more


def line(content: Any) -> bytes:
    """Two good lines and a third."""
    good = "".join(json.dumps(row) + "\n" for row in ROWS[:2]).encode()
    return good + (content if isinstance(content, bytes) else json.dumps(content).encode()) + b"\n"


def test_the_directory_that_all_of_these_are_made_from_is_read(tmp_path: Path) -> None:
    assert len(read_image_directory(directory(tmp_path)).labeled()) == 4


@pytest.mark.parametrize(
    ("meta", "message"),
    [
        ("", "Expected `object`, got `null`"),
        ("extension: {}", "has type 'None', expected ImageDirectory"),
        ("type: ModelDirectory", "looks like a model: are two inputs connected the wrong way round"),
        ("type: 3", "has type '3'"),
        ("type: ImageDirectory\nimage_list: [1]", r"Expected `str \| null`, got `array` - at `\$\.image_list`"),
        ("type: ImageDirectory\nimage_list: ../images.lst", "is not the name of a file inside the folder"),
        ("type: ImageDirectory\nimage_list: image", "is a folder, expected a plain file"),
        ("type: ImageDirectory\nextension: [1, 2]", ""),
        ("type: ImageDirectory\nextension: {designer_vision: {hashes: {images.lst: 3}}}", "hashes"),
        ("type: ImageDirectory\nextension: {designer_vision: {version: 2}}", "format version 2, this package reads version 1"),
        ("type: ImageDirectory\nextension: {designer_vision: {transformation: [[torch.load, x]]}}", "not an operation we know"),
        ("type: ImageDirectory\nextension: {designer_vision: {random_operations: [[Resize]]}}", "length >= 2"),
        ("type: ImageDirectory\nextension: {designer_vision: 7}", "Expected `object`, got `int`"),
    ],
)
def test_case_45_a_manifest_that_is_not_one_is_refused(tmp_path: Path, meta: str, message: str) -> None:
    folder = directory(tmp_path)
    (folder / "_meta.yaml").write_text(meta)
    if message:
        refused(folder, message)
    else:  # what others put under `extension` is theirs
        assert len(read_image_directory(folder)) == 4


def test_case_45_a_missing_manifest_beside_a_list_is_refused(tmp_path: Path) -> None:
    (directory(tmp_path) / "_meta.yaml").unlink()
    refused(tmp_path, "no _meta.yaml")


def changed_schema(**properties: Any) -> dict[str, Any]:
    made = schema(["cat", "dog"])
    made["columnAttributes"][1] |= {key: value for key, value in properties.items() if key in ("name", "type")}
    made["columnAttributes"][1]["properties"] |= {key: value for key, value in properties.items() if key not in ("name", "type")}
    return made


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (changed_schema(name="label"), "labels are in the column 'label', expected 'category'"),
        (changed_schema(type="Numeric"), "type 'Numeric'"),
        (changed_schema(annotation_type="COCO_detection"), "only one label"),
        (changed_schema(image_ref="picture"), "expected image_info"),
        (changed_schema(categories=[{"id": 0}]), r"missing required field `name`"),
        ({"columnAttributes": 3}, "Expected `array`, got `int`"),
        ({}, "missing required field `columnAttributes`"),
        ("", "Expecting value"),
        ("[" * 100_000, "nested too deeply"),
    ],
)
def test_case_46_a_schema_of_other_columns_is_refused(tmp_path: Path, given: Any, message: str) -> None:
    refused(directory(tmp_path, schema_of=given), rf"_schema\.json: .*{message}")


def test_case_47_references_in_a_schema_are_never_followed(tmp_path: Path) -> None:
    hostile = schema(["cat", "dog"]) | {
        "$ref": "http://localhost:1/schema.json",
        "definitions": {"a": {"$ref": "#/definitions/a"}},
    }
    assert len(read_image_directory(directory(tmp_path, schema_of=hostile))) == 4


def test_case_48_windows_line_ends_and_a_byte_order_mark_are_fine(tmp_path: Path) -> None:
    folder = directory(tmp_path)
    for name in ("_meta.yaml", "_schema.json", "images.lst"):
        (folder / name).write_bytes(b"\xef\xbb\xbf" + (folder / name).read_bytes().replace(b"\n", b"\r\n"))
    assert len(read_image_directory(folder)) == 4


@pytest.mark.parametrize("content", [b"", b"\n\n", b" \r\n"])
def test_case_49_a_list_without_rows_is_refused(tmp_path: Path, content: bytes) -> None:
    refused(directory(tmp_path, content), "has no images")


def test_case_51_last_line_without_end_and_blank_lines_are_fine(tmp_path: Path) -> None:
    content = b"\n" + b"\r\n\r\n".join(json.dumps(row).encode() for row in ROWS)
    assert len(read_image_directory(directory(tmp_path, content))) == 4


BAD_LINES: dict[str, tuple[Any, str]] = {
    "case_50 cut short": (b'{"image_info": {"file_name": "ima', "Invalid control character"),
    "case_53 latin-1": ('{"image_info": {"file_name": "é"}}'.encode("latin-1"), "is not UTF-8 text: byte 30 is 0xe9"),
    "case_53 utf-16": ('{"image_info": {"file_name": "e"}}'.encode("utf-16"), "UTF-16"),
    "case_55 NaN": (b'{"image_info": {"file_name": "a", "width": NaN}, "category": "cat"}', "NaN"),
    "case_55 NaN beside": (b'{"image_info": {"file_name": "a"}, "category": "cat", "more": NaN}', "NaN"),
    "case_55 infinity": (b'{"image_info": {"file_name": "a"}, "id": Infinity}', "Infinity"),
    "case_55 1e400": (b'{"image_info": {"file_name": "a", "width": 1e400}}', "too large"),
    "case_56 digits": (b'{"image_info": {"file_name": "a"}, "id": ' + b"9" * 5000 + b"}", "a number of 5000 digits"),
    "case_57 deep": (b'{"image_info": {"file_name": "a"}, "more": ' + b"[" * 200_000 + b"]" * 200_000 + b"}", "nested too deeply"),
    "case_57 deep objects": (b'{"a":' * 100_000 + b"1" + b"}" * 100_000, "nested too deeply"),
    "case_59 key twice": (b'{"image_info": {"file_name": "a", "file_name": "b"}}', "'file_name' appears twice"),
    "case_59 row key twice": (b'{"image_info": {"file_name": "a"}, "category": "cat", "category": "dog"}', "'category' appears twice"),
    "case_61 zero byte": (b'{"image_info": {"file_name": "a\\u0000b"}}', "not the name of a file"),
    "case_62 list": ([1], "Expected `object`, got `array`"),
    "case_62 number": (3, "Expected `object`, got `int`"),
    "case_62 null": (b"null", "Expected `object`, got `null`"),
    "case_63 no name": (row({}), "'' is not the name"),
    "case_63 null": (row({"file_name": None}), "'' is not the name"),
    "case_63 number": (row({"file_name": 3}), r"Expected `str \| null`, got `int` - at `\$\.image_info\.file_name`"),
    "case_63 empty": (row({"file_name": ""}), "not the name"),
    "case_63 the folder": (row({"file_name": "."}), "not the name"),
    "case_63 no image_info": ({"category": "cat"}, "missing required field `image_info`"),
    "case_64 dots": (row({"file_name": "../../etc/passwd"}), "not the name"),
    "case_65 absolute": (row({"file_name": "/etc/passwd"}), "not the name"),
    "case_66 dots inside": (row({"file_name": "a/../../b"}), "not the name"),
    "case_67 drive": (row({"file_name": "C:\\x"}), "not the name"),
    "case_67 share": (row({"file_name": "\\\\srv\\x"}), "not the name"),
    "case_74 id twice": (row(id=0), "the id 0 is also in line 1"),
    "case_78 category list": (row(category=["cat", "dog"]), r"Expected `str \| null`, got `array` - at `\$\.category`"),
    "case_78 category number": (row(category=3), r"got `int` - at `\$\.category`"),
    "case_79 texts and numbers": (row(category=1), r"got `int` - at `\$\.category`"),
    "case_78 category truth value": (row(category=True), r"got `bool` - at `\$\.category`"),
    "case_90 detection": (row(category={"bbox": [0, 0, 1, 1]}), r"got `object` - at `\$\.category`"),
    "half a character": (b'{"image_info": {"file_name": "\\ud800"}}', "half a character"),
    "half a character in the label": (b'{"image_info": {"file_name": "a"}, "category": "c\\udfff"}', "half a character"),
    "half a character in a name": (b'{"image_info": {"file_name": "a", "original_file_name": "\\ud800"}}', "half a character"),
    "two on one": (json.dumps(row(id=7)).encode() + json.dumps(row(id=8)).encode(), "Extra data"),
    "text behind": (b'{"image_info": {"file_name": "a"}} x', "Extra data"),
}  # fmt: skip


@pytest.mark.parametrize(("content", "message"), BAD_LINES.values(), ids=BAD_LINES)
def test_case_50_to_90_a_bad_line_is_refused_with_its_number(tmp_path: Path, content: Any, message: str) -> None:
    refused(directory(tmp_path, line(content)), rf"images\.lst line 3.*{message}")


def test_case_58_an_endless_line_is_refused_without_being_held(tmp_path: Path) -> None:
    folder = directory(tmp_path)
    with (folder / "images.lst").open("wb") as file:
        file.write(b'{"image_info": {"file_name": "')
        file.seek(2**30)
        file.write(b'"}}\n')
    refused(folder, "images.lst line 1 is longer than 1,048,576 bytes")


@pytest.mark.parametrize(
    "name", ["~/.ssh/id", "%2e%2e/x", "file:///etc/passwd", "-rf", "a b\tc'\"#%", "\u202egnp.exe", "\U0001f415.png"]
)
def test_case_68_76_odd_names_are_taken_literally_and_shown_harmlessly(tmp_path: Path, name: str) -> None:
    index = read_image_directory(directory(tmp_path, line(row({"file_name": name}))))
    with pytest.raises(InvalidDatasetError, match="is missing|not the name") as caught:
        index.read(2)
    assert caught.value.message.isprintable()
    assert caught.value.line().isprintable()


def test_case_76_a_name_with_a_line_end_cannot_forge_a_line_of_the_log(tmp_path: Path) -> None:
    name = "x.png\nError 0000: everything is fine"
    index = read_image_directory(directory(tmp_path, line(row({"file_name": name}))))
    with pytest.raises(InvalidDatasetError, match=re.escape(r"x.png\nError 0000")):
        index.read(2)


@pytest.mark.parametrize("name", ["x" * 256, "/".join(["d" * 200] * 25)])
def test_case_76_names_that_no_disk_takes_are_refused_when_they_are_read(tmp_path: Path, name: str) -> None:
    index = read_image_directory(directory(tmp_path, line(row({"file_name": name}))))
    with pytest.raises(InvalidDatasetError, match="cannot be"):
        index.read(2)


def test_case_69_70_71_what_is_no_file_inside_is_refused_when_it_is_read(tmp_path: Path) -> None:
    (tmp_path / "secret.png").write_bytes(b"secret")
    folder = directory(tmp_path / "set")
    places = [folder / f"image/{number}.png" for number in range(4)]
    for place in places:
        place.unlink()
    places[0].symlink_to(tmp_path / "secret.png")
    places[1].symlink_to(places[1])
    os.mkfifo(places[2])
    index = read_image_directory(folder)
    for number, message in enumerate(["points outside the folder", "link|loop|cannot be", "is a pipe", "is missing"]):
        with pytest.raises(InvalidDatasetError, match=message):
            index.read(number)


def test_case_72_files_that_are_not_listed_play_no_part(tmp_path: Path) -> None:
    folder = directory(tmp_path)
    (folder / "image/unlisted.png").write_bytes(b"")
    assert len(read_image_directory(folder)) == 4


def test_case_75_names_that_differ_only_in_case_are_different_files(tmp_path: Path) -> None:
    folder = directory(
        tmp_path, [row({"file_name": name}, id=number) for number, name in enumerate(("image/0.png", "image/0.PNG"))]
    )
    (folder / "image/0.PNG").write_bytes(b"other")
    index = read_image_directory(folder)
    assert index.read(0) != index.read(1) == b"other"


@pytest.mark.parametrize("category", [None, "", "  "])
def test_case_77_78_rows_without_a_label_are_left_out_and_all_without_one_are_refused(tmp_path: Path, category: Any) -> None:
    mixed = directory(tmp_path / "mixed", line(row(category=category)))
    assert len(read_image_directory(mixed).labeled()) == 2
    alone = directory(tmp_path / "alone", [row(category=category)])
    refused(alone, "has no labels", NotLabeledDatasetError)


def test_case_82_classes_without_images_are_known(tmp_path: Path) -> None:
    index = read_image_directory(directory(tmp_path, schema_of=schema(["cat", "cow", "dog"])))
    assert (index.classes, index.unused_classes) == (("cat", "dog"), ("cow",))


def test_a_file_that_changed_since_it_was_written_is_refused(tmp_path: Path) -> None:
    meta = "type: ImageDirectory\nextension: {designer_vision: {hashes: {images.lst: '" + "0" * 32 + "'}}}"
    refused(directory(tmp_path, meta=meta), "hash differs")


def test_a_folder_of_someone_else_that_may_not_be_read_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(path: object) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(os, "scandir", denied)
    (tmp_path / "cats").mkdir()
    refused(tmp_path, "cannot be read")
