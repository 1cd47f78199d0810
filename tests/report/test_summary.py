"""What is told of a folder: each of the four kinds, ours and classic ones, photos alone, and what is unfinished or damaged."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
import yaml
from conftest import make_image_directory, make_photos
from PIL import Image
from torch import nn

from designer_vision.components.training_task import configuration_of
from designer_vision.data.preprocessing import plan_preprocessing
from designer_vision.formats.data_frame_directory import ScoredSet, write_data_frame_directory
from designer_vision.formats.image_directory import ImageDirectoryWriter, read_image_directory
from designer_vision.formats.image_index import ImageInfo, Row
from designer_vision.formats.model_directory import MODULES, Model, write_model_directory
from designer_vision.formats.transformation_directory import write_transformation_directory
from designer_vision.networks import builders
from designer_vision.networks.architectures import Architecture
from designer_vision.report.summary import KINDS, Images, Network, Scores, Summary, Training, Transformation, summarize
from designer_vision.runtime.errors import (
    CheckpointError,
    DesignerError,
    InvalidDatasetError,
    InvalidModelDirectoryError,
    InvalidTransformationDirectoryError,
)
from designer_vision.runtime.files import hash_of_file
from designer_vision.training.checkpoint import Checkpoints, Manifest, Position
from designer_vision.training.parameters import Parameters

RESNET = Architecture("resnet18")
OPERATIONS = [["Resize", 64], ["RandomHorizontalFlip", {}]]
PARAMETERS = {"epochs": 3, "batch_size": 6, "learning_rate": 0.01}
METRICS = {"epoch": 2, "Valid loss": 0.25, "Top-1 validation accuracy": 0.75}


def write_trained(folder: Path) -> Path:
    weights = builders.build(RESNET, 3, seed=1).state_dict()
    model = Model(
        RESNET, weights, labels=("c", "a", "b"), operations=[["Resize", 64]], size=(64, 48), training=PARAMETERS | {"processes": 2} | METRICS
    )  # fmt: skip
    write_model_directory(folder, model)
    return folder


def write_scores(folder: Path, categories: list[str | None] | None = None) -> Path:
    probabilities = np.array([[0.9, 0.1], [0.8, 0.2], [0.3, 0.7]])
    write_data_frame_directory(folder, ScoredSet(("a", "b"), probabilities, np.arange(3), categories))
    return folder


def write_transformation(folder: Path) -> Path:
    write_transformation_directory(folder, OPERATIONS)
    return folder


OURS: dict[str, Callable[[Path], Path]] = {
    "ImageDirectory": make_image_directory,
    "ModelDirectory": write_trained,
    "TransformationDirectory": write_transformation,
    "DataFrameDirectory": write_scores,
}


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A folder of each kind, by our own writers."""
    folder = tmp_path_factory.mktemp("ours")
    return {kind: write(folder / kind) for kind, write in OURS.items()}


def write_meta(folder: Path, kind: str, **names: str) -> Path:
    """As a classic module writes it."""
    (folder / "_meta.yaml").write_text(yaml.safe_dump({"type": kind, "extension": {}, **names}))
    return folder


def write_classic_images(folder: Path, categories: list[str | None], **info: object) -> Path:
    """A classic ImageDirectory, made without our writer."""
    (folder / "image").mkdir()
    rows = []
    for number, category in enumerate(categories):
        Image.new("RGB", (6, 4)).save(folder / f"image/{number}.png")
        rows.append({"image_info": {"file_name": f"image/{number}.png", **info}, "category": category, "id": number})
    (folder / "images.lst").write_text("".join(json.dumps(row) + "\n" for row in rows))
    named = [{"id": number, "name": name} for number, name in enumerate(sorted({*filter(None, categories), "unseen"}))]
    column = {"name": "category", "type": "String", "properties": {"annotation_type": "COCO_classification", "categories": named}}
    (folder / "_schema.json").write_text(json.dumps({"columnAttributes": [column]}))
    return write_meta(folder, "ImageDirectory", image_list="images.lst", schema="_schema.json")


def write_classic_model(folder: Path, pretrained: bool) -> Path:
    """A classic untrained model, made without our writer."""
    init_params = {"model_name": "resnet18", "pretrained": pretrained, "zero_init_residual": False}
    spec = {
        "flavor": {"name": "pytorch", "serialization_method": "state_dict"},
        "model_file": "model",
        "time_created": "2026-11-23",
        "flavor_extras": {"module": f"{MODULES}.resnet", "class": "ResNet", "is_cuda": False, "init_params": init_params},
    }
    (folder / "model_spec.yaml").write_text(yaml.safe_dump(spec))
    weights = builders.build(RESNET, 1000, seed=1).state_dict()
    torch.save({f"model.{name}": tensor for name, tensor in weights.items()}, folder / "model")
    return write_meta(folder, "ModelDirectory", model="model_spec.yaml")


