"""`designer-vision show`, as a person and as a program see it."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from conftest import ROOT, make_image_directory, make_photos

from designer_vision.components.convert_to_image_directory import main as convert
from designer_vision.formats.data_frame_directory import ScoredSet, write_data_frame_directory
from designer_vision.formats.image_directory import ImageDirectoryWriter
from designer_vision.formats.image_index import ImageInfo, Row
from designer_vision.formats.model_directory import Model, write_model_directory
from designer_vision.formats.transformation_directory import write_transformation_directory
from designer_vision.networks import builders
from designer_vision.networks.architectures import Architecture
from designer_vision.pipeline.command_line import main
from designer_vision.training.checkpoint import Checkpoints, Manifest, Position

COMMAND = Path(sys.executable).parent / "designer-vision"
HOSTILE = "\x1b[2J\x1b]0;title\x07\nError: forged\u202e\u2028\x9b"
WITHOUT_TORCH = """
import sys
from designer_vision.pipeline.command_line import main
main(["show", sys.argv[1]], standalone_mode=False)
assert not {"torch", "torchvision", "mlflow"} & set(sys.modules), "it starts slowly"
"""


def show(*words: object) -> Result:
    return CliRunner().invoke(main, ["show", *map(str, words)])


def lines(*words: object) -> dict[str, str]:
    """What the command says, by heading; in columns, one line a heading."""
    result = show(*words)
    assert result.exit_code == 0, result.stderr
    return parted(result.stdout)


def parted(text: str) -> dict[str, str]:
    matches = [match for line in text.splitlines() if (match := re.fullmatch(r"(\w+(?: \w+)*) {2,}(.+)", line))]
    assert len(matches) == len(text.splitlines())
    assert len({match.start(2) for match in matches}) == 1
    return {match[1]: match[2] for match in matches}


def write_scores(folder: Path, labels: tuple[str, ...] = ("cat", "dog")) -> Path:
    scored = ScoredSet(labels, np.eye(3, len(labels)), np.arange(3), [labels[0], labels[1], labels[0]])
    write_data_frame_directory(folder, scored)
    return folder


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trained model with all that a training records."""
    folder = tmp_path_factory.mktemp("model") / "trained"
    training = {"epochs": 5, "learning_rate": 0.001, "processes": 2, "epoch": 4, "Valid loss": 0.123456}
    operations = [["Resize", 28], ["CenterCrop", {"size": [28, 32]}]]
    weights = builders.build(Architecture("resnet18"), 12, seed=1).state_dict()
    labels = tuple(f"kind {number}" for number in range(12))
    model = Model(
        Architecture("resnet18"),
        weights,
        labels=labels,
        operations=operations,
        size=(28, 32),
        training=training,
        temperature=1.25,
    )
    write_model_directory(folder, model)
    return folder


def test_the_command_tells_a_person_and_a_program_the_same(tmp_path: Path) -> None:
    folder = write_scores(tmp_path / "scores")
    words = [str(COMMAND), "show", str(folder)]
    told = subprocess.run(words, capture_output=True, text=True, timeout=60)
    assert (told.returncode, told.stderr) == (0, "")
    assert told.stdout.splitlines() == [
        "DataFrameDirectory  finished, written by designer_vision, record version 1",
        "images              3, labelled",
        "predicted           2: cat (2), dog (1)",
        "accuracy            100.0 % of 3 images",
        "hashes              of _data.parquet, _samples.json, schema/_schema.json: all right",
    ]
    read = json.loads(subprocess.run([*words, "--json"], capture_output=True, text=True, timeout=60).stdout)
    assert (read["type"], read["finished"], read["content"]["predicted"]) == ("DataFrameDirectory", True, {"cat": 2, "dog": 1})


def test_a_scored_set_is_shown_without_loading_torch(tmp_path: Path) -> None:
    words = [sys.executable, "-c", WITHOUT_TORCH, str(write_scores(tmp_path / "scores"))]
    result = subprocess.run(words, capture_output=True, text=True, timeout=60)
    assert result.returncode == 0, result.stderr


def test_images_are_shown_in_a_few_lines(tmp_path: Path) -> None:
    recorded = {"transformation": [["Resize", 8]], "random_operations": [["RandomCrop", {"size": 4}]]}
    told = lines(make_image_directory(tmp_path / "images", per_class=2, size=(8, 9), **recorded))
    assert re.fullmatch("[0-9a-f]{32}", told.pop("fingerprint"))
    assert told == {
        "ImageDirectory": "finished, written by designer_vision, record version 1",
        "images": "6, labelled",
        "classes": "3: blue (2), green (2), red (2)",
        "sizes": "8 x 9 pixels",
        "transformation": "Resize 8",
        "in training": "RandomCrop {'size': 4}, redrawn every epoch",
        "content hashes": "recorded for all images, no two the same",
        "hashes": "of _samples.json, _schema.json, images.lst: all right",
    }


