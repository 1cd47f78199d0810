from __future__ import annotations

import pytest

from designer_vision.runtime.errors import DesignerError, GreaterThanOrEqualToError, NotInRangeValueError, ParameterParsingError
from designer_vision.runtime.values import boolean, check_choice, check_range, integer, number


def test_numbers_and_truths_are_read_strictly() -> None:
    assert (integer("x", " 5 "), number("x", "1e-3"), boolean("x", "TRUE")) == (5, 0.001, True)
    for parse, text in ((integer, "5.0"), (integer, "１"), (number, "nan"), (number, "inf"), (boolean, "1"), (number, "")):
        with pytest.raises(ParameterParsingError, match=r"^x is "):
            parse("x", text)
    with pytest.raises(ParameterParsingError, match="x: the number 1e999 is too large"):
        number("x", "1e999")


@pytest.mark.parametrize(
    ("value", "limits", "error", "message"),
    [
        (0, (1, 9), NotInRangeValueError, "x is 0, it must be between 1 and 9"),
        (20000, (1, 16384), NotInRangeValueError, "x is 20000, it must be between 1 and 16,384"),
        (0, (1, None), GreaterThanOrEqualToError, "x is 0, it must not be below 1"),
        (3, (None, 2), NotInRangeValueError, "x is 3, it must not be above 2"),
    ],
)
def test_a_value_outside_its_range_is_named_with_its_limits(
    value: float, limits: tuple[float | None, float | None], error: type[DesignerError], message: str
) -> None:
    with pytest.raises(error, match=message):
        check_range("x", value, *limits)
    check_range("x", 1, 1, 1)
    check_range("x", value, None, None)


def test_a_text_that_is_no_choice_is_named_with_the_choices() -> None:
    check_choice("x", "a", ("a", "b"))
    with pytest.raises(ParameterParsingError, match="x is 'c', expected one of a, b"):
        check_choice("x", "c", ("a", "b"))
