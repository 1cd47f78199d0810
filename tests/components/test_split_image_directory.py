from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from conftest import COLORS, make_image_directory, make_photos
from PIL import Image

from designer_vision.components.split_image_directory import main, split
from designer_vision.formats.image_directory import read_image_directory
from designer_vision.runtime.errors import InvalidDatasetError, NotInRangeValueError


def test_every_image_is_in_one_part_and_every_class_in_both(tmp_path: Path) -> None:
    make_image_directory(tmp_path / "in", per_class=10, transformation=[["Resize", 32]])
    main(tmp_path / "in", 0.8, 42, tmp_path / "one", tmp_path / "two")
    whole, one, two = (read_image_directory(tmp_path / name, original_names=True) for name in ("in", "one", "two"))
    names = [part.original_names[n] for part in (one, two) for n in range(len(part))]
    assert sorted(names) == sorted(whole.original_names[n] for n in range(len(whole)))
    assert Counter(one.labels.tolist()) == {0: 8, 1: 8, 2: 8}
    assert Counter(two.labels.tolist()) == {0: 2, 1: 2, 2: 2}
    assert one.transformation == [["Resize", 32]]
    sources = {whole.original_names[n]: whole.path(n) for n in range(len(whole))}
    assert all(one.path(n).read_bytes() == sources[one.original_names[n]].read_bytes() for n in range(len(one)))


def test_the_seed_decides(tmp_path: Path) -> None:
    index = read_image_directory(make_image_directory(tmp_path, per_class=10))
    assert split(index, 0.5, 1)[0].tolist() == split(index, 0.5, 1)[0].tolist() != split(index, 0.5, -2)[0].tolist()


@pytest.mark.parametrize("fraction", [0.0, 1.0, -1.0, 2.0])
def test_a_fraction_outside_its_range_is_refused(tmp_path: Path, fraction: float) -> None:
    with pytest.raises(NotInRangeValueError, match=f"fraction is {fraction}"):
        main(tmp_path, fraction, 1, tmp_path / "one", tmp_path / "two")


def test_no_part_is_ever_empty(tmp_path: Path) -> None:
    index = read_image_directory(make_image_directory(tmp_path, per_class=2))
    assert [len(part) for part in split(index, 0.999, 1)] == [5, 1]
    assert [len(part) for part in split(index, 0.001, 1)] == [1, 5]


def test_one_image_of_each_class_cannot_be_split(tmp_path: Path) -> None:
    index = read_image_directory(make_image_directory(tmp_path, per_class=1))
    with pytest.raises(InvalidDatasetError, match="one image of each class; at least one class needs two"):
        split(index, 0.9, 1)


@pytest.mark.parametrize("fraction", [0.05, 0.2, 0.5, 0.8, 0.95])
@pytest.mark.parametrize("counts", [(1, 1, 20), (2, 3, 4), (1, 2, 1), (30, 1, 7)])
def test_the_larger_part_has_every_class_and_the_shares_are_as_asked(
    tmp_path: Path, fraction: float, counts: tuple[int, ...]
) -> None:
    photos = make_photos(tmp_path, per_class=max(counts), size=(4, 4))
    for label, count in zip(sorted(COLORS), counts, strict=True):
        for photo in sorted((photos / label).iterdir())[count:]:
            photo.unlink()
    index = read_image_directory(photos)
    for seed in range(5):
        parts = split(index, fraction, seed)
        assert sorted([*parts[0].tolist(), *parts[1].tolist()]) == list(range(len(index)))
        larger, smaller = sorted(parts, key=len, reverse=True) if len(parts[0]) != len(parts[1]) else parts
        assert set(index.labels[larger].tolist()) == {0, 1, 2}
        wanted = round(len(index) * min(fraction, 1 - fraction))
        assert len(smaller) == max(1, min(wanted, sum(counts) - 3))


def test_images_without_labels_are_split_by_number(tmp_path: Path) -> None:
    for number in range(10):
        Image.new("RGB", (2, 2), (number, 0, 0)).save(tmp_path / f"{number}.png")
    assert [len(part) for part in split(read_image_directory(tmp_path), 0.7, 1)] == [7, 3]


def test_a_class_that_is_too_small_for_both_parts_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    photos = make_photos(tmp_path / "in", per_class=10)
    for path in sorted((photos / "green").iterdir())[1:]:
        path.unlink()
    main(photos, 0.8, 1, tmp_path / "one", tmp_path / "two")
    assert "warning: too few images of green to have one in the second part" in capsys.readouterr().out


def test_a_class_with_a_single_image_is_in_the_first_part_and_the_others_in_both(tmp_path: Path) -> None:
    photos = make_photos(tmp_path, per_class=10)
    for path in sorted((photos / "green").iterdir())[1:]:
        path.unlink()
    index = read_image_directory(photos, original_names=True)
    for seed in range(20):
        one, two = split(index, 0.8, seed)
        assert Counter(index.labels[one].tolist()) == {0: 8, 1: 1, 2: 8}
        assert Counter(index.labels[two].tolist()) == {0: 2, 2: 2}


def test_a_single_image_cannot_be_split(tmp_path: Path) -> None:
    for path in list(make_photos(tmp_path).rglob("*.png"))[1:]:
        path.unlink()
    with pytest.raises(InvalidDatasetError, match="has 1 image"):
        split(read_image_directory(tmp_path, original_names=True), 0.5, 1)
