"""Inputs that somebody tried who wanted to break in, beyond the list: each once did something that it should not."""

from __future__ import annotations

import io
import json
import os
import time
import zipfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import make_image_directory, make_photos
from PIL import Image

from designer_vision.components.convert_to_image_directory import find_images
from designer_vision.components.convert_to_image_directory import main as convert
from designer_vision.data import images, transforms
from designer_vision.formats import archives
from designer_vision.formats.data_frame_directory import ScoredSet, read_data_frame_directory
from designer_vision.formats.image_directory import read_image_directory
from designer_vision.formats.model_directory import Model, read_model_directory, write_model_directory
from designer_vision.inference.evaluation import MOST_CLASSES, Predictions
from designer_vision.networks import builders
from designer_vision.networks.architectures import Architecture
from designer_vision.runtime.description import from_json, from_yaml
from designer_vision.runtime.errors import DesignerError, InvalidDatasetError, InvalidZipFileError


@pytest.mark.parametrize("kind", ["folder", "archive"])
def test_a_folder_with_nothing_but_a_link_out_of_it_is_refused(tmp_path: Path, kind: str) -> None:
    photos = make_photos(tmp_path / "outside/photos")
    with zipfile.ZipFile(tmp_path / "outside/z.zip", "w") as packed:
        packed.write(photos / "red/photo 0.png", "red/0.png")
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / ("x" if kind == "folder" else "x.zip")).symlink_to(
        photos if kind == "folder" else tmp_path / "outside/z.zip"
    )
    with pytest.raises(InvalidDatasetError, match=r"is a link that points outside|links are not followed: `cp -rL`"):
        convert(tmp_path / "in", tmp_path / "out")
    assert not list((tmp_path / "out").glob("image/*"))


def test_a_pipe_as_a_dataset_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InvalidDatasetError, match="is a pipe or a device"):
        find_images(tmp_path / "pipe", tmp_path)


def test_names_that_are_not_utf_8_come_through_as_latin_1(tmp_path: Path) -> None:
    photos = make_photos(tmp_path / "photos", per_class=1)
    (photos / "red").rename(os.fsdecode(os.fsencode(photos) + b"/m\xfcller"))
    (photos / "blue/photo 0.png").rename(os.fsdecode(os.fsencode(photos) + b"/blue/\xe9t\xe9.png"))
    convert(photos, tmp_path / "out")
    index = read_image_directory(tmp_path / "out", original_names=True)
    assert index.classes == ("blue", "green", "müller")
    assert index.original_names[0] == "blue/été.png"


def test_folders_without_end_are_refused(tmp_path: Path) -> None:
    deep = tmp_path / "photos" / "/".join(["d"] * 150)
    deep.mkdir(parents=True)
    Image.new("RGB", (2, 2)).save(deep / "x.png")
    Image.new("RGB", (2, 2)).save(tmp_path / "photos/y.png")
    with pytest.raises(InvalidDatasetError, match="more than 100 folders deep"):
        read_image_directory(tmp_path / "photos")
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as packed:
        packed.writestr("d/" * 150 + "x.png", b"")
    (tmp_path / "deep.zip").write_bytes(buffer.getvalue())
    with pytest.raises(InvalidZipFileError, match="more than 100 folders deep"):
        archives.unpack(tmp_path / "deep.zip", tmp_path / "out", archives.Budget([tmp_path / "deep.zip"]))


@pytest.mark.parametrize("names", [[], ["a/", "b/c/"]])
def test_an_archive_without_files_is_refused(tmp_path: Path, names: list[str]) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as packed:
        for name in names:
            packed.writestr(name, b"")
    with pytest.raises(InvalidZipFileError, match="it holds no files"):
        archives.unpack(tmp_path / "a.zip", tmp_path / "out", archives.Budget([tmp_path / "a.zip"]))


COCO = {
    "images": [{"id": 1, "file_name": "a.png"}],
    "annotations": [{"image_id": 1, "category_id": 1}],
    "categories": [{"id": 1, "name": "cat"}],
}


@pytest.mark.parametrize(
    "change", [lambda text: text.replace("1}]", "NaN}]", 1), lambda text: text[:-20], lambda text: text.encode("utf-16")]
)
def test_a_coco_file_that_cannot_be_read_does_not_lose_its_labels_silently(tmp_path: Path, change) -> None:
    changed = change(json.dumps(COCO))
    (tmp_path / "coco.json").write_bytes(changed if isinstance(changed, bytes) else changed.encode())
    (tmp_path / "a.png").write_bytes(b"")
    with pytest.raises(InvalidDatasetError, match=r"coco\.json.*expected (COCO|UTF-8)"):
        read_image_directory(tmp_path)