@pytest.mark.parametrize("kind", KINDS)
def test_our_folders_are_told_with_their_origin_and_hashes(ours: dict[str, Path], kind: str) -> None:
    summary = summarize(ours[kind])
    assert (summary.folder, summary.type, summary.finished, summary.notes) == (str(ours[kind]), kind, True, [])
    assert (summary.origin, summary.record_version) == ("designer_vision", 1)
    assert summary.hashes
    assert summary.hashes == {name: hash_of_file(ours[kind] / name) for name in summary.hashes}


FIELDS = {
    "ImageDirectory": "images labeled classes without_label sizes transformation random_operations weighting with_content_hash repeated fingerprint labels_from left_out",
    "ModelDirectory": "network state classes network_parameters mean std input_size transformation training_parameters best_epoch temperature",
    "TransformationDirectory": "operations random_operations",
    "DataFrameDirectory": "images labeled with_label accuracy predicted",
}  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_the_names_that_programs_read_stay(ours: dict[str, Path], kind: str) -> None:
    told = json.loads(json.dumps(msgspec.to_builtins(summarize(ours[kind]))))
    assert list(told) == ["folder", "type", "finished", "origin", "record_version", "hashes", "content", "notes"]
    assert list(told["content"]) == FIELDS[kind].split()


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("ImageDirectory", "images.lst"), ("ImageDirectory", "_schema.json"), ("ImageDirectory", "_samples.json"),
        ("ModelDirectory", "model"), ("ModelDirectory", "model_spec.yaml"), ("ModelDirectory", "index_to_label.csv"),
        ("TransformationDirectory", "_transforms.json"), ("DataFrameDirectory", "_data.parquet"), ("DataFrameDirectory", "schema/_schema.json"),
    ],
)  # fmt: skip
def test_one_changed_byte_in_a_file_that_has_a_hash_is_an_error(tmp_path: Path, kind: str, name: str) -> None:
    folder = OURS[kind](tmp_path / "folder")
    content = bytearray((folder / name).read_bytes())
    content[len(content) // 2] ^= 1
    (folder / name).write_bytes(content)
    with pytest.raises(KINDS[kind][0], match=f"{name} is not what was written: its hash differs"):
        summarize(folder)


def test_images_are_counted_by_class_with_their_sizes_and_what_was_done_to_them(tmp_path: Path) -> None:
    recorded = {"transformation": [["Resize", 8]], "random_operations": [["RandomCrop", 4]]}
    content = summarize(make_image_directory(tmp_path, per_class=2, size=(8, 9), **recorded)).content
    assert isinstance(content, Images)
    assert (content.images, content.labeled, content.without_label) == (6, True, 0)
    assert content.classes == {"blue": 2, "green": 2, "red": 2}
    assert content.sizes is not None
    assert (content.sizes.images, content.sizes.different, content.sizes.most_frequent) == (6, 1, (8, 9))
    assert (content.transformation, content.random_operations) == ([["Resize", 8]], [["RandomCrop", 4]])
    assert (content.with_content_hash, content.repeated) == (6, 0)
    assert content.fingerprint == read_image_directory(tmp_path).fingerprint


def test_sizes_are_told_by_area_and_images_that_repeat_another_are_counted(tmp_path: Path) -> None:
    seen = [(9, 9, "aa"), (2, 50, "bb"), (9, 9, "bb"), (40, 1, "aa"), (9, 9, "cc"), (None, None, None), (9, 9, "aa")]
    with ImageDirectoryWriter(tmp_path, []) as writer:
        for height, width, content in seen:
            info = ImageInfo(height=height, width=width, content_hash=content and content * 16)
            writer.add(b"", ".png", Row(info))
    content = summarize(tmp_path).content
    assert isinstance(content, Images)
    assert (content.images, content.labeled, content.classes, content.without_label) == (7, False, {}, 7)
    sizes = content.sizes
    assert sizes is not None
    assert (sizes.images, sizes.different, sizes.smallest, sizes.largest) == (6, 3, (40, 1), (2, 50))
    assert (sizes.most_frequent, sizes.with_most_frequent) == ((9, 9), 4)
    assert (content.with_content_hash, content.repeated) == (6, 3)


def test_a_classic_image_directory_has_no_record_and_classes_without_images_count_zero(tmp_path: Path) -> None:
    summary = summarize(write_classic_images(tmp_path, ["dog", "cat", None, "dog", ""]))
    assert (summary.type, summary.origin, summary.record_version, summary.hashes) == (
        "ImageDirectory",
        "classic module",
        None,
        {},
    )
    content = summary.content
    assert isinstance(content, Images)
    assert (content.images, content.without_label) == (5, 2)
    assert list(content.classes.items()) == [("cat", 1), ("dog", 2), ("unseen", 0)]
    assert (content.sizes, content.with_content_hash, content.repeated) == (None, 0, 0)


def test_photos_that_nobody_converted_are_told_as_the_readers_take_them(tmp_path: Path) -> None:
    summary = summarize(make_photos(tmp_path / "photos", per_class=2))
    assert (summary.type, summary.origin, summary.finished, summary.hashes) == ("ImageDirectory", "plain folder", True, {})
    assert isinstance(summary.content, Images)
    assert (summary.content.classes, summary.content.sizes) == ({"blue": 2, "green": 2, "red": 2}, None)


def test_a_trained_model_has_its_classes_in_order_and_its_training(ours: dict[str, Path]) -> None:
    content = summarize(ours["ModelDirectory"]).content
    assert isinstance(content, Network)
    assert (content.network, content.state, content.classes) == ("resnet18", "trained", ("c", "a", "b"))
    assert content.network_parameters == 11_176_512 + 3 * 513  # torchvision's ResNet-18 without its head, and a head for three
    assert (content.input_size, content.transformation, content.mean) == ((64, 48), [["Resize", 64]], (0.5, 0.5, 0.5))
    assert (content.training_parameters, content.best_epoch) == (PARAMETERS | {"processes": 2}, METRICS)


@pytest.mark.parametrize(("pretrained", "state", "mean"), [(False, "untrained", 0.5), (True, "pretrained", 0.485)])
def test_a_classic_model_before_training_has_no_classes_and_a_note(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], pretrained: bool, state: str, mean: float
) -> None:
    summary = summarize(write_classic_model(tmp_path, pretrained))
    content = summary.content
    assert isinstance(content, Network)
    assert (summary.origin, content.state, content.classes, content.mean[0]) == ("classic module", state, (), mean)
    assert (content.network_parameters, content.input_size, content.training_parameters) == (11_689_512, None, {})
    assert summary.notes == [f"warning: no hash of {tmp_path / 'model'} is recorded, so a damaged byte would not be noticed"]
    assert capsys.readouterr().out == ""


