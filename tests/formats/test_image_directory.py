from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml
from conftest import COLORS, make_image_directory, make_photos
from PIL import Image

from designer_vision.formats.image_directory import ImageDirectoryWriter, read_image_directory
from designer_vision.formats.image_index import NO_LABEL, ImageInfo, Row, Texts
from designer_vision.runtime.errors import InvalidDatasetError, NotLabeledDatasetError


def write_classic(folder: Path, rows: list[dict], categories: list[dict] | None) -> Path:
    """A folder as the classic module writes it, made without our writer."""
    (folder / "image").mkdir(parents=True)
    for row in rows:
        Image.new("RGB", (6, 4), "red").save(folder / row["image_info"]["file_name"])
    (folder / "images.lst").write_text("".join(json.dumps(row) + "\n" for row in rows))
    columns = [{"name": "image", "type": "Bytes", "isFeature": True, "properties": {"mime_type": "image/png"}}]
    if categories is not None:
        properties = {"annotation_type": "COCO_classification", "categories": categories}
        columns.append({"name": "category", "type": "String", "isFeature": False, "properties": properties})
    columns.append({"name": "id", "type": "Numeric", "isFeature": False, "properties": {}})
    (folder / "_schema.json").write_text(json.dumps({"columnAttributes": columns}))
    meta = {
        "type": "ImageDirectory",
        "extension": {},
        "image_list": "images.lst",
        "samples": "_samples.json",
        "schema": "_schema.json",
    }
    (folder / "_meta.yaml").write_text(yaml.safe_dump(meta))
    return folder


def row(name: str, category: str | None, number: int, **info: object) -> dict:
    return {"image_info": {"file_name": name, **info}, "category": category, "id": number}


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    folder = make_image_directory(
        tmp_path, per_class=2, size=(5, 7), transformation=[["Resize", 5]], random_operations=[["RandomCrop", 4]]
    )
    index = read_image_directory(folder, original_names=True)
    assert index.classes == tuple(sorted(COLORS))
    assert index.labels.tolist() == [0, 0, 1, 1, 2, 2]
    assert [index.names[number] for number in range(6)] == [
        f"image/{label}_{number}.png" for number, label in enumerate((0, 0, 1, 1, 2, 2))
    ]
    assert index.original_names[3] == "green/1.png"
    assert index.sizes.tolist() == [[5, 7]] * 6
    assert index.ids.tolist() == list(range(6))
    assert (index.transformation, index.random_operations) == ([["Resize", 5]], [["RandomCrop", 4]])


def test_an_outline_tells_which_part_of_two_sets_differs_by_any_column(tmp_path: Path) -> None:
    index = read_image_directory(make_image_directory(tmp_path, per_class=80))
    names = [index.names[number] for number in range(240)]
    moved = [*names[:98], f"{names[98]}{names[99][:1]}", names[99][1:], *names[100:]]  # the same letters in one part
    one = np.arange(240) == 100
    others = [
        replace(index, names=Texts.of(moved)),
        replace(index, labels=np.where(one, 0, index.labels).astype(np.int32)),
        replace(index, sizes=np.where(one[:, None], 1, index.sizes).astype(np.int32)),
        replace(index, hashes=np.where(one[:, None], 1, index.hashes).astype(np.uint8)),
    ]
    outline = json.loads(index.outline)
    assert (outline["images"], sum(count for count, _, _ in outline["parts"]), len(outline["parts"])) == (240, 240, 64)
    for other in others:
        pairs = zip(outline["parts"], json.loads(other.outline)["parts"], strict=True)
        count, first, _ = next(own for own, others in pairs if own != others)
        assert names.index(first) <= 98 < names.index(first) + count
    assert read_image_directory(tmp_path).outline == index.outline


def test_a_classic_reader_finds_its_columns(tmp_path: Path) -> None:
    schema = json.loads((make_image_directory(tmp_path) / "_schema.json").read_text())
    image, category, number = schema["columnAttributes"]
    assert (image["name"], image["type"], image["properties"]["image_ref"]) == ("image", "Bytes", "image_info")
    assert category["properties"]["annotation_type"] == "COCO_classification"
    assert category["properties"]["categories"] == [{"id": number, "name": name} for number, name in enumerate(sorted(COLORS))]
    assert (number["name"], number["elementType"]) == ("id", {"typeName": "int64", "isNullable": False})
    samples = json.loads((tmp_path / "_samples.json").read_text())
    assert len(samples) == 3
    assert set(samples[0]) == {"image", "id", "category"}


def test_a_classic_folder_with_gaps_in_its_ids_is_matched_by_name(tmp_path: Path) -> None:
    rows = [row("image/7_0.png", "dog", 0), row("image/2_1.png", "cat", 1), row("image/7_2.png", "dog", 2)]
    index = read_image_directory(write_classic(tmp_path, rows, [{"id": 7, "name": "dog"}, {"id": 2, "name": "cat"}]))
    assert index.classes == ("cat", "dog")
    assert index.labels.tolist() == [1, 0, 1]
    assert index.known_sizes() == [(4, 6)]


def test_base_file_name_comes_before_file_name_and_unknown_keys_are_ignored(tmp_path: Path) -> None:
    rows = [row("image/a.png", "x", 0, base_file_name="image/b.png", coco_url="http://x", id=9) | {"extra": 1}]
    assert read_image_directory(write_classic(tmp_path, rows, [])).names[0] == "image/b.png"


def test_keys_without_a_value_are_as_good_as_none(tmp_path: Path) -> None:
    rows = [row("image/a.png", "x", 0, base_file_name=None, width=None, height=32.0, content_hash=None)]
    index = read_image_directory(write_classic(tmp_path, rows, []))
    assert (index.names[0], index.sizes.tolist()) == ("image/a.png", [[32, 0]])