def test_a_coco_file_with_a_byte_order_mark_is_read_and_other_json_beside_classes_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "coco.json").write_bytes(b"\xef\xbb\xbf" + json.dumps(COCO).encode())
    (tmp_path / "a.png").write_bytes(b"")
    assert read_image_directory(tmp_path).classes == ("cat",)
    photos = make_photos(tmp_path / "photos")
    (photos / "info.json").write_text('{"images": 8}')
    assert len(read_image_directory(photos)) == 12


def test_descriptions_with_many_keys_are_refused_in_seconds() -> None:
    names = ", ".join(f'"k{number}": 1' for number in range(60_000)) + ', "k59999": 1'
    for read in (from_json, from_yaml):
        begin = time.monotonic()
        with pytest.raises(InvalidDatasetError, match="the key 'k59999' appears twice"):
            read(f"{{{names}}}".encode(), dict, Path("x"), InvalidDatasetError)
        assert time.monotonic() - begin < 20


def test_a_thin_image_is_not_blown_up() -> None:
    enlarge = transforms.compose([["Resize", 256]])
    import torch

    with pytest.raises(ValueError, match="would make 256 x 3072000 pixels of 1 x 12000"):
        enlarge(torch.zeros(3, 1, 12_000, dtype=torch.uint8))
    assert enlarge(torch.zeros(3, 10, 100, dtype=torch.uint8)).shape == (3, 256, 2560)


def test_a_jpeg_of_several_frames_has_the_limit_on_scans_too() -> None:
    frames = [Image.fromarray(np.random.default_rng(0).integers(0, 256, (3000, 4000, 3), np.uint8)) for _ in range(2)]
    buffer = io.BytesIO()
    frames[0].save(buffer, "MPO", save_all=True, append_images=frames[1:], progressive=True)
    content = buffer.getvalue()
    assert Image.open(io.BytesIO(content)).format == "MPO"
    assert images.decode(content, "x").shape == (3000, 4000, 3)
    with pytest.raises(InvalidDatasetError, match="scans over"):
        images.decode(content + b"\xff\xda" * 500, "x")


def test_recorded_operations_without_effect_are_left_out(tmp_path: Path) -> None:
    folder = make_image_directory(tmp_path, per_class=1, transformation=[["ToTensor", {}], ["Resize", 32]])
    assert read_image_directory(folder).transformation == [["Resize", 32]]


@pytest.mark.parametrize("labels", [("a\rb", "c"), ('"', ","), ("\n", "x"), (" a", "b ")])
def test_a_model_with_odd_labels_is_read_back(tmp_path: Path, labels: tuple[str, ...]) -> None:
    network = builders.build(Architecture("resnet18"), len(labels), seed=1)
    write_model_directory(tmp_path, Model(Architecture("resnet18"), network.state_dict(), labels=labels))
    if all(label.strip() for label in labels):
        assert read_model_directory(tmp_path).labels == labels
    else:
        with pytest.raises(DesignerError, match="appears twice or is blank"):
            read_model_directory(tmp_path)


def test_a_schema_that_is_a_link_is_not_copied_into_the_model(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret")
    dataset = make_image_directory(tmp_path / "dataset", per_class=1)
    (dataset / "_samples.json").unlink()
    (dataset / "_samples.json").symlink_to(tmp_path / "secret")
    network = builders.build(Architecture("resnet18"), 3, seed=1)
    write_model_directory(
        tmp_path / "model", Model(Architecture("resnet18"), network.state_dict(), labels=("a", "b", "c")), dataset
    )
    assert not (tmp_path / "model/_samples.json").exists()
    assert (tmp_path / "model/_schema.json").read_bytes() == (dataset / "_schema.json").read_bytes()


def scored(folder: Path, **columns: object) -> Path:
    pq.write_table(pa.table({"Scored Probabilities_a": [0.5] * len(columns["category"]), **columns}), folder / "_data.parquet")
    (folder / "_meta.yaml").write_text("type: DataFrameDirectory\n")
    return folder


def test_a_scored_set_with_endless_labels_or_classes_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidDatasetError, match="a category of more than 1000 letters"):
        read_data_frame_directory(scored(tmp_path, category=["x" * 100_000] * 50))
    many = ScoredSet(
        ("a",), np.ones((MOST_CLASSES + 1, 1)), np.arange(MOST_CLASSES + 1), [str(n) for n in range(MOST_CLASSES + 1)]
    )
    with pytest.raises(InvalidDatasetError, match="5,002 classes, expected at most 5,000"):
        Predictions.of(many, "x")


def test_a_long_message_keeps_its_beginning_and_its_end() -> None:
    message = InvalidDatasetError("path " + "x" * 700_000 + " do this").message
    assert len(message) < 3100
    assert message.startswith("path x")
    assert message.endswith("x do this")
