from __future__ import annotations

import dataclasses
import io
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import make_image_directory, make_photos
from PIL import Image
from sklearn.datasets import load_sample_images

from designer_vision.data import images
from designer_vision.data.dataset import ImageDataset
from designer_vision.data.transforms import EvaluationTransform
from designer_vision.formats.image_directory import read_image_directory
from designer_vision.formats.model_directory import Model, read_model_directory, write_model_directory
from designer_vision.inference.calibration import with_temperature
from designer_vision.inference.scoring import Scorer, batch_size_for, fit_for, pixels_of, read_trained_model, score
from designer_vision.inference.serving import _load_pyfunc
from designer_vision.networks import builders
from designer_vision.networks.architectures import Architecture
from designer_vision.runtime.errors import InvalidDatasetError, InvalidModelDirectoryError, ModuleOutOfMemoryError

CPU = torch.device("cpu")


@pytest.fixture
def model(trained_model: Path) -> Model:
    return read_model_directory(trained_model)


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_every_image_gets_its_own_probabilities_whatever_the_batches(
    model: Model, precision: torch.dtype, tmp_path: Path, monkeypatch
) -> None:
    index = read_image_directory(make_image_directory(tmp_path / "images"))
    together = score(model, index, CPU, precision, workers=0).probabilities
    monkeypatch.setattr("designer_vision.inference.scoring.BATCH_SIZE", 5)
    apart = score(model, index, CPU, precision, workers=1).probabilities
    assert together.shape == (12, 3)
    assert np.allclose(together.sum(axis=1), 1)
    assert np.allclose(together, apart, atol=1e-6)


def test_a_temperature_divides_the_logits_and_changes_no_label(model: Model, tmp_path: Path) -> None:
    index = read_image_directory(make_image_directory(tmp_path / "images"))
    plain = score(dataclasses.replace(model, temperature=1.0), index, CPU, torch.bfloat16, workers=0).probabilities
    warm = score(dataclasses.replace(model, temperature=2.5), index, CPU, torch.bfloat16, workers=0).probabilities
    assert np.allclose(warm, with_temperature(np.log(plain), 2.5))
    assert not np.allclose(warm, plain)
    assert (warm.argmax(axis=1) == plain.argmax(axis=1)).all()


def test_in_bfloat16_the_probabilities_are_nearly_those_of_float32(model: Model, tmp_path: Path) -> None:
    index = read_image_directory(make_image_directory(tmp_path / "images"))
    exact = score(model, index, CPU, torch.float32, workers=0).probabilities
    rounded = score(model, index, CPU, torch.bfloat16, workers=0).probabilities
    assert 0 < np.abs(exact - rounded).max() < 0.05  # 8 bits of mantissa


def test_raw_photos_go_through_the_transformation_that_the_model_recorded(model: Model, tmp_path: Path) -> None:
    photos = read_image_directory(make_photos(tmp_path / "photos", size=(90, 60)))
    fit = fit_for(model, photos.known_sizes())
    assert fit.operations == [["Resize", 32], ["CenterCrop", 32]]
    assert score(model, photos, CPU, torch.float32, workers=0).probabilities.shape == (12, 3)


def test_a_classic_model_takes_images_of_one_size_as_they_are_and_others_by_the_default(model: Model) -> None:
    classic = dataclasses.replace(model, operations=None, size=None)
    assert (fit_for(classic, [(64, 80)]).operations, fit_for(classic, [(64, 80)]).size) == ([], (64, 80))
    assert fit_for(classic, [(64, 80), (80, 64)]).size == fit_for(classic).size == (224, 224)


