from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from conftest import make_image_directory, make_photos

from designer_vision.components.split_image_directory import main, split
from designer_vision.directories.image_directory import read_image_directory
from designer_vision.errors import InvalidDatasetError, NotInRangeValueError


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
    index = read_image_directory(make_image_directory(tmp_path, per_class=1))
    assert [len(part) for part in split(index, 0.999, 1)] == [2, 1]
    assert [len(part) for part in split(index, 0.001, 1)] == [1, 2]


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
