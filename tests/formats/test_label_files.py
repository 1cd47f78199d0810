from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
from conftest import make_photos
from PIL import Image

from designer_vision.components.convert_to_image_directory import main as convert
from designer_vision.formats.image_directory import read_image_directory
from designer_vision.formats.image_index import NO_LABEL, ImageIndex
from designer_vision.runtime.errors import InvalidDatasetError

DATASTORE = "azureml://subscriptions/s/resourcegroups/g/workspaces/w/datastores/workspaceblobstore/paths/UI/2021/fridgeObjects"
PHOTOS = ("photos/can/1.png", "photos/can/2.png", "photos/jug/1.png", "photos/jug/2.png")
ONE_FOLDER = ("1.png", "2.png", "3.png")


def photos(folder: Path, names: Sequence[str] = ONE_FOLDER) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (2, 2)).save(folder / name)
    return folder


def json_lines(path: Path, *rows: tuple[str, object]) -> Path:
    details = {"format": "png", "width": "2px", "height": "2px"}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(
        "".join(json.dumps({"image_url": url, "image_details": details, "label": label}) + "\n" for url, label in rows)
    )
    return path


def labels_of(index: ImageIndex) -> dict[str, str | None]:
    return {
        index.names[row]: None if index.labels[row] == NO_LABEL else index.classes[index.labels[row]] for row in range(len(index))
    }


def read(folder: Path) -> dict[str, str | None]:
    return labels_of(read_image_directory(folder))


def refused(folder: Path) -> str:
    with pytest.raises(InvalidDatasetError) as caught:
        read_image_directory(folder)
    return caught.value.message


# Where an image is


@pytest.mark.parametrize(
    "url",
    [
        f"{DATASTORE}/can/1%20a.png",
        "azureml://datastores/workspaceblobstore/paths/UI/2021/can/1%20a.png",
        "AmlDatastore://workspaceblobstore/can/1 a.png",
        "https://account.blob.core.windows.net/container/x/can/1%20a.png?sv=2021&sig=a%2Fb",
        "can/1 a.png",
        "./can/1 a.png",
        "photos/can/1 a.png",
        "../data/photos/can/1 a.png",
        "/mnt/somewhere/can/1 a.png",
        r"C:\Users\me\can\1 a.png",
    ],
)
def test_an_image_is_found_by_the_last_parts_of_its_address(tmp_path: Path, url: str) -> None:
    folder = photos(tmp_path / "data", ("photos/can/1 a.png", "photos/jug/1 a.png", "photos/jug/2.png"))
    json_lines(folder / "labels/train.jsonl", (url.replace("../data", ".."), "metal"))
    (folder / "MLTable").write_text("paths: [{file: ./labels/train.jsonl}]\n")
    assert read(folder) == {"photos/can/1 a.png": "metal"}


def test_a_whole_path_counts_before_the_last_parts_of_another_and_that_beside_the_label_file_first(tmp_path: Path) -> None:
    photos(tmp_path, ("a/1.png", "b/a/1.png", "b/2.png", "2.png"))
    (tmp_path / "MLTable").write_text("paths: [{file: b/labels.jsonl}]\n")
    json_lines(tmp_path / "b/labels.jsonl", ("a/1.png", "beside"), ("./2.png", "beside"))
    assert read(tmp_path) == {"b/a/1.png": "beside", "b/2.png": "beside"}


def test_an_address_that_fits_several_images_equally_well_is_refused_with_two_of_them(tmp_path: Path) -> None:
    photos(tmp_path, ("train/x/1.png", "val/x/1.png", "val/x/2.png"))
    json_lines(tmp_path / "l.jsonl", ("2.png", "can"), (f"{DATASTORE}/x/1.png", "can"))
    message = refused(tmp_path)
    assert f"l.jsonl line 2: '{DATASTORE}/x/1.png' may be 'train/x/1.png' or 'val/x/1.png'; write more" in message


