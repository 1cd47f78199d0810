"""Every reader of what a stranger can give, as a function of bytes: it returns, or raises an error of ours."""

from __future__ import annotations

import base64
import bz2
import gzip
import io
import json
import shutil
import tarfile
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
import yaml
from fuzz import mutations
from fuzz.mutations import Mutate, Mutator
from PIL import Image
from torch import nn

from designer_vision.cleaning.looks import MEASURES, THUMBNAIL, measure, measured_size
from designer_vision.data import images, transforms
from designer_vision.designer.components import Components
from designer_vision.designer.document import Document
from designer_vision.formats import archives
from designer_vision.formats.data_frame_directory import LONGEST, read_data_frame_directory
from designer_vision.formats.image_directory import read_image_directory, schema
from designer_vision.formats.manifest import Extension, Manifest, write_manifest
from designer_vision.formats.model_directory import LABELS, SPEC, Model, _read_labels, _spec_text, read_spec, untrained
from designer_vision.formats.transformation_directory import read_transformation_directory
from designer_vision.formats.weights import read_weights
from designer_vision.inference.serving import ServedModel, answer
from designer_vision.networks import builders
from designer_vision.networks.architectures import Architecture
from designer_vision.pipeline.checks import check
from designer_vision.pipeline.yaml_files import read_pipeline
from designer_vision.runtime.errors import CheckpointError, DesignerError, PipelineError, RequestError
from designer_vision.training.checkpoint import Checkpoints, Position, state_of
from designer_vision.training.checkpoint import Manifest as CheckpointManifest

META = "type: ImageDirectory\nextension: {}\nimage_list: images.lst\nsamples: _samples.json\nschema: _schema.json\n"
SCHEMA = json.dumps(schema(["cat", "dog"]))
ROWS = "".join(
    json.dumps({
        "image_info": {"file_name": f"image/{n}.jpg", "width": 4, "height": 3, "content_hash": "0" * 32, "original_file_name": "a.jpg"},
        "category": ("cat", "dog")[n % 2], "id": n,
    }) + "\n" for n in range(6)
)  # fmt: skip
NETWORK = nn.Sequential(OrderedDict(conv=nn.Conv2d(3, 4, 3), norm=nn.BatchNorm2d(4)))
EXPECTED = {name: torch.empty_like(tensor, device="meta") for name, tensor in NETWORK.state_dict().items()}


@dataclass(frozen=True)
class Target:
    """A reader.

    Attributes:
        seeds: right inputs, which are read without an error.
        mutate: a seed to what makes almost right inputs.
        read: reads an input, given an empty folder for it.
    """

    seeds: tuple[bytes, ...]
    mutate: Callable[[int], Mutate]
    read: Callable[[Path, bytes], object]


def _directory(folder: Path, content: bytes, name: str) -> object:
    files = {"_meta.yaml": META.encode(), "_schema.json": SCHEMA.encode(), "images.lst": ROWS.encode()} | {name: content}
    for path, text in files.items():
        (folder / path).write_bytes(text)
    index = read_image_directory(folder, original_names=True)
    for number in range(len(index)):
        index.row(number)
        assert not Path(index.names[number]).is_absolute()
        assert ".." not in Path(index.names[number]).parts
    assert len(index.fingerprint) == 32
    return index


def _coco(folder: Path, content: bytes) -> object:
    (folder / "coco.json").write_bytes(content)
    (folder / "1.jpg").write_bytes(b"")
    return read_image_directory(folder)


def _label_file(folder: Path, content: bytes, name: str) -> object:
    for image in ("photos/1.jpg", "photos/a/2.jpg", "photos/a/b/2.jpg"):
        (folder / image).parent.mkdir(parents=True, exist_ok=True)
        (folder / image).write_bytes(b"")
    (folder / "labels").mkdir()
    (folder / "labels" / name).write_bytes(content)
    if name == "MLTable":
        (folder / "labels/train.jsonl").write_bytes(JSON_LINES)
    index = read_image_directory(folder)
    names = [index.names[row] for row in range(len(index))]
    assert len(set(names)) == len(names)
    assert all((index.folder / name).is_file() for name in names)
    return index