def test_a_large_photo_has_the_same_pixels_in_validation_scoring_and_serving(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    path = tmp_path / "a" / "1.jpg"
    Image.fromarray(load_sample_images().images[0]).save(path)
    fit = EvaluationTransform([["Resize", 32], ["CenterCrop", 24]], (24, 24))
    image = ImageDataset(read_image_directory(tmp_path), fit, fit.size).image(0, 0)
    assert torch.equal(image, pixels_of(path.read_bytes(), "x", fit))
    whole = torch.from_numpy(images.decode(path.read_bytes(), "x")).permute(2, 0, 1)
    assert not torch.equal(image, fit(whole))  # it was decoded smaller
    assert (image.int() - fit(whole).int()).abs().max() <= 16


class Crowded(torch.nn.Module):
    """A network on a device whose memory takes some images at a time."""

    def __init__(self, network: torch.nn.Module, room: int, error: Exception) -> None:
        super().__init__()
        self.network, self.room, self.error = network, room, error
        self.sizes: list[int] = []

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        self.sizes.append(len(images))
        if len(images) > self.room:
            raise self.error
        return self.network(images)


OUT_OF_MEMORY = [
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
    RuntimeError("[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate memory"),
    RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
    MemoryError(),
]


def crowded(model: Model, room: int, error: Exception) -> tuple[Scorer, Crowded]:
    scorer = Scorer(model, CPU, torch.float32)
    scorer._network = Crowded(scorer._network, room, error).eval()
    return scorer, scorer._network


@pytest.mark.parametrize("error", OUT_OF_MEMORY, ids=["a GPU", "a CPU", "a library", "Python"])
def test_images_that_do_not_fit_into_memory_at_once_are_scored_in_smaller_batches(
    model: Model, error: Exception, capsys: pytest.CaptureFixture[str]
) -> None:
    batch = torch.randint(0, 256, (20, 3, 32, 32), dtype=torch.uint8)
    scorer, network = crowded(model, 6, error)
    assert np.allclose(scorer(batch), Scorer(model, CPU, torch.float32)(batch), atol=1e-6)
    assert network.sizes == [20, 10, 5, 5, 5, 5]
    network.sizes.clear()
    assert scorer(batch[:7]).shape == (7, 3)
    assert network.sizes == [5, 2]  # it is not tried again
    printed = capsys.readouterr()
    assert (printed.out + printed.err).count("images at once do not fit into memory; from now on") == 2


def test_a_single_image_that_does_not_fit_into_memory_is_an_error(model: Model) -> None:
    scorer, network = crowded(model, 0, OUT_OF_MEMORY[0])
    message = (
        "one image of 32 x 32 pixels does not fit into the memory of the CPU: CUDA out of memory.*choose a machine with more"
    )
    with pytest.raises(ModuleOutOfMemoryError, match=message):
        scorer(torch.zeros(4, 3, 32, 32, dtype=torch.uint8))
    assert network.sizes == [4, 2, 1]


def test_what_is_no_lack_of_memory_is_raised_as_it_is(model: Model) -> None:
    scorer, network = crowded(model, 0, RuntimeError("a defect"))
    with pytest.raises(RuntimeError, match="a defect"):
        scorer(torch.zeros(4, 3, 32, 32, dtype=torch.uint8))
    assert network.sizes == [4]


PHOTO = 3 * 224 * 224


@pytest.mark.parametrize(
    ("device", "workers", "room", "expected"),
    [
        ("cpu", 1, 10**10, 32),
        ("cuda", 16, 10**10, 128),
        ("cuda", 16, 5 * 10**8, 32),
        ("cuda", 1, 10**8, 128),
        ("cuda", 0, 0, 128),
    ],
)
def test_a_gpu_computes_many_images_at_a_time_where_its_workers_have_room_for_them(
    device: str, workers: int, room: int, expected: int
) -> None:
    assert batch_size_for(torch.device(device), workers, PHOTO, room) == expected


def test_f21_scoring_has_no_more_workers_than_shared_memory(
    model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    index = read_image_directory(make_image_directory(tmp_path / "images"))
    monkeypatch.setattr("designer_vision.data.workers.free_shared_memory", lambda: 2**20)
    assert len(score(model, index, CPU, torch.float32, workers=3).index) == 12
    printed = capsys.readouterr()
    assert "warning: 1 of 3 data workers per process fit into 0.5 MB of shared memory" in printed.out + printed.err


def test_scoring_uses_the_statistics_of_the_training(model: Model) -> None:
    scorer = Scorer(model, CPU, torch.float32)
    batch = torch.randint(0, 256, (8, 3, 32, 32), dtype=torch.uint8)
    assert np.allclose(scorer(batch)[:1], scorer(batch[:1]), atol=1e-6)


@pytest.mark.parametrize("workers", [0, 1])
def test_images_that_cannot_be_read_are_left_out_and_told(
    model: Model, tmp_path: Path, workers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    index = read_image_directory(make_image_directory(tmp_path / "images"))
    whole = score(model, index, CPU, torch.float32, workers)
    jpeg = io.BytesIO()
    Image.fromarray(np.zeros((40, 40, 3), np.uint8)).save(jpeg, "JPEG")
    contents = [b"", b"<html><body>404</body></html>", jpeg.getvalue()[:300], b""]
    for row, content in zip((0, 1, 2, 7), contents, strict=True):
        index.path(row).write_bytes(content)
    index.path(3).unlink()
    monkeypatch.setattr("designer_vision.inference.scoring.BATCH_SIZE", 4)  # of the first batch nothing is left
    counted: list[int] = []
    scores = score(model, index, CPU, torch.float32, workers, counted.append)
    assert (len(whole.unreadable), counted) == (0, [4, 4, 4])
    assert scores.index.ids.tolist() == [4, 5, 6, 8, 9, 10, 11]
    assert np.allclose(scores.probabilities, whole.probabilities[scores.index.ids], atol=1e-6)
    assert [line.partition(":")[0] for line in scores.unreadable] == [f"image/0_{row}.png" for row in range(4)] + [
        "image/1_7.png"
    ]
    assert scores.unreadable[1].endswith(
        "0_1.png is not an image in one of the formats JPEG, PNG, PPM, BMP, TIFF, WEBP, GIF, AVIF, HEIF"
    )
    assert "0_3.png is missing" in scores.unreadable[3]


def test_where_no_image_can_be_read_that_is_an_error_with_the_first(model: Model, tmp_path: Path) -> None:
    folder = make_image_directory(tmp_path / "images", per_class=1)
    for path in (folder / "image").iterdir():
        path.write_bytes(b"")
    with pytest.raises(
        InvalidDatasetError, match=r"none of the 3 images in .* can be scored; the first: image/0_0\.png: .* is not an"
    ):
        score(model, read_image_directory(folder), CPU, torch.float32, workers=0)


def test_a_classic_model_probes_only_the_sizes_of_what_can_be_read(model: Model, tmp_path: Path) -> None:
    classic = dataclasses.replace(model, operations=None, size=None)
    photos = make_photos(tmp_path / "photos", size=(64, 64))
    (photos / "blue" / "photo 0.png").write_bytes(b"")
    scores = score(classic, read_image_directory(photos), CPU, torch.float32, workers=0)
    assert (len(scores.index), len(scores.unreadable)) == (11, 1)


def claiming(folder: Path, model: Model, height: int, width: int) -> Path:
    """A model whose record says that its input has this size."""
    write_model_directory(
        folder, dataclasses.replace(model, operations=[["Resize", {"size": [height, width]}]], size=(height, width))
    )
    return folder


def test_a_record_that_claims_an_input_which_the_network_cannot_take_is_refused(model: Model, tmp_path: Path) -> None:
    network = builders.build(Architecture("densenet121"), 3, seed=0)
    dense = dataclasses.replace(model, architecture=Architecture("densenet121"), weights=network.state_dict())
    message = r"bad/_meta\.yaml says that the input has 8 x 8 pixels, which densenet121 cannot take: .*; copy the folder again"
    folder = claiming(tmp_path / "bad", dense, 8, 8)
    for read in (read_trained_model, lambda path: _load_pyfunc(str(path))):
        with pytest.raises(InvalidModelDirectoryError, match=message):
            read(folder)
    assert read_trained_model(claiming(tmp_path / "good", dense, 32, 32)).size == (32, 32)


def test_an_untrained_model_is_refused_where_it_is_served(untrained_model: Path) -> None:
    with pytest.raises(InvalidModelDirectoryError, match="is an untrained model"):
        _load_pyfunc(str(untrained_model))