def test_what_is_named_and_not_there_is_left_out_named_and_counted(tmp_path: Path) -> None:
    photos(tmp_path / "in")
    json_lines(tmp_path / "in/l.jsonl", ("1.png", "can"), ("x/8.png", "can"), ("2.png", "jug"), ("x/9.png", "jug"))
    index = read_image_directory(tmp_path / "in")
    assert labels_of(index) == {"1.png": "can", "2.png": "jug"}
    assert index.left_out == {
        "images named in a label file but not found": {".": 2},
        "images that l.jsonl does not name": {".": 1},
    }
    assert index.notes == (
        "2 of the 4 images named in l.jsonl are not here and are left out; the first: l.jsonl line 2: 'x/8.png' is not here",
    )
    convert(tmp_path / "in", tmp_path / "out")
    lines = (tmp_path / "out/unreadable.txt").read_text().splitlines()
    assert lines[:2] == ["l.jsonl line 2: 'x/8.png' is not here", "l.jsonl line 4: 'x/9.png' is not here"]


def test_an_image_of_another_folder_that_is_not_here_does_not_give_its_label_to_one_of_the_same_name(tmp_path: Path) -> None:
    photos(tmp_path, ("can/1.png", "can/2.png"))
    json_lines(
        tmp_path / "l.jsonl",
        (f"{DATASTORE}/jug/1.png", "jug"),
        (f"{DATASTORE}/can/1.png", "can"),
        (f"{DATASTORE}/can/2.png", "can"),
    )
    index = read_image_directory(tmp_path)
    assert labels_of(index) == {"can/1.png": "can", "can/2.png": "can"}
    assert "l.jsonl line 1" in index.notes[0]


def test_images_found_by_their_name_alone_are_said(tmp_path: Path) -> None:
    photos(tmp_path, ("images/1.png", "images/2.png"))
    json_lines(tmp_path / "l.jsonl", (f"{DATASTORE}/1.png", "can"), ("images/2.png", "jug"))
    index = read_image_directory(tmp_path)
    assert index.notes == (
        f"1 images are found by their file's name alone, as their folders differ, such as 'images/1.png' for '{DATASTORE}/1.png'",
    )


@pytest.mark.parametrize("there", [True, False], ids=["other images", "no images"])
def test_a_file_of_labels_without_any_of_its_images_says_what_was_looked_for(tmp_path: Path, there: bool) -> None:
    if there:
        photos(tmp_path)
    json_lines(tmp_path / "train/l.jsonl", (f"{DATASTORE}/can/8.png", "can"), (f"{DATASTORE}/can/9.png", "can"))
    (tmp_path / "train/MLTable").write_text("paths: [{file: ./l.jsonl}]\n")
    message = refused(tmp_path)
    assert "of the 2 images named in train/l.jsonl, none is " in message
    assert ("none is among the 3 images below" if there else "none is here: there is no image below") in message
    assert f"train/l.jsonl line 1: '{DATASTORE}/can/8.png'" in message
    assert "give a folder that holds both the images and the label file" in message


@pytest.mark.parametrize(
    "url",
    [
        "../outside/1.png",
        "../../etc/passwd",
        "%2e%2e/outside/1.png",
        "file:///etc/passwd",
        "x://h/../1.png",
        "link.png",
        "a\0b",
        "/",
    ],
)
def test_nothing_outside_the_folder_is_found(tmp_path: Path, url: str) -> None:
    photos(tmp_path / "outside", ("1.png",))
    folder = photos(tmp_path / "in", ("7.png",))
    (folder / "link.png").symlink_to(tmp_path / "outside/1.png")
    json_lines(folder / "l.jsonl", ("7.png", "can"), (url, "jug"))
    index = read_image_directory(folder)
    assert (labels_of(index), len(index.not_found)) == ({"7.png": "can"}, 1)