def _transformation(folder: Path, content: bytes) -> object:
    (folder / "_meta.yaml").write_text("type: TransformationDirectory\ntransform_type: Image\n")
    (folder / "_transforms.json").write_bytes(content)
    operations = transforms.check(read_transformation_directory(folder), folder)
    return transforms.compose(operations)


def _labels(folder: Path, content: bytes) -> object:
    (folder / LABELS).write_bytes(content)
    labels = _read_labels(folder, LABELS, Manifest("ModelDirectory"))
    assert all(label.strip() for label in labels)
    return labels


def _weights(folder: Path, content: bytes) -> object:
    found = read_weights(io.BytesIO(content), folder / "model", EXPECTED)
    for name, tensor in EXPECTED.items():
        assert found[name].shape == tensor.shape
        assert found[name].dtype == tensor.dtype
        assert found[name].isfinite().all()
    return found


def _image(folder: Path, content: bytes) -> object:
    pixels = images.decode(content, "x")
    assert pixels.dtype == np.uint8
    assert pixels.shape == (*images.size(content, "x"), 3)
    return pixels


def _cleaned(folder: Path, content: bytes) -> object:
    measures, thumbnail = measure(*images.decode_to_resize(content, "x", measured_size))
    assert thumbnail.shape == (THUMBNAIL, THUMBNAIL, 3)
    numbers = np.array([measures], MEASURES)
    assert not any(np.isnan(numbers[name]).any() for name in ("spread", "one_colour", "sharpness"))
    return measures


def _archive(folder: Path, content: bytes) -> object:
    archive = folder / "archive"
    archive.write_bytes(content)
    try:
        archives.unpack(archive, folder / "a" / "b", archives.Budget([archive]))
    finally:
        left = {path.name for path in folder.iterdir()}
        assert left <= {"archive", "a"}, left
        assert not any(path.is_symlink() for path in folder.rglob("*"))
    return sorted(folder.rglob("*"))


def _scored(folder: Path, content: bytes) -> object:
    (folder / "_meta.yaml").write_text("type: DataFrameDirectory\nformat: Parquet\ndata: _data.parquet\n")
    (folder / "_data.parquet").write_bytes(content)
    scored = read_data_frame_directory(folder)
    assert scored.names is None or all(len(name) <= LONGEST["file_name"] for name in scored.names)
    return scored.scored_labels


def _checkpoint(folder: Path, content: bytes) -> object:
    (folder / "epoch.json").write_bytes(content)
    found = Checkpoints(folder).manifests()
    if not found:
        raise CheckpointError("it is left aside")
    return found


@cache
def _served() -> ServedModel:
    """A model of two classes that decodes photos and then guesses."""
    architecture, labels = Architecture("resnet18"), ("cat", "dog")
    weights = builders.build(architecture, len(labels), seed=0).state_dict()
    served = ServedModel(Model(architecture, weights, labels=labels, operations=[], size=(3, 4)))
    served._scorer = lambda pixels: np.full((len(pixels), len(labels)), 0.5)  # type: ignore[assignment]
    return served


def _request(folder: Path, content: bytes) -> object:
    status, rows = answer(_served(), content)
    json.dumps(rows, allow_nan=False)
    if status != 200:
        raise RequestError(rows["message"])
    return rows


def _requests() -> tuple[bytes, ...]:
    photo = base64.b64encode(_photos()[0]).decode()
    rows = {"columns": ["image"], "index": [0, 1], "data": [[photo], ["?"]]}
    return (
        json.dumps({"input_data": rows}).encode(),
        json.dumps({"dataframe_split": rows}).encode(),
        json.dumps({"dataframe_records": [{"image": photo}, {"image": f"data:image/png;base64,{photo}"}]}).encode(),
        json.dumps({"input_data": [photo]}).encode(),
    )