def test_a_classic_folder_without_annotations_is_unlabeled(tmp_path: Path) -> None:
    index = read_image_directory(write_classic(tmp_path, [row("image/a.png", "x", 0)], None))
    assert not index.is_labeled
    with pytest.raises(NotLabeledDatasetError, match="has no labels"):
        index.labeled()


def test_rows_without_a_label_are_not_used_for_training(tmp_path: Path) -> None:
    rows = [row("image/a.png", "x", 0), row("image/b.png", None, 1), row("image/c.png", " ", 2), row("image/d.png", "y", 3)]
    index = read_image_directory(write_classic(tmp_path, rows, []))
    assert index.labels.tolist() == [0, NO_LABEL, NO_LABEL, 1]
    assert index.labeled().ids.tolist() == [0, 3]


def test_byte_order_mark_windows_line_ends_and_blank_lines_are_fine(tmp_path: Path) -> None:
    folder = write_classic(tmp_path, [row("image/a.png", "x", 0), row("image/b.png", "y", 1)], [])
    lines = (folder / "images.lst").read_text().splitlines()
    (folder / "images.lst").write_bytes(b"\xef\xbb\xbf" + "\r\n\r\n".join(lines).encode())
    assert len(read_image_directory(folder)) == 2


@pytest.mark.parametrize(
    "line",
    ["{", "[1]", "null", '{"image_info": 3}', '{"image_info": {"file_name": ""}}', '{"image_info": {"file_name": "../x.png"}}',
     '{"image_info": {"file_name": "/etc/passwd"}}', '{"category": "x"}', '{"image_info": {"file_name": "a.png"}, "category": 1}',
     '{"image_info": {"file_name": "a.png", "width": NaN}}'],
)  # fmt: skip
def test_a_broken_line_is_refused_with_its_number(tmp_path: Path, line: str) -> None:
    folder = write_classic(tmp_path, [row("image/a.png", "x", 0)], [])
    with (folder / "images.lst").open("a") as file:
        file.write(line + "\n")
    with pytest.raises(InvalidDatasetError, match=r"images\.lst line 2: "):
        read_image_directory(folder)


def test_class_folders_are_read_without_touching_them(tmp_path: Path) -> None:
    index = read_image_directory(make_photos(tmp_path))
    assert index.classes == tuple(sorted(COLORS))
    assert len(index) == 12
    assert index.names[0] == "blue/photo 0.png"


def test_a_stray_file_beside_class_folders_changes_nothing(tmp_path: Path) -> None:
    make_photos(tmp_path)
    (tmp_path / ".ipynb_checkpoints").mkdir()
    for name in ("cover.png", ".ipynb_checkpoints/x.png"):
        Image.new("RGB", (2, 2)).save(tmp_path / name)
    (tmp_path / "metadata.json").write_text('{"author": "me"}')
    index = read_image_directory(tmp_path)
    assert (index.classes, len(index)) == (tuple(sorted(COLORS)), 12)


def test_photos_beside_one_folder_of_photos_are_all_unlabeled(tmp_path: Path) -> None:
    (tmp_path / "old").mkdir()
    for name in ("a.png", "b.png", "old/c.png"):
        Image.new("RGB", (2, 2)).save(tmp_path / name)
    index = read_image_directory(tmp_path)
    assert (len(index), index.is_labeled) == (3, False)


def test_photos_that_lie_beside_each_other_are_unlabeled(tmp_path: Path) -> None:
    for number in range(3):
        Image.new("RGB", (2, 2)).save(tmp_path / f"{number}.png")
    index = read_image_directory(tmp_path)
    assert (len(index), index.is_labeled) == (3, False)


def test_coco_gives_the_labels(tmp_path: Path) -> None:
    for name in ("a", "b"):
        Image.new("RGB", (2, 2)).save(tmp_path / f"{name}.png")
    coco = {
        "images": [{"id": 5, "file_name": "a.png"}, {"id": 6, "file_name": "b.png"}],
        "annotations": [{"image_id": 5, "category_id": 1}],
        "categories": [{"id": 1, "name": "dog"}],
    }
    (tmp_path / "coco.json").write_text(json.dumps(coco))
    index = read_image_directory(tmp_path)
    assert (index.classes, index.labels.tolist()) == (("dog",), [0, NO_LABEL])
    coco["annotations"].append({"image_id": 5, "category_id": 2})
    (tmp_path / "coco.json").write_text(json.dumps(coco))
    with pytest.raises(InvalidDatasetError, match="category_id 2, not in categories"):
        read_image_directory(tmp_path)


def test_a_folder_without_images_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidDatasetError, match="has no images"):
        read_image_directory(tmp_path)


def test_case_127_a_writer_that_fails_leaves_a_folder_that_is_refused(tmp_path: Path) -> None:
    def stopped() -> None:
        with ImageDirectoryWriter(tmp_path, ["x"]) as writer:
            writer.add(b"abc", ".png", Row(ImageInfo(), "x"))
            raise RuntimeError

    pytest.raises(RuntimeError, stopped)
    assert not (tmp_path / "_meta.yaml").exists()
    with pytest.raises(InvalidDatasetError, match="unfinished"):
        read_image_directory(tmp_path)


def test_a_subset_keeps_rows_and_order(tmp_path: Path) -> None:
    index = read_image_directory(make_image_directory(tmp_path))
    part = index.subset(np.array([7, 2]))
    assert [part.names[0], part.names[1]] == [index.names[7], index.names[2]]
    assert part.ids.tolist() == [7, 2]
    assert part.row(0) == index.row(7)