def test_names_that_would_forge_lines_of_a_log_are_escaped(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    photos(tmp_path / "in")
    json_lines(tmp_path / "in/l.jsonl", ("1.png", "can"), ("2.png", "jug"), ("x\nwarning: \x1b[31mall is well\u202e", "can"))
    convert(tmp_path / "in", tmp_path / "out")
    told = capsys.readouterr().out
    assert "\\nwarning: \\x1b[31mall is well" in told
    assert "\x1b" not in told
    assert "\x1b" not in (tmp_path / "out/unreadable.txt").read_text()


# Labels


@pytest.mark.parametrize("label", ["can", ["can"], "=HYPERLINK(1)", "ü", "0"])
def test_one_text_is_a_label(tmp_path: Path, label: object) -> None:
    json_lines(photos(tmp_path) / "l.jsonl", ("1.png", label))
    assert read(tmp_path) == {"1.png": label[0] if isinstance(label, list) else label}


@pytest.mark.parametrize("label", ["", "  ", None, []])
def test_an_image_with_a_blank_label_has_none(tmp_path: Path, label: object) -> None:
    json_lines(photos(tmp_path) / "l.jsonl", ("1.png", label), ("2.png", "can"))
    assert read(tmp_path) == {"1.png": None, "2.png": "can"}


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"image_url": "2.png", "label": ["can", "jug"]}', "label has 2 labels, expected one text; an image can have one label here"),
        ('{"image_url": "2.png", "label": [{"label": "can", "topX": 0.1}]}', "label has boxes or polygons, expected one text"),
        ('{"image_url": "2.png", "label": 3}', "$.label"),
        ('{"image_url": "2.png", "label": [3]}', "label has 1 labels, expected one text"),
        ('{"image_url": 2, "label": "can"}', "$.image_url"),
        ('{"image_url": " ", "label": "can"}', "image_url is empty"),
        ('{"label": "can"}', "missing required field `image_url`"),
        ('{"image_url": "2.png", "label": "can"', "Expecting ',' delimiter"),
        ('{"image_url": "2.png", "label": "can", "label": "jug"}', "the key 'label' appears twice"),
        ('{"image_url": "2.png", "label": "can", "score": NaN}', "the value NaN"),
        ('{"image_url": "2.png", "label": "\\ud800"}', "half a character"),
        ('{"image_url": "2.png", "label": "can", "x": ' + "[" * 100_000, "nested too deeply"),
        ("[]", "got `array`"),
        ("null", "got `null`"),
        ('{"image_url": "2.png\0"}', "has a zero byte"),
        ('{"image_url": "2.png", "label": "' + "x" * 2**20, "is longer than 1,048,576 bytes"),
    ],
)  # fmt: skip
def test_a_mistake_in_json_lines_is_told_with_file_line_and_field(tmp_path: Path, line: str, message: str) -> None:
    file = json_lines(photos(tmp_path) / "l.jsonl", ("1.png", "can"))
    file.write_text(file.read_text() + "\n" + line + "\n")
    told = refused(tmp_path)
    assert told.startswith(f"{file} line 3")
    assert message in told


def test_bytes_that_are_no_text_are_told_with_their_line(tmp_path: Path) -> None:
    for name, content in (
        ("l.jsonl", b'{"image_url": "1.png", "label": "a"}\n{"image_url": "\xff"}'),
        ("l.csv", b"file,label\n1.png,a\n2.png,m\xfcll\n"),
    ):
        folder = photos(tmp_path / name[2:])
        (folder / name).write_bytes(content)
        assert "is not UTF-8 text" in refused(folder)
        assert f"{name} line {2 if name == 'l.jsonl' else 3}" in refused(folder)


def test_a_line_of_100_megabytes_is_refused_at_once(tmp_path: Path) -> None:
    file = json_lines(photos(tmp_path) / "l.jsonl", ("1.png", "can"))
    with file.open("a") as opened:
        opened.write('{"image_url": "' + "x" * 100_000_000)
    begin = time.monotonic()
    assert "l.jsonl line 2 is longer than 1,048,576 bytes" in refused(tmp_path)
    assert time.monotonic() - begin < 5


def test_an_image_with_two_labels_is_refused_with_both_places(tmp_path: Path) -> None:
    photos(tmp_path)
    json_lines(tmp_path / "a.jsonl", ("1.png", "can"), ("2.png", "can"))
    json_lines(tmp_path / "b.jsonl", ("3.png", "can"), ("./2.png", "jug"))
    assert "'2.png' has the labels 'can' and 'jug' (a.jsonl line 2, b.jsonl line 2); only one label" in refused(tmp_path)


def test_an_image_that_is_named_twice_with_one_label_is_used_once_and_said(tmp_path: Path) -> None:
    photos(tmp_path)
    json_lines(tmp_path / "train.jsonl", ("1.png", "can"), ("2.png", "jug"))
    json_lines(tmp_path / "validation.jsonl", ("3.png", "can"), ("2.png", "jug"))
    index = read_image_directory(tmp_path)
    assert labels_of(index) == {"1.png": "can", "2.png": "jug", "3.png": "can"}
    assert index.notes == ("validation.jsonl lists 1 files more than once; each is used once",)
    assert index.left_out == {}


