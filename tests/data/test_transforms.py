from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from designer_vision.data import transforms
from designer_vision.data.transforms import EvaluationTransform, compose, evaluation_operations, size_after
from designer_vision.runtime.errors import InvalidTransformationDirectoryError

RANDOM_FROM_CROP = [["Resize", 40], ["RandomCrop", 32], ["RandomHorizontalFlip", {}]]


def image(height: int, width: int) -> torch.Tensor:
    return torch.randint(0, 256, (3, height, width), dtype=torch.uint8)


def test_color_jitter_counts_as_random_and_grayscale_does_not() -> None:
    assert transforms.is_random(["ColorJitter", {}])
    assert not transforms.is_random(["Grayscale", 1])


def test_for_inference_drops_what_is_random() -> None:
    assert transforms.for_inference([["Resize", 9], ["ColorJitter", {}], ["RandomCrop", 4], ["CenterCrop", 4]]) == [
        ["Resize", 9],
        ["CenterCrop", 4],
    ]


def test_everything_behind_the_first_random_operation_waits_for_the_training() -> None:
    now, later = transforms.split_at_first_random([["Resize", 9], ["RandomCrop", 4], ["Pad", 1]])
    assert (now, later) == ([["Resize", 9]], [["RandomCrop", 4], ["Pad", 1]])


@pytest.mark.parametrize(
    ("operation", "expected"),
    [
        (["Resize", 30], (30, 60)),
        (["Resize", {"size": [30, 20]}], (30, 20)),
        (["CenterCrop", 24], (24, 24)),
        (["Pad", 3], (46, 86)),
        (["RandomResizedCrop", 16], (16, 16)),
        (["RandomCrop", [[8, 9]]], (8, 9)),
        (["RandomRotation", 30], (40, 80)),
        (["Grayscale", 3], (40, 80)),
    ],
)
def test_size_after_is_what_the_operation_really_gives(operation: list, expected: tuple[int, int]) -> None:
    assert size_after([operation], (40, 80)) == expected == tuple(compose([operation])(image(40, 80)).shape[-2:])


def test_size_after_leaves_the_global_random_state_alone() -> None:
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    size_after(RANDOM_FROM_CROP, (50, 60))
    assert torch.rand(1) == expected


def test_grayscale_keeps_three_equal_channels() -> None:
    gray = compose([["Grayscale", 1]])(image(4, 4))
    assert gray.shape == (3, 4, 4)
    assert (gray[0] == gray[2]).all()


@pytest.mark.parametrize(
    "operation",
    [
        ["Lambda", 1],
        ["torch.load", "x"],
        ["__class__", {}],
        ["Normalize", {}],
        ["FiveCrop", 2],
        ["Resize", {"sise": 3}],
        ["Resize", 50_000],
        ["CenterCrop", "abc"],
        [7, 1],
    ],
    ids=str,
)
def test_an_operation_that_is_unknown_or_makes_no_image_is_refused(operation: list) -> None:
    with pytest.raises(InvalidTransformationDirectoryError, match="^folder: "):
        transforms.check([operation], "folder")


def test_conversions_between_image_kinds_have_no_effect() -> None:
    assert transforms.check([["ToTensor", {}], ["Resize", 8], ["ToPILImage", {}]], "folder") == [["Resize", 8]]


@pytest.mark.parametrize(
    ("deterministic", "before", "after", "expected"),
    [
        ([], (64, 64), (64, 64), [["Resize", 64], ["CenterCrop", 64]]),
        ([], (48, 64), (48, 64), [["Resize", {"size": [48, 64]}]]),
        ([["Resize", 256], ["CenterCrop", 224]], (224, 224), (224, 224), [["Resize", 256], ["CenterCrop", 224]]),
        ([["Resize", 40]], None, (32, 32), [["Resize", 40], ["CenterCrop", {"size": [32, 32]}]]),
        ([], None, (224, 224), [["Resize", 256], ["CenterCrop", 224]]),
        ([["Grayscale", 3]], (8, 8), (8, 8), [["Grayscale", 3], ["Resize", 8], ["CenterCrop", 8]]),
    ],
    ids=["one size, nothing known", "not square", "applied", "random crop behind a resize", "random resized crop", "no resize"],
)
def test_evaluation_takes_any_photo_to_the_training_size(deterministic, before, after, expected) -> None:
    operations = evaluation_operations(deterministic, before, after)
    assert operations == expected
    for shape in [(100, 300), (300, 100), (20, 31)]:
        assert EvaluationTransform(operations, after)(image(*shape)).shape[-2:] == after


def test_an_image_of_the_networks_size_is_taken_as_it_is() -> None:
    ready = image(8, 8)
    assert EvaluationTransform([["Resize", 16], ["CenterCrop", 8]], (8, 8))(ready) is ready


def test_normalize_gives_what_the_formula_says_in_the_same_memory_format() -> None:
    batch = torch.stack([image(4, 5), image(4, 5)]).to(memory_format=torch.channels_last)
    normalized = transforms.Normalize((0.5, 0.4, 0.3), (0.2, 0.3, 0.4))(batch)
    expected = (batch / 255 - torch.tensor([0.5, 0.4, 0.3]).view(3, 1, 1)) / torch.tensor([0.2, 0.3, 0.4]).view(3, 1, 1)
    assert torch.allclose(normalized, expected, atol=1e-5)
    assert normalized.is_contiguous(memory_format=torch.channels_last)


@given(
    st.integers(60, 9000),
    st.integers(60, 9000),
    st.sampled_from([7, [7], [[7]], [300], {"size": 256}, {"size": [9, 500]}, [[40, 30]]]),
)
def test_what_a_resize_in_front_makes_of_a_size_is_known_before_the_image_is_decoded(height: int, width: int, argument) -> None:
    operations = [["Resize", argument], ["Grayscale", 3]]
    expected = None if max(height, width) > 16 * min(height, width) else size_after(operations, (height, width))
    assert compose(operations).resized((height, width)) == expected


@pytest.mark.parametrize(
    "operations",
    [
        [],
        [["CenterCrop", 24], ["Resize", 8]],
        [["RandomHorizontalFlip", {}]],
        [["Resize", {"size": 8, "max_size": 10}]],
        [["Resize", {"size": 8, "antialias": False}]],
        [["Resize", [8, 0]]],
    ],
    ids=["none", "a crop in front", "random", "a bound", "pixels are skipped", "the nearest pixel"],
)
def test_where_no_plain_resize_comes_first_an_image_is_wanted_whole(operations: list) -> None:
    assert compose(operations).resized((400, 400)) is None


@given(st.integers(1, 8), st.integers(64, 500), st.integers(64, 500))
def test_an_image_decoded_smaller_comes_out_as_large_as_it_would_have(scale: int, height: int, width: int) -> None:
    operations = [["Resize", 16], ["Pad", 1]]
    smaller = image(-(-height // scale), -(-width // scale))
    assert compose(operations)(smaller, (height, width)).shape[-2:] == size_after(operations, (height, width))


def test_whether_an_image_fits_already_is_decided_by_its_own_size() -> None:
    fit = EvaluationTransform([["Resize", 100], ["Pad", 50]], (200, 200))
    assert (fit.resized((200, 200)), fit.resized((400, 400))) == (None, (100, 100))
    assert (fit(image(200, 200), (400, 400))[:, :50] == 0).all()  # padded: it only looks as if it fitted
