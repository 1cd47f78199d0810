from __future__ import annotations

import numpy as np
import pytest

from designer_vision.components.odd_data import look_alike_labels, repeated_pictures, some


@pytest.mark.parametrize("other", ["Cat", "cat ", " cat", "CAT"])
def test_labels_that_differ_by_case_or_blanks_only_are_said(other: str) -> None:
    (found,) = look_alike_labels(["cat", "dog", other])
    assert repr(other) in found
    assert "'dog'" not in found


def test_labels_that_differ_by_the_composition_of_letters_only_are_said() -> None:
    assert len(look_alike_labels(["caf\u00e9", "cafe\u0301"])) == 1
    assert look_alike_labels(["cafe", "caf\u00e9", "cat 1", "cat 2"]) == []


def hashes(*numbers: int) -> np.ndarray:
    return np.array([bytes([number] * 16) for number in numbers], "S16")


def test_the_same_picture_under_two_labels_is_told_apart_from_a_copy() -> None:
    labels = np.array([0, 1, 0, 1, 0])
    assert repeated_pictures(labels, hashes(1, 2, 3, 4, 5), ["cat", "dog"]) == []
    (copies,) = repeated_pictures(labels, hashes(1, 2, 1, 4, 1), ["cat", "dog"])
    assert copies.endswith("same label, byte for byte: 2")
    copies, two = repeated_pictures(labels, hashes(1, 1, 1, 4, 5), ["cat", "dog"])
    assert copies.endswith(": 1")
    assert "under two labels, byte for byte: 1 (the first one under 'cat' and 'dog')" in two


def test_no_images_are_no_oddity() -> None:
    assert repeated_pictures(np.array([], int), hashes(), []) == []


def test_the_first_names_and_how_many_more() -> None:
    assert some(["a", "b"]) == "a, b"
    assert some([*"abcdefg"]) == "a, b, c, d, e and 2 more"