# MLTable

MLTABLE = """\
$schema: https://azuremlschemas.azureedge.net/latest/MLTable.schema.json
type: mltable
paths:
  - file: ./train_annotations.jsonl
transformations:
  - read_json_lines:
      encoding: utf8
      invalid_lines: error
      include_path_column: false
  - convert_column_types:
      - columns: image_url
        column_type: stream_info
"""


def mltable(folder: Path, text: str = MLTABLE) -> Path:
    photos(folder, PHOTOS)
    for part, number in (("train", 1), ("validation", 2)):
        rows = [(f"{DATASTORE}/{label}/{number}.png", label) for label in ("can", "jug")]
        json_lines(folder / f"{part}/{part}_annotations.jsonl", *rows)
        (folder / part / "MLTable").write_text(text.replace("train_", f"{part}_"))
    return folder


def test_mltables_of_parts_are_one_set(tmp_path: Path) -> None:
    index = read_image_directory(mltable(tmp_path))
    assert index.classes == ("can", "jug")
    assert len(index) == 4
    assert index.left_out == {}
    assert index.notes[-1] == (
        "the labels of train/train_annotations.jsonl, validation/validation_annotations.jsonl are those of the class folders, "
        "which are used"
    )


def test_an_mltable_says_which_of_the_files_beside_it_count(tmp_path: Path) -> None:
    photos(tmp_path)
    json_lines(tmp_path / "a.jsonl", ("1.png", "can"))
    json_lines(tmp_path / "b.jsonl", ("1.png", "jug"))
    (tmp_path / "MLTable").write_text("paths:\n- file: b.jsonl\n")
    index = read_image_directory(tmp_path)
    assert labels_of(index) == {"1.png": "jug"}
    assert index.left_out == {".jsonl": {".": 1}, "images that b.jsonl does not name": {".": 2}}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "paths: [{file: l.jsonl}]\ntransformations: [{take: 10}]",
            "MLTable: the transformation 'take' may change which images count",
        ),
        ("paths: [{file: l.jsonl}]\ntransformations: [filter]", "the transformation 'filter' may change"),
        ("paths: [{file: ../l.jsonl}]", "MLTable: the path '../l.jsonl' points outside"),
        ("paths: [{file: 'azureml://datastores/d/paths/l.jsonl'}]", "copy that file beside MLTable, and name it as ./l.jsonl"),
        ("paths: [{file: other.jsonl}]", "other.jsonl is missing"),
        ("paths: [{file: [l.jsonl]}]", "MLTable: Expected `str | null`, got `array`"),
        ("paths: [{file: l.jsonl", "MLTable: while parsing a flow"),
        ("paths: &a [{file: l.jsonl}, *a]", "an anchor or alias"),
    ],
)
def test_an_mltable_that_cannot_be_taken_as_it_is_is_refused(tmp_path: Path, text: str, message: str) -> None:
    json_lines(photos(tmp_path / "in") / "l.jsonl", ("1.png", "can"))
    (tmp_path / "in/MLTable").write_text(text)
    assert message in refused(tmp_path / "in")


def test_an_mltable_of_something_else_is_one_of_the_other_files(tmp_path: Path) -> None:
    (photos(tmp_path) / "MLTable").write_text("paths:\n- pattern: ./*.png\ntransformations: [{take: 3}]\n")
    index = read_image_directory(tmp_path)
    assert (len(index), index.left_out, index.is_labeled) == (3, {"without a suffix": {".": 1}}, False)


# CSV


@pytest.mark.parametrize(
    "content",
    [
        b"file_name,label\n1.png,can\n2.png,jug\n",
        b"\xef\xbb\xbfFile Name;Class\r\n1.png;can\r\n2.png;jug",
        b'label\t"image"\tnote\ncan\t1.png\t"a ""b"""\n\njug\t2.png\t\n',
        b'filename, category\n"1.png", "can"\n2.png, jug\n',
        b"image_id,species\n1,can\n2,jug\n",
    ],
)
def test_a_csv_of_file_and_label_is_read(tmp_path: Path, content: bytes) -> None:
    (photos(tmp_path) / "labels.csv").write_bytes(content)
    assert read(tmp_path) == {"1.png": "can", "2.png": "jug"}