def _pipeline(folder: Path, content: bytes) -> object:
    for component, text in COMPONENTS.items():
        (folder / component).write_bytes(text)
    path = folder / "pipeline.yaml"
    path.write_bytes(content)
    raw = read_pipeline(path)
    with suppress(yaml.YAMLError):  # such as a tab behind a value, which only the client's parser refuses: it says so itself
        assert repr(raw) == repr(yaml.safe_load(content.decode("utf-8-sig"))), "the client sees other values"
    try:
        check(path, {})
    except DesignerError as error:
        if "input_dataset" not in error.message or "does not exist" not in error.message:  # the photos are not part of it
            raise
    return raw


def _canvas(folder: Path, content: bytes) -> object:
    path = folder / "pipeline.yaml"
    path.write_bytes(content)
    for component, text in COMPONENTS.items():
        (folder / component).write_bytes(text)
    document = Document(path, Components([folder]))
    graph = document.graph((), False)
    json.dumps(graph)
    if graph["error"]:
        raise PipelineError(graph["error"])
    return graph


def _file(image: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def _saved(content: object) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getvalue()


def _zip() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as packed:
        for number in range(3):
            packed.writestr(f"cats/{number}.jpg", bytes([number]) * 300)
    return buffer.getvalue()


def _tar() -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as packed:
        for name in ("cats/1.jpg", "dogs/" + "x" * 120 + ".jpg", "dogs/ü.jpg"):
            member = tarfile.TarInfo(name)
            member.size = 300
            packed.addfile(member, io.BytesIO(bytes(300)))
    return buffer.getvalue()


def _parquet() -> bytes:
    buffer = io.BytesIO()
    columns = {"category": ["a", "b"], "id": [0, 1], "file_name": ["a/1.jpg", "b/2.jpg"], "Scored Probabilities_a": [0.5, 0.1], "Scored Probabilities_b": [0.5, 0.9],
               "Scored Labels": ["a", "b"]}  # fmt: skip
    pq.write_table(pa.table(columns), buffer)
    return buffer.getvalue()


def _own_meta() -> bytes:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        ours = Extension(
            transformation=[["Resize", 8]], random_operations=[["RandomCrop", 4]], size=(4, 4), training={"epochs": 3}
        )
        write_manifest(Path(folder), Manifest("ImageDirectory", ours, image_list="images.lst", schema="_schema.json"), [])
        return (Path(folder) / "_meta.yaml").read_bytes()


def _checkpoint_manifest() -> bytes:
    from designer_vision.training.checkpoint import _encode

    return _encode(CheckpointManifest(Position(1, 2, 3), "epoch.pt", "0" * 32, {"epochs": 3}, {"model_name": "resnet18"}, {}))


def _tokens(tokens: list[bytes]) -> Callable[[int], Mutate]:
    return lambda seed: Mutator(seed, tokens)


def _packed_pickle(seed: int) -> Mutate:
    pickles, whole = Mutator(seed, mutations.PICKLE), Mutator(seed + 1, mutations.BINARY)
    return mutations.of_members(pickles, whole, np.random.default_rng(seed + 2))


def _photos() -> tuple[bytes, ...]:
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (9, 12, 3), np.uint8))
    exif = Image.Exif()
    exif[images.ORIENTATION] = 6
    return (
        _file(noise, "JPEG", exif=exif), _file(noise, "JPEG", progressive=True), _file(noise.convert("CMYK"), "JPEG"),
        _file(noise, "PNG", exif=exif), _file(noise.convert("P"), "PNG"), _file(noise.convert("LA"), "PNG"),
        _file(Image.new("I;16", (5, 4), 999), "PNG"), _file(noise, "WEBP"), _file(noise.convert("RGBA"), "WEBP", lossless=True),
        _file(noise, "BMP"), _file(noise, "PPM"), _file(noise, "TIFF", compression="tiff_lzw"), _file(noise, "TIFF"),
        _file(noise.convert("F"), "TIFF"), _file(noise.convert("1"), "TIFF", compression="group4"),
        _file(noise, "GIF"), _file(noise.convert("P"), "GIF", save_all=True, append_images=[noise.convert("P")]),
        _file(noise, "AVIF"), _file(noise.convert("RGBA"), "AVIF"), _file(noise, "HEIF"), _file(noise.convert("RGBA"), "HEIF", exif=exif),
    )  # fmt: skip


