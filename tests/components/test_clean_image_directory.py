from __future__ import annotations

import csv
import shutil
from pathlib import Path

import numpy as np
import pytest
from cleaning.test_duplicates import as_jpeg, scene
from conftest import make_image_directory, make_photos, run_entry
from PIL import Image, ImageFilter

from designer_vision.components import balance_classes, convert_to_image_directory
from designer_vision.components.clean_image_directory import main
from designer_vision.formats.data_frame_directory import ScoredSet, write_data_frame_directory
from designer_vision.formats.image_directory import read_image_directory
from designer_vision.runtime.errors import DesignerError, InvalidDatasetError, NotLabeledDatasetError

HOSTILE = "<script>alert(1)<!--.png"


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten scenes of two classes with what can be wrong with some, each at a place that a test knows."""
    folder = tmp_path_factory.mktemp("photos")
    for number in range(10):
        path = folder / ("cat", "dog")[number % 2] / f"{number}.png"
        path.parent.mkdir(exist_ok=True)
        scene(number).save(path)
    as_jpeg(scene(0).resize((160, 120)), 70).save(folder / "cat/half of 0.jpg", quality=80)
    shutil.copy(folder / "dog/1.png", folder / "dog/copy of 1.png")
    shutil.copy(folder / "cat/2.png", folder / "dog" / HOSTILE)
    as_jpeg(scene(4), 70).save(folder / "dog/nearly 4.jpg", quality=80)
    scene(20).filter(ImageFilter.GaussianBlur(6)).save(folder / "cat/blurred.png")
    Image.new("RGB", (300, 200), "white").save(folder / "cat/white.png")
    scene(21, (20, 24)).save(folder / "dog/tiny.png")
    (folder / "cat/broken.png").write_bytes((folder / "cat/0.png").read_bytes()[:900])
    return folder


@pytest.fixture(scope="module")
def test_set(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Unlabelled photos, of which one is among the others."""
    folder = tmp_path_factory.mktemp("test_set")
    as_jpeg(scene(5), 60).save(folder / "known.jpg")
    scene(30).save(folder / "unknown.png")
    return folder


def findings(folder: Path) -> dict[str, dict[str, str]]:
    """By kind: the images, and what became of each."""
    found: dict[str, dict[str, str]] = {}
    with (folder / "findings.csv").open() as file:
        for row in csv.DictReader(file):
            found.setdefault(row["kind"], {})[row["image"]] = row["left_out"]
    return found


def names(folder: Path) -> set[str]:
    index = read_image_directory(folder, original_names=True)
    return {index.name(row) for row in range(len(index))}


LEFT_OUT = {
    "in both folders": {"known.jpg": "no", "dog/5.png": "yes"},
    "duplicates with different labels": {
        "cat/2.png": "yes",
        f"dog/{HOSTILE}": "yes",
        "cat/4.png": "no",
        "dog/nearly 4.jpg": "no",
    },
    "exact duplicates": {"dog/1.png": "no", "dog/copy of 1.png": "yes"},
    "near duplicates": {"cat/0.png": "no", "cat/half of 0.jpg": "yes"},
    "unreadable": {"cat/broken.png": "yes"},
    "blank": {"cat/white.png": "yes"},
    "blurred": {"cat/blurred.png": "no"},
    "tiny": {"dog/tiny.png": "no"},
}


def test_what_is_wrong_is_found_and_what_is_safe_is_left_out(photos: Path, test_set: Path, tmp_path: Path) -> None:
    result = run_entry(
        "clean_image_directory",
        input_image_directory=photos,
        image_directory_to_compare=test_set,
        action="leave_out",
        output_image_directory=tmp_path / "out",
        cleaning_report=tmp_path / "report",
    )
    assert result.returncode == 0, result.stderr
    assert findings(tmp_path / "report") == LEFT_OUT
    gone = {name for kinds in LEFT_OUT.values() for name, fate in kinds.items() if fate == "yes"}
    assert names(tmp_path / "out") == names(photos) - gone
    assert "duplicates with different labels: 4 images, 2 left out\nexact duplicates: 2 images, 1 left out" in result.stdout
    assert "11 of 18 images passed on; 20 images looked at" in result.stdout
    record = read_image_directory(tmp_path / "out").left_out
    assert record["duplicates with different labels"] == {"cat": 1, "dog": 1}
    assert record["exact duplicates"] == {"dog": 1}
    page = (tmp_path / "report/report.html").read_text()
    assert "&lt;script&gt;alert(1)&lt;!--.png" in page
    assert "<script" not in page