@pytest.mark.parametrize(
    "content", [b"", b"\n", b"a,b\n1,2\n", b"file_name\n1.png\n", b'"', b"label,label\n", b"1.png,can\n", b"\xff\xfe\0"]
)
def test_a_csv_of_something_else_is_one_of_the_other_files(tmp_path: Path, content: bytes) -> None:
    (photos(tmp_path) / "a.csv").write_bytes(content)
    index = read_image_directory(tmp_path)
    assert (len(index), index.left_out, index.is_labeled) == (3, {".csv": {".": 1}}, False)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("file,label\n1.png,can\n2.png,jug,x\n", "labels.csv line 3: 3 columns, expected the 2 of the header"),
        ("file,label\n1.png,can\n\n,jug\n", "labels.csv line 4: 'file' is empty"),
        ('file,label\n1.png,"can\n', "labels.csv line 2: unexpected end of data"),
        ('file,label\n1.png,"can"x\n', "labels.csv line 2: ',' expected after '\"'"),
        ("file,label\n1.png,c\0n\n", "labels.csv line 2 has a zero byte"),
        ("file,label\n1.png,can\n1.png,jug\n", "'1.png' has the labels 'can' and 'jug' (labels.csv line 2, labels.csv line 3)"),
        ("file,label,class_name\n1.png,0,can\n", "line 1: the columns 'label' and 'class_name' could each be the label"),
        ("file,label\n" + '1.png,"' + '""' * 500_000 + '"\n', "labels.csv line 2"),
        ("file,label\n" + '"' * 1_000_001 + "\n", "labels.csv line 2: field larger than field limit"),
    ],
)  # fmt: skip
def test_a_mistake_in_a_csv_is_told_with_file_and_line(tmp_path: Path, content: str, message: str) -> None:
    (photos(tmp_path) / "labels.csv").write_text(content)
    assert message in refused(tmp_path)


def test_a_csv_in_utf_16_is_told_and_not_passed_over(tmp_path: Path) -> None:
    (photos(tmp_path) / "labels.csv").write_bytes("file,label\n1.png,can\n".encode("utf-16"))
    assert "labels.csv line 1 is not UTF-8 text; save the file as UTF-8" in refused(tmp_path)


def test_a_name_without_suffix_that_fits_two_images_is_refused(tmp_path: Path) -> None:
    photos(tmp_path, ("1.png", "1.jpg"))
    (tmp_path / "l.csv").write_text("image_id,label\n1,can\n")
    assert "l.csv line 2: '1' may be '1.jpg' or '1.png'" in refused(tmp_path)


# COCO


