from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import yaml
from conftest import ROOT, make_image_directory, make_photos
from PIL import Image

from designer_vision.formats.manifest import UNFINISHED
from designer_vision.networks import builders
from designer_vision.networks.architectures import NETWORKS, Architecture, smallest_side
from designer_vision.pipeline.checks import check
from designer_vision.runtime.errors import (
    DesignerError,
    InvalidDatasetError,
    InvalidModelDirectoryError,
    NotLabeledDatasetError,
    PipelineError,
)

PHOTOS = ROOT / "pipelines" / "photos.yaml"


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_photos(tmp_path_factory.mktemp("data") / "photos")


@pytest.mark.parametrize("path", sorted((ROOT / "pipelines").glob("*.yaml")), ids=lambda path: path.stem)
def test_our_own_pipelines_are_all_right(path: Path, photos: Path, trained_model: Path) -> None:
    inputs = yaml.safe_load(path.read_text())["inputs"]
    data = [name for name, entry in inputs.items() if isinstance(entry, dict)]
    assert check(path, {name: str(trained_model if name == "trained_model" else photos) for name in data}) == []


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("image_size", "1000000", r"augmentation\.random_resized_crop_size \(the pipeline's input image_size\) is 1000000, .* between 1 and 16,384"),
        ("image_size", "a", r"image_size\) is 'a', expected a whole number"),
        ("epochs", "0", r"train\.epochs \(the pipeline's input epochs\) is 0, it must not be below 1"),
        ("learning_rate", "0", r"train\.learning_rate .* it must not be below 1e-09"),
        ("learning_rate", "nan", "expected a number such as 0.001"),
        ("pretrained", "maybe", r"network\.pretrained .* expected True or False"),
        ("model_name", "resnet19", r"network\.model_name .* expected one of resnet18"),
        ("split.fraction", "1", r"split\.fraction is 1.0, it must be between 1e-06 and 0.999999"),
    ],
)  # fmt: skip
def test_a_parameter_of_any_step_is_checked_by_its_components_yaml(photos: Path, name: str, value: str, message: str) -> None:
    with pytest.raises(DesignerError, match=message):
        check(PHOTOS, {"images": str(photos), name: value})


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("train.epochs", "0", r"^train\.epochs is 0, it must not be below 1"),
        ("processes", "0", r"^train\.process_count_per_instance \(the pipeline's input processes\) is 0, it must not be below 1"),
        ("processes", "two", r"input processes\) is 'two', expected a whole number"),
        ("image", "photos", r"has no input 'image'; did you mean images\? it has images, "),
        ("whatever", "1", r"has no input 'whatever'; it has images, "),
        ("train.epoch", "1", r"step train has no input 'epoch'; did you mean epochs\? it has .*patience"),
        ("trian.epochs", "1", r"has no step 'trian'; did you mean train\? it has network"),
        ("images", "", r"^--input images= is empty; expected images=FOLDER"),
    ],
)
def test_a_wrong_name_or_number_behind_input_is_told(photos: Path, name: str, value: str, message: str) -> None:
    with pytest.raises(DesignerError, match=message):
        check(PHOTOS, {"images": str(photos)} | {name: value})


def test_a_pipeline_that_is_not_there_is_answered_with_the_one_of_ours_or_the_nearest(tmp_path: Path) -> None:
    for wrong in ("photos.yaml", "photo.yaml", "photos"):
        with pytest.raises(PipelineError, match=f"does not exist; did you mean {PHOTOS}\\?$"):
            check(tmp_path / wrong, {})
    (tmp_path / "mine.yaml").touch()
    with pytest.raises(PipelineError, match=f"does not exist; did you mean {tmp_path}/mine.yaml"):
        check(tmp_path / "mime.yaml", {})
    with pytest.raises(
        PipelineError, match=f"is a folder; expected a pipeline's YAML; there are .*{PHOTOS}.*{tmp_path}/mine.yaml"
    ):
        check(tmp_path, {})


def test_data_that_is_not_on_this_machine_is_told_at_once(photos: Path) -> None:
    with pytest.raises(PipelineError, match=r"trained_model is 'azureml:my_model@latest', .* give --input trained_model=FOLDER"):
        check(ROOT / "pipelines" / "score_only.yaml", {"images": str(photos)})


def changed(tmp_path: Path, change: dict[str, dict]) -> Path:
    """pipelines/photos.yaml with other steps."""
    content = yaml.safe_load(PHOTOS.read_text())
    for name, job in change.items():
        content["jobs"][name] |= job
    for job in content["jobs"].values():
        job["component"] = str((PHOTOS.parent / job["component"]).resolve())
    (tmp_path / "pipeline.yaml").write_text(yaml.safe_dump(content))
    return tmp_path / "pipeline.yaml"