def test_images_of_different_sizes_and_copies_are_shown(tmp_path: Path) -> None:
    with ImageDirectoryWriter(tmp_path / "images", ["a"]) as writer:
        for height, width in ((3, 4), (5, 6), (5, 6), (None, None)):
            writer.add(
                b"",
                ".png",
                Row(ImageInfo(height=height, width=width, content_hash=height and "ab" * 16), "a" if height else None),
            )
    told = lines(tmp_path / "images")
    assert told["images"] == "4, labelled, 1 without a label"
    assert told["sizes"] == "3 x 4 to 5 x 6 pixels, 2 different ones, most often 5 x 6 (2 of them); not recorded for 1 of 4"
    assert told["content hashes"] == "recorded for 3 images, copies of an earlier one: 2"
    assert told["transformation"] == "none"


def test_a_folder_that_a_classic_module_wrote_is_shown_as_such(tmp_path: Path) -> None:
    (tmp_path / "_meta.yaml").write_text("{type: TransformationDirectory, extension: {}, transform_type: Image}")
    (tmp_path / "_transforms.json").write_text('[["Resize", 64]]')
    assert lines(tmp_path) == {
        "TransformationDirectory": "finished, written by a classic module", "operations": "Resize 64", "random": "none", "hashes": "not recorded",
    }  # fmt: skip


def test_photos_alone_are_shown(tmp_path: Path) -> None:
    told = lines(make_photos(tmp_path / "photos"))
    assert told["plain folder"] == "images, not converted"
    assert (told["images"], told["sizes"], told["content hashes"]) == ("12, labelled", "not recorded", "not recorded")


def test_the_file_that_gives_the_labels_is_shown(tmp_path: Path) -> None:
    photos = make_photos(tmp_path) / "red"
    (photos / "labels.csv").write_text("file_name,label\nphoto 0.png,a\nphoto 1.png,b\nphoto 2.png,\n")
    told = lines(photos)
    assert told["images"] == "3, labelled by labels.csv, 1 without a label"
    assert told["left out"] == "1 images that labels.csv does not name"


def test_what_is_not_used_and_how_the_folders_were_read_is_shown(tmp_path: Path) -> None:
    photos = make_photos(tmp_path / "in" / "photos")
    (photos / "red" / "a.svg").write_text("x")
    told = lines(tmp_path / "in")
    assert told["left out"] == "1 .svg"
    assert told["note"] == "the classes are looked for in photos/, which holds all the images"
    convert(tmp_path / "in", tmp_path / "out")
    assert lines(tmp_path / "out")["left out"] == "1 .svg"