def _coco_file() -> bytes:
    return json.dumps({
        "images": [{"id": 1, "file_name": "1.jpg"}, {"id": 2, "file_name": "2.jpg"}],
        "annotations": [{"image_id": 1, "category_id": 3}],
        "categories": [{"id": 3, "name": "cat"}],
    }).encode()  # fmt: skip


def _pipeline_files() -> tuple[tuple[bytes, ...], dict[str, bytes]]:
    """Pipelines of ours as if their components lay beside them, and these by name."""
    root = Path(__file__).parents[2]
    files = [root / "pipelines" / name for name in ("train_and_score.yaml", "sweep.yaml")]
    pipelines = tuple(file.read_bytes().replace(b"../component/", b"./") for file in files)
    return pipelines, {path.name: path.read_bytes() for path in (root / "component").glob("*.yaml")}


PIPELINES, COMPONENTS = _pipeline_files()

JSON_LINES = b"".join(
    json.dumps({"image_url": url, "image_details": {"format": "jpg", "width": "4px"}, "label": label}).encode() + b"\n"
    for url, label in (
        ("azureml://subscriptions/s/resourcegroups/g/workspaces/w/datastores/d/paths/UI/photos/1.jpg", "cat"), ("../photos/a/2.jpg", ["dog"]),
        ("https://account.blob.core.windows.net/container/b/2.jpg?sig=x%2Fy", "cat"),
    )
)  # fmt: skip
MLTABLE = (
    b"type: mltable\npaths:\n  - file: ./train.jsonl\ntransformations:\n  - read_json_lines:\n      encoding: utf8\n"
    b"  - convert_column_types:\n      - columns: image_url\n        column_type: stream_info\n"
)
CSV = (
    b'file_name,label,note\n1.jpg,cat,"a ""b"""\na/2.jpg, dog ,\n\n"b/2.jpg",cat,x\n',
    b"\xef\xbb\xbfimage_id;class\r\n1;cat\r\n../photos/a/2;dog\r\n",
)


def _labeling_export() -> bytes:
    addresses = {"coco_url": "AmlDatastore://store/photos/{}", "absolute_url": "https://a.blob.core.windows.net/c/photos/{}"}
    return json.dumps({
        "images": [
            {"id": number, "width": 4.0, "file_name": name[-5:], **{key: url.format(name) for key, url in addresses.items()}}
            for number, name in enumerate(("1.jpg", "a/2.jpg", "a/b/2.jpg"))
        ],
        "annotations": [{"id": n, "image_id": n, "category_id": n % 2, "area": 0.0} for n in range(3)],
        "categories": [{"id": 0, "name": "cat"}, {"id": 1, "name": "dog"}],
    }).encode()  # fmt: skip


