"""Every bad input that was thought of has a test named after it: `case_N`, in the name of a test or of one of its parameters."""

from __future__ import annotations

import re
from pathlib import Path

JOINED = {7, 9, 16, 26, 32, 41, 52, 54, 60, 73, 80, 86, 95, 98, 109, 117, 121, 125, 130, 154}
"""Numbers that were given up: what they asked for is part of another."""
KINDS = {
    "weights": range(1, 29),
    "model_spec.yaml": range(29, 45),
    "_meta.yaml and _schema.json": range(45, 49),
    "images.lst": range(49, 91),
    "image files": range(91, 114),
    "archives": range(114, 128),
    "transformations": range(128, 136),
    "parameters and paths": range(136, 157),
}


def named() -> set[int]:
    sources = (path.read_text() for path in Path(__file__).parent.rglob("*.py"))
    found: set[int] = set()
    for source in sources:
        for first, last in re.findall(r"def test_case_(\d+)_to_(\d+)_", source):
            found |= {int(first), int(last)}
        for numbers in re.findall(r"\bcase((?:_\d+)+)", source.replace("test_case", "case")):
            found |= {int(number) for number in numbers.strip("_").split("_")}
    return found


def test_every_case_has_a_test() -> None:
    cases = {number for numbers in KINDS.values() for number in numbers} - JOINED
    assert cases - named() == set()


def test_no_test_is_named_after_a_case_that_does_not_exist() -> None:
    assert named() - {number for numbers in KINDS.values() for number in numbers} == set()