def test_a_size_that_the_network_cannot_take_is_refused_before_a_step_runs(tmp_path: Path, photos: Path) -> None:
    densenet = {"component": "../component/densenet.yaml", "inputs": {"model_name": "densenet121", "pretrained": False}}
    path = changed(tmp_path, {"network": densenet})
    with pytest.raises(InvalidDatasetError, match="8 x 8 pixels, and densenet121 takes 29 x 29 or more"):
        check(path, {"images": str(photos), "image_size": "8"})
    assert check(path, {"images": str(photos), "image_size": "32"}) == []
    with pytest.raises(InvalidDatasetError, match="32 x 32 pixels, and densenet121 takes 61 x 61 or more"):
        check(path, {"images": str(photos), "image_size": "32", "batch_size": "1"})


def test_a_network_of_one_size_takes_no_other(tmp_path: Path, photos: Path) -> None:
    vit = {"component": "../component/image_network.yaml", "inputs": {"model_name": "vit_b_16", "pretrained": False}}
    path = changed(tmp_path, {"network": vit})
    with pytest.raises(InvalidDatasetError, match="256 x 256 pixels, and vit_b_16 takes 224 x 224 only; choose that size"):
        check(path, {"images": str(photos), "image_size": "256"})
    assert check(path, {"images": str(photos), "image_size": "224"}) == []


def test_a_size_of_which_a_network_sees_little_is_said(photos: Path) -> None:
    first, second = check(PHOTOS, {"images": str(photos), "image_size": "8"})
    assert "augmentation.random_resized_crop_size (the pipeline's input image_size) makes images of 8 x 8 pixels" in first
    assert "centre.crop_size" in second


@pytest.mark.parametrize("name", ["resnet18", "densenet121", "regnet_y_400mf", "convnext_tiny", "mobilenet_v3_small"])
@pytest.mark.parametrize("batch_size", [1, 2])
def test_the_smallest_side_is_what_the_network_says(name: str, batch_size: int) -> None:
    side = smallest_side(name, batch_size)
    assert not builders.refusal_of(Architecture(name), 3, batch_size, (side, side), training=True)
    smaller = side - 1
    assert smaller == 0 or builders.refusal_of(Architecture(name), 3, batch_size, (smaller, smaller), training=True)


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
def test_the_smallest_side_is_what_every_network_says(name: str) -> None:
    for batch_size in (1, 2, 16):
        test_the_smallest_side_is_what_the_network_says(name, batch_size)


def refused(images: Path, message: str, error: type[DesignerError] = PipelineError) -> None:
    with pytest.raises(error, match=message):
        check(PHOTOS, {"images": str(images)})


def test_a_path_that_is_not_there_is_answered_with_the_nearest(photos: Path) -> None:
    refused(photos.parent / "photo", rf"convert\.input_dataset \(the pipeline's input images\) is .*did you mean {photos}\?")
    refused(photos / "x" / "y", rf"{photos} has the folders blue, green, red")


def test_a_file_where_a_folder_is_meant_is_refused_and_an_archive_is_not(tmp_path: Path, photos: Path) -> None:
    refused(photos / "red" / "photo 0.png", rf"a file; expected a folder, such as {photos / 'red'}$")
    (tmp_path / "notes.txt").write_text("x")
    refused(tmp_path / "notes.txt", "a file; expected a folder")
    packed = Path(shutil.make_archive(str(tmp_path / "packed"), "zip", photos))
    assert check(PHOTOS, {"images": str(packed)}) == []
    assert check(PHOTOS, {"images": str(packed.rename(tmp_path / "download"))}) == []
    (tmp_path / "uploaded").mkdir()
    shutil.move(tmp_path / "download", tmp_path / "uploaded" / "photos.zip")
    assert check(PHOTOS, {"images": str(tmp_path / "uploaded")}) == []


def test_a_home_folder_is_a_tilde(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(photos.parent))
    assert check(PHOTOS, {"images": "~/photos"}) == []


def test_the_folder_of_a_run_is_answered_with_what_is_in_it(tmp_path: Path, trained_model: Path, photos: Path) -> None:
    inside = make_image_directory(tmp_path / "run" / "convert" / "outputs" / "output_image_directory")
    shutil.copytree(trained_model, tmp_path / "run" / "train" / "outputs" / "trained_model")
    refused(tmp_path / "run", f"is no ImageDirectory but holds some; give one of: {inside}")
    assert check(PHOTOS, {"images": str(tmp_path / "run" / "convert")}) == []  # Convert enters folders around one
    with pytest.raises(PipelineError, match=f"split.input_image_directory is .*give one of: {inside}"):
        check(PHOTOS, {"images": str(photos), "split.input_image_directory": str(tmp_path / "run" / "convert")})
    with pytest.raises(PipelineError, match=r"network\.trained_model is .*give one of: .*train/outputs/trained_model$"):
        check(PHOTOS, {"images": str(photos), "network.trained_model": str(tmp_path / "run")})


def test_a_folder_that_is_no_model_is_refused_before_a_step_runs(tmp_path: Path, photos: Path) -> None:
    images = make_image_directory(tmp_path / "images")
    for folder, message in (
        (photos, "has no _meta.yaml; expected a folder of type ModelDirectory"),
        (images, "it looks like images"),
    ):
        with pytest.raises(
            InvalidModelDirectoryError, match=rf"^score\.trained_model \(the pipeline's input trained_model\): .*{message}"
        ):
            check(ROOT / "pipelines" / "score_only.yaml", {"images": str(photos), "trained_model": str(folder)})