def test_a_trained_model_is_shown_and_the_readme_shows_the_same_lines(trained: Path) -> None:
    told = lines(trained)
    assert told["network"] == "resnet18, trained, 11,182,668 parameters"
    assert told["classes"] == f"12: {', '.join(f'kind {number}' for number in range(10))} and 2 more"
    assert told["input"] == "28 x 32 pixels, mean 0.5 0.5 0.5, std 0.5 0.5 0.5"
    assert told["transformation"] == "Resize 28, CenterCrop {'size': [28, 32]}"
    assert told["trained with"] == "epochs 5, learning_rate 0.001, processes 2"
    assert told["kept epoch"] == "epoch 4, Valid loss 0.1235"
    assert told["temperature"] == "1.25, by which logits are divided"
    assert re.fullmatch("BLAKE2b [0-9a-f]{32}", told["weights"])
    page = (ROOT / "docs" / "folders_on_disk.md").read_text()
    (sample,) = re.findall(r"^```text\n\$ [^\n]*designer-vision show [^\n]*\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
    assert list(parted(sample)) == list(told)


def test_a_transformation_is_shown(tmp_path: Path) -> None:
    write_transformation_directory(tmp_path / "t", [["Resize", 64], ["RandomVerticalFlip", {}]])
    told = lines(tmp_path / "t")
    assert (told["operations"], told["random"]) == ("Resize 64, RandomVerticalFlip", "RandomVerticalFlip")


@pytest.mark.parametrize(
    ("position", "expected"),
    [
        (None, "none yet"),
        (Position(2, 384), "after 384 images of epoch 3 of 5; the same job, started again, continues from there"),
        (
            Position(2, 384, 7),
            "after 384 images of epoch 3 of 5 and 7 batches of its validation; the same job, started again, continues from there",
        ),
        (Position(5), "after all 5 epochs, the model is not written yet; the same job, started again, continues from there"),
    ],
)
def test_an_unfinished_training_is_shown_with_how_far_it_is(tmp_path: Path, position: Position | None, expected: str) -> None:
    (tmp_path / "checkpoint").mkdir()
    (tmp_path / "_unfinished").touch()
    if position is not None:
        configuration = {"network": "resnet18", "classes": ["a", "b"], "epochs": 5}
        Checkpoints(tmp_path / "checkpoint").save({"w": torch.zeros(1)}, Manifest(position, "", "", configuration, {}, {}))
    told = lines(tmp_path)
    assert told["ModelDirectory"] == "not finished: it is being written, or the job that wrote it was stopped"
    assert told["checkpoint"] == expected


def test_any_other_unfinished_folder_is_shown_as_such(tmp_path: Path) -> None:
    (tmp_path / "_unfinished").touch()
    assert list(lines(tmp_path)) == ["unfinished"]


def test_names_forge_no_lines_and_long_ones_are_cut(tmp_path: Path) -> None:
    labels = (HOSTILE, "x" * 900, *(f"label {number}" for number in range(20)))
    folder = write_scores(tmp_path / "scores", labels)
    result = show(folder)
    assert len(result.stdout.splitlines()) == 5
    assert all(line.isprintable() and len(line) < 400 for line in result.stdout.splitlines())
    assert "and 12 more" in result.stdout
    as_json = show(folder, "--json").stdout
    assert as_json.removesuffix("\n").isprintable()
    assert list(json.loads(as_json)["content"]["predicted"]) == list(labels)


def test_a_training_record_that_a_stranger_wrote_is_cut(trained: Path, tmp_path: Path) -> None:
    shutil.copytree(trained, tmp_path / "model")
    meta = tmp_path / "model" / "_meta.yaml"
    meta.write_text(meta.read_text().replace("epoch: 4", f'"\\e[2J": [{"1, " * 5000}2]'))
    told = lines(tmp_path / "model")
    assert told["kept epoch"].startswith("\\x1b[2J [1, 1, ")
    assert len(told["kept epoch"]) < 120


@pytest.mark.parametrize("words", [[], ["--json"]])
def test_what_cannot_be_described_is_one_line_and_a_code(tmp_path: Path, words: list[str]) -> None:
    damaged = write_scores(tmp_path / "damaged")
    (damaged / "_data.parquet").write_bytes(b"PAR1")
    for folder, message in (
        (damaged, "_data.parquet is not what was written: its hash differs from _meta.yaml; copy the folder again"),
        (tmp_path / f"nowhere{HOSTILE}", "does not exist"),
        (damaged / "_data.parquet", "_data.parquet is not a folder"),
        (tmp_path / ("x" * 300), "File name too long"),
    ):
        result = show(folder, *words)
        assert (result.exit_code, result.stdout) == (1, "")
        (line,) = result.stderr.splitlines()
        assert line.isprintable()
        assert re.match(r"Error( \d+)?: \w+Error: ", line)
        assert message in line


def test_the_folder_of_a_run_or_a_step_names_the_folders_to_show(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    step = tmp_path / "run" / "score"
    scored = write_scores(step / "outputs" / "scored_dataset")
    photos = make_photos(step / "outputs" / "pictures")
    (tmp_path / "run" / "pipeline.json").write_text("{}")
    (step / "step.json").write_text("{}")
    for folder, kind in ((tmp_path / "run", "a whole run"), (step, "a step"), (step / "outputs", "a step's outputs")):
        result = show(folder)
        assert (result.exit_code, result.stdout) == (1, "")
        assert result.stderr.splitlines() == [
            f"Error: PipelineError: {folder} is the folder of {kind}; show one of these:", f"  {scored}",
        ]  # fmt: skip
    monkeypatch.chdir(step / "outputs")
    assert "is the folder of a step's outputs" in show(".").stderr
    assert show(photos).exit_code == 0
    (scored / "_meta.yaml").unlink()
    assert "no component has written to it yet" in show(step).stderr


def test_an_evaluation_is_not_taken_for_a_folder_of_pictures(tmp_path: Path) -> None:
    (tmp_path / "metrics.json").write_text("{}")
    (tmp_path / "confusion_matrix.png").touch()
    result = show(tmp_path)
    assert result.exit_code == 1
    assert f"its figures are in {tmp_path / 'metrics.json'}" in result.stderr