def test_report_only_passes_on_all_and_says_what_it_would_leave_out(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(photos, None, None, "report_only", tmp_path / "out", tmp_path / "report")
    before, after = read_image_directory(photos, True), read_image_directory(tmp_path / "out", True)
    assert [after.read(row) for row in range(len(after))] == [before.read(row) for row in range(len(before))]
    assert [after.name(row) for row in range(len(after))] == [before.name(row) for row in range(len(before))]
    assert (after.classes, after.labels.tolist(), after.left_out) == (before.classes, before.labels.tolist(), {})
    expected = {kind: dict.fromkeys(found, "no") for kind, found in LEFT_OUT.items() if kind != "in both folders"}
    assert findings(tmp_path / "report") == expected
    assert "left out" not in capsys.readouterr().out
    assert "could be left out" in (tmp_path / "report/report.html").read_text()


def test_order_weighting_and_all_that_is_recorded_stays(tmp_path: Path) -> None:
    operations = {"transformation": [["Resize", 32]], "random_operations": [["RandomHorizontalFlip", {}]]}
    images = make_image_directory(tmp_path / "images", left_out={".txt": {".": 2}}, **operations)
    balance_classes.main(images, "square_root", tmp_path / "balanced")
    main(tmp_path / "balanced", images, None, "report_only", tmp_path / "out", tmp_path / "report")
    before, after = read_image_directory(tmp_path / "balanced", True), read_image_directory(tmp_path / "out", True)
    assert (after.weighting, after.transformation, after.random_operations) == (
        "square_root", [["Resize", 32]], [["RandomHorizontalFlip", {}]],
    )  # fmt: skip
    assert after.fingerprint == before.fingerprint
    assert len(findings(tmp_path / "report")["in both folders"]) == 12  # each under the name that it has in both


def test_a_class_of_which_no_image_stays_is_said_and_its_name_stays(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    photos = make_photos(tmp_path / "photos")
    shutil.rmtree(photos / "red")
    (photos / "red").mkdir()
    Image.new("RGB", (32, 32)).save(photos / "red" / "1.png")
    main(photos, None, None, "leave_out", tmp_path / "out", tmp_path / "report")
    assert "No image stays of 'red'." in capsys.readouterr().out
    after = read_image_directory(tmp_path / "out")
    assert (after.classes, after.unused_classes) == (("blue", "green"), ("red",))


def test_where_nothing_is_found_the_page_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(make_image_directory(tmp_path / "images"), None, None, "leave_out", tmp_path / "out", tmp_path / "report")
    assert "nothing was found" in capsys.readouterr().out
    assert "Nothing found" in (tmp_path / "report/report.html").read_text()
    assert findings(tmp_path / "report") == {}


def scored(folder: Path, images: Path, **changed: object) -> Path:
    """What a sure network says of the images: the true label but for the first two, which it takes for another class."""
    index = read_image_directory(images, original_names=True)
    labels = [index.classes[label] for label in index.labels]
    said = np.eye(3)[index.labels] * 0.94 + 0.02
    said[:2] = np.roll(said[:2], 1, axis=1)
    columns = {"categories": labels, "names": [index.name(row) for row in range(len(index))]} | changed
    write_data_frame_directory(folder, ScoredSet(index.classes, said, index.ids, **columns))
    return folder


@pytest.mark.parametrize(
    ("action", "left"),
    [("report_only", set()), ("leave_out", set()), ("leave_out_with_wrong_labels", {"blue/0.png", "blue/1.png"})],
)
def test_wrong_labels_are_found_and_left_out_only_where_asked(tmp_path: Path, action: str, left: set[str]) -> None:
    images = make_image_directory(tmp_path / "images", per_class=10)
    main(images, None, scored(tmp_path / "scored", images), action, tmp_path / "out", tmp_path / "report")
    with (tmp_path / "report/findings.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["kind"], row["image"], row["suggested_label"], row["detail"]) for row in rows] == [
        ("likely wrong labels", f"blue/{number}.png", "green", "green 96 %, blue 2 %") for number in range(2)
    ]
    assert names(images) - names(tmp_path / "out") == left


def other_rows(folder: Path, images: Path) -> Path:
    return scored(folder, make_image_directory(folder.parent / "more", per_class=11))


def other_names(folder: Path, images: Path) -> Path:
    return scored(folder, make_image_directory(folder.parent / "others", per_class=10, first=100))


WRONG = {
    "other rows": (other_rows, "does not hold the images that were scored"),
    "other names": (other_names, r"the id 0 is '100.png' in the scored set and '0.png' there"),
    "no labels": (
        lambda folder, images: scored(folder, images, categories=None),
        "has no true labels; score the labelled images",
    ),
    "images": (lambda folder, images: images, "has type 'ImageDirectory', expected DataFrameDirectory; it looks like images"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_scored_set_that_is_not_of_these_images_is_refused_and_nothing_is_written(case: str, tmp_path: Path) -> None:
    make, told = WRONG[case]
    images = make_image_directory(tmp_path / "images", per_class=10)
    with pytest.raises(DesignerError, match=told) as refused:
        main(images, None, make(tmp_path / "scored", images), "report_only", tmp_path / "out", tmp_path / "report")
    assert isinstance(refused.value, (InvalidDatasetError, NotLabeledDatasetError))
    assert not (tmp_path / "out").exists()
    assert not (tmp_path / "report").exists()


def test_of_images_without_labels_duplicates_are_found_and_wrong_labels_are_not_looked_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    labelled = make_image_directory(tmp_path / "images", per_class=10)
    plain = tmp_path / "plain"
    plain.mkdir()
    for number in (1, 2):
        scene(1).save(plain / f"{number}.png")
    main(plain, None, scored(tmp_path / "scored", labelled), "leave_out", tmp_path / "out", tmp_path / "report")
    assert findings(tmp_path / "report") == {"exact duplicates": {"1.png": "no", "2.png": "yes"}}
    assert "Wrong labels were not looked for: the images have no labels." in capsys.readouterr().out


@pytest.mark.parametrize("port", ["input_image_directory", "image_directory_to_compare", "scored_dataset"])
def test_a_wrong_kind_of_folder_is_refused_with_its_port(port: str, trained_model: Path, tmp_path: Path) -> None:
    flags = {"input_image_directory": make_image_directory(tmp_path / "images")} | {port: trained_model}
    result = run_entry(
        "clean_image_directory",
        **flags,
        action="report_only",
        output_image_directory=tmp_path / "out",
        cleaning_report=tmp_path / "report",
    )
    assert result.returncode == 1
    assert f"InvalidDatasetError: {port}: " in result.stderr
    assert "ModelDirectory" in result.stderr


def test_a_folder_compared_with_itself_a_missing_file_and_nothing_left_are_refused(photos: Path, tmp_path: Path) -> None:
    with pytest.raises(InvalidDatasetError, match="is compared with itself"):
        main(photos, photos, None, "report_only", tmp_path / "out", tmp_path / "report")
    images = make_image_directory(tmp_path / "images")
    (images / "image/0_0.png").unlink()
    with pytest.raises(InvalidDatasetError, match=r"0_0\.png is missing"):
        main(images, None, None, "report_only", tmp_path / "out", tmp_path / "report")
    convert_to_image_directory.main(photos, tmp_path / "converted")
    with pytest.raises(InvalidDatasetError, match="would have no image left: 16 in both folders, 1 blank"):
        main(tmp_path / "converted", photos, None, "leave_out", tmp_path / "out", tmp_path / "other_report")
    assert not (tmp_path / "out").exists()