def test_an_unfinished_training_can_be_resumed_and_not_be_scored_with(tmp_path: Path, photos: Path) -> None:
    (tmp_path / UNFINISHED).touch()
    assert check(PHOTOS, {"images": str(photos), "train.untrained_model": str(tmp_path)}) == []
    with pytest.raises(InvalidModelDirectoryError):
        check(ROOT / "pipelines" / "score_only.yaml", {"images": str(photos), "trained_model": str(tmp_path)})


def test_images_that_cannot_be_trained_on_are_refused_before_a_step_runs(tmp_path: Path, photos: Path) -> None:
    for name in ("a.png", "b.png"):
        (tmp_path / "flat").mkdir(exist_ok=True)
        Image.new("RGB", (8, 8)).save(tmp_path / "flat" / name)
    refused(tmp_path / "flat", r"images\): .*flat has 2 images and no class folders", NotLabeledDatasetError)
    (tmp_path / "flat" / "labels.csv").write_text("file,label\nnowhere.png,a\n")
    refused(tmp_path / "flat", r"images\): .*flat: of the 1 images named in labels\.csv, none", InvalidDatasetError)
    shutil.copytree(photos / "red", tmp_path / "one" / "red")
    refused(tmp_path / "one", "has one class, 'red'; at least two are needed", InvalidDatasetError)
    (tmp_path / "none").mkdir()
    refused(tmp_path / "none", "has no images", InvalidDatasetError)
    for part in ("train", "val"):
        shutil.copytree(photos / "red", tmp_path / "parts" / part)
    refused(tmp_path / "parts", "can be read in two ways", InvalidDatasetError)


def test_photos_to_be_scored_need_no_labels(tmp_path: Path, trained_model: Path) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    inputs = {"images": str(tmp_path), "trained_model": str(trained_model)}
    assert check(ROOT / "pipelines" / "score_only.yaml", inputs) == []


def test_a_pipeline_that_was_copied_elsewhere_says_where_its_components_are(tmp_path: Path, photos: Path) -> None:
    shutil.copy(PHOTOS, tmp_path / "mine.yaml")
    with pytest.raises(
        PipelineError,
        match=rf"step network has the component \.\./component/image_network\.yaml, .*; {ROOT}/component/image_network\.yaml has it",
    ):
        check(tmp_path / "mine.yaml", {"images": str(photos)})


@pytest.mark.parametrize(
    "text",
    ["jobs: {a: 1}", "jobs: {a: {component: [1]}}", "inputs: [1]\njobs: {a: {component: x.yaml, inputs: 3}}", "jobs: {a: {component: azureml:x@latest}}"],
)  # fmt: skip
def test_what_cannot_be_told_here_is_left_to_the_client(tmp_path: Path, text: str) -> None:
    (tmp_path / "x.yaml").write_text("inputs: {b: 3, c: {type: integer, min: {}}}\nname: y\n")
    (tmp_path / "p.yaml").write_text(f"type: pipeline\n{text}\n")
    assert check(tmp_path / "p.yaml", {}) == []


def test_one_class_to_validate_is_enough(tmp_path: Path, photos: Path, trained_model: Path) -> None:
    shutil.copytree(photos / "red", tmp_path / "one" / "red")
    given = {"images": str(photos), "train.training_dataset": str(photos), "train.validation_dataset": str(tmp_path / "one")}
    assert check(PHOTOS, given) == []


def test_labels_that_a_component_of_ones_own_makes_are_left_to_it(tmp_path: Path) -> None:
    (tmp_path / "flat").mkdir()
    Image.new("RGB", (8, 8)).save(tmp_path / "flat" / "a.png")
    (tmp_path / "label.yaml").write_text(
        "name: label\ntype: command\ninputs: {images: {type: uri_folder}}\noutputs: {out: {type: uri_folder}}\n"
    )
    path = changed(tmp_path, {"split": {"inputs": {"input_image_directory": "${{parent.jobs.label.outputs.out}}"}}})
    content = yaml.safe_load(path.read_text())
    content["jobs"]["label"] = {
        "component": str(tmp_path / "label.yaml"),
        "inputs": {"images": "${{parent.jobs.convert.outputs.output_image_directory}}"},
    }
    content["jobs"]["score"]["inputs"]["dataset"] = content["jobs"]["evaluate"]["inputs"]["dataset"] = (
        "${{parent.jobs.split.outputs.output_image_directory2}}"
    )
    path.write_text(yaml.safe_dump(content))
    assert check(path, {"images": str(tmp_path / "flat")}) == []


def test_steps_in_a_circle_are_left_to_the_client(tmp_path: Path, photos: Path) -> None:
    circle = {"inputs": {"input_image_directory": "${{parent.jobs.split.outputs.output_image_directory1}}"}}
    other = {"inputs": {"input_image_directory": "${{parent.jobs.hold_out.outputs.output_image_directory1}}"}}
    assert check(changed(tmp_path, {"hold_out": circle, "split": other}), {"images": str(photos)}) == []