def test_a_transformation_has_its_operations_and_which_are_random(ours: dict[str, Path], tmp_path: Path) -> None:
    content = summarize(ours["TransformationDirectory"]).content
    assert content == Transformation(operations=OPERATIONS, random_operations=[["RandomHorizontalFlip", {}]])
    (tmp_path / "_transforms.json").write_text('[["ColorJitter", 0.2], ["ToTensor", {}]]')
    classic = summarize(write_meta(tmp_path, "TransformationDirectory", transform_type="Image"))
    assert classic.origin == "classic module"
    assert classic.content == Transformation(
        operations=[["ColorJitter", 0.2], ["ToTensor", {}]], random_operations=[["ColorJitter", 0.2]]
    )


def test_an_operation_that_we_do_not_know_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "_transforms.json").write_text('[["os.system", "ls"]]')
    with pytest.raises(InvalidTransformationDirectoryError, match=r"_transforms\.json: 'os\.system' is not an operation we know"):
        summarize(write_meta(tmp_path, "TransformationDirectory", transform_type="Image"))


@pytest.mark.parametrize(
    ("categories", "labeled", "with_label", "accuracy"),
    [
        (None, False, 0, None), (["a", "b", "b"], True, 3, 2 / 3), (["a", None, "a"], True, 2, 1 / 2), ([None, None, None], True, 0, None),
    ],
)  # fmt: skip
def test_scores_are_counted_and_only_labelled_ones_have_an_accuracy(
    tmp_path: Path, categories: list[str | None] | None, labeled: bool, with_label: int, accuracy: float | None
) -> None:
    content = summarize(write_scores(tmp_path / "scores", categories)).content
    assert content == Scores(
        images=3, labeled=labeled, with_label=with_label, accuracy=accuracy, predicted={"a": 2, "b": 1}
    )  # fmt: skip


def test_a_classic_scored_set_is_told(tmp_path: Path) -> None:
    columns = {
        "category": ["b"],
        "id": [7],
        "Scored Probabilities_b": [0.75],
        "Scored Probabilities_a": [0.25],
        "Scored Labels": ["b"],
    }
    pq.write_table(pa.table(columns), tmp_path / "_data.parquet")
    summary = summarize(write_meta(tmp_path, "DataFrameDirectory", format="Parquet", data="_data.parquet"))
    assert summary.origin == "classic module"
    assert summary.content == Scores(images=1, labeled=True, with_label=1, accuracy=1.0, predicted={"b": 1, "a": 0})