def targets() -> dict[str, Target]:
    """All of them by name."""
    model = untrained(Architecture("resnet18"), pretrained=False)
    spec = _spec_text(model).encode()
    checkpoint = {"segments": [(1, 3)], "totals": torch.zeros(2, 3), "best": dict(NETWORK.state_dict()), "learning_rate": 0.1}
    return {
        "_meta.yaml": Target((META.encode(), _own_meta()), _tokens(mutations.YAML), partial(_directory, name="_meta.yaml")),
        "_schema.json": Target((SCHEMA.encode(),), _tokens(mutations.JSON), partial(_directory, name="_schema.json")),
        "images.lst": Target((ROWS.encode(),), _tokens(mutations.JSON), partial(_directory, name="images.lst")),
        "a COCO file": Target((_coco_file(),), _tokens(mutations.JSON), _coco),
        "a labeling export": Target((_labeling_export(),), _tokens([*mutations.JSON, *LOCATIONS]), partial(_label_file, name="l.json")),
        "JSON lines": Target((JSON_LINES,), _tokens([*mutations.JSON, *LOCATIONS]), partial(_label_file, name="l.jsonl")),
        "an MLTable": Target((MLTABLE,), _tokens([*mutations.YAML, *TABLES]), partial(_label_file, name="MLTable")),
        "a CSV of labels": Target(CSV, _tokens([*mutations.TEXTS, *mutations.NUMBERS, *LOCATIONS, b";", b"\t", b'""', b"\r"]), partial(_label_file, name="l.csv")),
        "_transforms.json": Target(
            (b'[["Resize", 256], ["RandomCrop", {"size": [4, 4]}], ["RandomHorizontalFlip", {}]]', b'[["Pad", 3], ["RandomAffine", 10]]'),
            _tokens([*mutations.JSON, *(f'"{name}"'.encode() for name in transforms.IMAGE_TO_IMAGE)]),
            _transformation,
        ),
        "model_spec.yaml": Target((spec,), _tokens(mutations.YAML), lambda folder, content: read_spec(folder / SPEC, content)),
        "index_to_label.csv": Target((b",label\n0,cat\n1,dog\n",), _tokens([*mutations.TEXTS, *mutations.NUMBERS, b'"']), _labels),
        "the weights": Target((_saved(NETWORK.state_dict()), _saved({"state_dict": NETWORK.state_dict()})), _packed_pickle, _weights),
        "a checkpoint": Target((_saved(checkpoint),), _packed_pickle, lambda folder, content: state_of(content)),
        "a checkpoint's manifest": Target((_checkpoint_manifest(),), _tokens(mutations.JSON), _checkpoint),
        "an image": Target(_photos(), _tokens(mutations.BINARY), _image),
        "an image to clean": Target(_photos(), _tokens(mutations.BINARY), _cleaned),
        "an archive": Target(
            (_zip(), _tar(), gzip.compress(_tar()), bz2.compress(_tar())), _tokens([*mutations.BINARY, *mutations.TEXTS]), _archive
        ),
        "a request": Target(_requests(), _tokens([*mutations.JSON, *mutations.TEXTS, b"base64,", b"=", b"null"]), _request),
        "a pipeline": Target(PIPELINES, _tokens([*mutations.YAML, *mutations.PIPELINE, *SWEEPS]), _pipeline),
        "a pipeline on the canvas": Target(PIPELINES, _tokens([*mutations.YAML, *mutations.PIPELINE, *SWEEPS]), _canvas),
        "a scored set": Target((_parquet(),), _tokens(mutations.BINARY), _scored),
    }  # fmt: skip


LOCATIONS = [
    b"%2e%2e/",
    b"azureml://",
    b"file:///etc/passwd",
    b"://",
    b"/paths/",
    b"\\",
    b"/",
    b"2.jpg",
    b"%00",
    b"%ff",
    b"?",
    b"#",
    b"\x1b[2J",
]
SWEEPS = [
    b"type: sweep",
    b"choice",
    b"uniform",
    b"values: []",
    b"min_value: 9",
    b"q: 0",
    b"max_total_trials: 0",
    b"grid",
    b"bandit",
    b"nan",
]
TABLES = [b"- file: /etc/passwd\n", b"../train.jsonl", b"- take: 1\n", b"- filter\n", b"azureml://", b"MLTable", b"./train.csv"]
for codec in (
    "cp437",
    "unicode_escape",
):  # zipfile's for names, and that of lines to print: Python imports them at their first use
    "".encode(codec)


def emptied(folder: Path) -> Path:
    """The folder, without what the last input left in it."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder
