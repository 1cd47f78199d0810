from __future__ import annotations

import pytest

from designer_vision.pipeline.command import fill, split
from designer_vision.runtime.errors import PipelineError

COMMAND = (
    'python -m x --data "${{inputs.data}}" --flag ${{ inputs.flag }} $[[--other "${{inputs.other}}"]] --out "${{outputs.out}}"'
)


def words(inputs: dict[str, str]) -> list[str]:
    return split(fill(COMMAND, inputs, {"out": "/o"}))


def test_values_stand_where_the_places_were() -> None:
    assert words({"data": "/a b", "flag": "True", "other": "x"}) == [
        "python", "-m", "x", "--data", "/a b", "--flag", "True", "--other", "x", "--out", "/o",
    ]  # fmt: skip


def test_case_148_an_optional_part_without_value_is_left_out() -> None:
    assert "--other" not in words({"data": "d", "flag": "1"})


def test_a_place_without_value_is_refused() -> None:
    with pytest.raises(PipelineError, match=r"needs inputs\.flag"):
        words({"data": "d"})


@pytest.mark.parametrize("text", ["$(id)", "`id`", "a;b", "a && b", "${HOME}", "*", "> x", "| cat"])
def test_nothing_is_given_to_a_shell(text: str) -> None:
    assert words({"data": text, "flag": "1"})[4] == text


def test_a_value_is_not_searched_for_places_again() -> None:
    assert words({"data": "${{inputs.flag}}", "flag": "1"})[4] == "${{inputs.flag}}"


def test_an_open_quote_is_refused() -> None:
    with pytest.raises(PipelineError, match="cannot be split"):
        words({"data": '"', "flag": "1"})