def coco(path: Path, images: Sequence[dict[str, object]], labels: Sequence[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    names = sorted(set(labels))
    path.write_text(
        json.dumps(
            {
                "images": [{"id": number, "width": 2.0, **image} for number, image in enumerate(images, 1)],
                "annotations": [
                    {"id": n, "image_id": n, "category_id": names.index(label), "area": 0.0} for n, label in enumerate(labels, 1)
                ],
                "categories": [{"id": number, "name": name} for number, name in enumerate(names)],
            }
        )
    )


@pytest.mark.parametrize("place", ["export.json", "labels/export.json", "photos/export.json"])
@pytest.mark.parametrize("key", ["coco_url", "absolute_url"])
def test_a_data_labeling_export_finds_images_elsewhere(tmp_path: Path, place: str, key: str) -> None:
    photos(tmp_path, ("photos/1.png", "photos/x/1.png", "photos/x/2.png"))
    address = {
        "coco_url": "AmlDatastore://workspaceblobstore/in/photos",
        "absolute_url": "https://acc.blob.core.windows.net/c/photos",
    }[key]
    coco(tmp_path / place, [{"file_name": "1.png", key: f"{address}{name}/1.png"} for name in ("", "/x")], ["cat", "dog"])
    index = read_image_directory(tmp_path)
    assert labels_of(index) == {"photos/1.png": "cat", "photos/x/1.png": "dog"}
    assert index.left_out == {"images that the COCO file does not list": {"photos/x": 1}}


def test_images_of_a_coco_file_that_are_not_there_are_left_out_and_named(tmp_path: Path) -> None:
    coco(photos(tmp_path) / "coco.json", [{"file_name": "1.png"}, {"file_name": "8.png"}], ["cat", "dog"])
    index = read_image_directory(tmp_path)
    assert (labels_of(index), index.not_found) == ({"1.png": "cat"}, ("coco.json: '8.png' is not here",))


# Class folders as well


def test_class_folders_that_agree_with_a_file_of_labels_are_used_and_said(tmp_path: Path) -> None:
    folder = make_photos(tmp_path)
    (folder / "labels.csv").write_text("file,label\nred/photo 0.png,red\nblue/photo 0.png,blue\n")
    index = read_image_directory(folder)
    assert (len(index), index.classes) == (12, ("blue", "green", "red"))
    assert index.notes == ("the labels of labels.csv are those of the class folders, which are used",)
    assert index.left_out == {}


def test_class_folders_and_a_file_of_other_labels_are_two_readings(tmp_path: Path) -> None:
    folder = make_photos(tmp_path)
    json_lines(folder / "l.jsonl", ("red/photo 0.png", "red"), ("blue/photo 0.png", "sky"))
    message = refused(folder)
    assert (
        f"{folder} can be read in two ways: 'blue/photo 0.png' is 'blue' according to its folder and 'sky' according to l.jsonl"
        in message
    )
    assert (
        "to use the folders, remove l.jsonl; to use l.jsonl, write the line `paths: [{file: ./l.jsonl}]` to the file" in message
    )
    (folder / "MLTable").write_text("paths: [{file: ./l.jsonl}]")
    index = read_image_directory(folder)
    assert labels_of(index) == {"red/photo 0.png": "red", "blue/photo 0.png": "sky"}
    assert index.notes[-1].endswith("the labels of l.jsonl are used, as MLTable says")


def test_class_folders_and_coco_of_other_labels_are_two_readings_unless_it_lies_in_the_folder_itself(tmp_path: Path) -> None:
    folder = make_photos(tmp_path)
    coco(folder / "red/coco.json", [{"file_name": "red/photo 0.png"}], ["sky"])
    assert f"to use red/coco.json, move it to {folder} itself" in refused(folder)
    (folder / "red/coco.json").rename(folder / "coco.json")
    assert set(read(folder).values()) == {"sky"}


@pytest.mark.parametrize("label", [[{"label": "can", "topX": 1}], ["a", "b"], 3])
def test_class_folders_are_used_where_a_file_of_labels_cannot_be_and_it_is_said(tmp_path: Path, label: object) -> None:
    folder = make_photos(tmp_path)
    json_lines(folder / "l.jsonl", ("red/photo 0.png", label))
    index = read_image_directory(folder)
    assert (len(index), index.classes, index.left_out) == (12, ("blue", "green", "red"), {".jsonl": {".": 1}})
    assert "the class folders give the labels, and a file of labels is not used: " in index.notes[0]
    assert "l.jsonl line 1" in index.notes[0]


def test_a_file_of_labels_of_other_images_beside_class_folders_changes_nothing(tmp_path: Path) -> None:
    folder = make_photos(tmp_path)
    json_lines(folder / "l.jsonl", ("nowhere/1.png", "x"))
    index = read_image_directory(folder)
    assert (len(index), index.left_out) == (12, {".jsonl": {".": 1}})


@pytest.mark.parametrize("names", [("train/1.png", "test/2.png"), ("images/1.png", "images/2.png"), (" /1.png", "a/2.png")])
def test_a_file_of_labels_decides_where_folders_are_no_classes(tmp_path: Path, names: tuple[str, ...]) -> None:
    photos(tmp_path, names)
    (tmp_path / "labels.csv").write_text("file,label\n" + "".join(f"{n}.png,{label}\n" for n, label in ((1, "can"), (2, "jug"))))
    assert read(tmp_path) == dict(zip(names, ("can", "jug"), strict=True))


def test_a_json_file_for_each_image_is_no_file_of_labels(tmp_path: Path) -> None:
    folder = make_photos(tmp_path)
    for number in range(120):
        (folder / "red" / f"{number}.json").write_text('{"images": [], "annotations": 0}')
    index = read_image_directory(folder)
    assert (len(index), index.left_out, index.notes) == (12, {".json": {"red": 120}}, ())