def write_checkpoints(folder: Path, *positions: Position, **changed: object) -> Checkpoints:
    """The output of a training that was stopped, with the configuration that Train PyTorch Model records."""
    index = read_image_directory(make_image_directory(folder.with_name("training images")))
    preprocessing = plan_preprocessing(index.folder, index.known_sizes(), [], [])
    parameters = Parameters(5, 16, 0, 0.001, 1, 3, 10)
    configuration = configuration_of(parameters, Model(RESNET, {}), nn.Linear(1, 1), index, index, preprocessing)
    checkpoints = Checkpoints(folder / "checkpoint")
    for position in positions:
        checkpoints.save({"weight": torch.zeros(3)}, Manifest(position, "", "", configuration | changed, {}, {}))
    (folder / "_unfinished").touch()
    return checkpoints


def test_an_unfinished_folder_is_told_as_such(tmp_path: Path) -> None:
    (tmp_path / "_unfinished").touch()
    expected = Summary(folder=str(tmp_path), type=None, finished=False, origin="designer_vision", content=None)
    assert summarize(tmp_path) == expected
    (tmp_path / "checkpoint").mkdir()
    assert summarize(tmp_path) == msgspec.structs.replace(expected, type="ModelDirectory")


def test_an_unfinished_training_is_told_with_its_newest_checkpoint(tmp_path: Path) -> None:
    write_checkpoints(tmp_path / "output", Position(1, 200), Position(2, 384, 1))
    summary = summarize(tmp_path / "output")
    assert (summary.type, summary.finished) == ("ModelDirectory", False)
    assert summary.content == Training(
        network="resnet18", classes=["blue", "green", "red"], epochs=5, finished_epochs=2, images=384, validated=1
    )  # fmt: skip


def test_a_damaged_checkpoint_is_noted_and_the_one_before_is_told(tmp_path: Path) -> None:
    checkpoints = write_checkpoints(tmp_path / "output", Position(1), Position(2))
    newest = checkpoints.manifests()[0]
    (checkpoints.folder / newest.payload).write_bytes(b"")
    summary = summarize(tmp_path / "output")
    assert isinstance(summary.content, Training)
    assert summary.content.finished_epochs == 1
    assert "is damaged; the one before" in summary.notes[0]


@pytest.mark.parametrize("changed", [{"epochs": "many"}, {"classes": 3}, {"network": None}])
def test_a_checkpoint_of_something_else_is_an_error(tmp_path: Path, changed: dict[str, object]) -> None:
    write_checkpoints(tmp_path / "output", Position(1), **changed)
    with pytest.raises(CheckpointError, match=r"its manifest: .* run that training again"):
        summarize(tmp_path / "output")


def test_checkpoints_that_lie_elsewhere_are_not_opened(tmp_path: Path) -> None:
    write_checkpoints(tmp_path / "other", Position(1))
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "_unfinished").touch()
    (tmp_path / "folder" / "checkpoint").symlink_to(tmp_path / "other" / "checkpoint")
    with pytest.raises(CheckpointError, match="is a link that points outside the folder"):
        summarize(tmp_path / "folder")


@pytest.mark.parametrize(
    ("meta", "error", "message"),
    [
        ("type: Recipe", InvalidDatasetError, "has type 'Recipe', expected one of ImageDirectory, ModelDirectory, "),
        ("[]", InvalidDatasetError, "expected what a component writes"),
        ("extension: {}", InvalidDatasetError, "has type 'None'"),
        ("type: ModelDirectory", InvalidModelDirectoryError, "is missing"),
        ("{type: ModelDirectory, extension: {designer_vision: {version: 2}}}", InvalidModelDirectoryError, "format version 2"),
        ("{type: ImageDirectory, extension: {designer_vision: 3}}", InvalidDatasetError, "expected what a component writes"),
        (
            f"{{type: ImageDirectory, extension: {{designer_vision: {{hashes: {{../x: {'0' * 32}}}}}}}}}",
            InvalidDatasetError,
            "is not the name of a file inside the folder",
        ),
    ],
)
def test_a_manifest_of_nothing_that_we_know_is_an_error(
    tmp_path: Path, meta: str, error: type[DesignerError], message: str
) -> None:
    (tmp_path / "_meta.yaml").write_text(meta)
    with pytest.raises(error, match=message):
        summarize(tmp_path)


def test_what_is_no_folder_gets_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InvalidDatasetError, match=r"file is not a folder$"):
        summarize(tmp_path / "file")
    with pytest.raises(InvalidDatasetError, match=r"nowhere does not exist$"):
        summarize(tmp_path / "nowhere")
    with pytest.raises(InvalidDatasetError, match="has no images"):
        summarize(tmp_path)
