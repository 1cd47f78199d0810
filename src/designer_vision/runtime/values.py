"""A parameter's text as its value, strictly and in one way: Azure's client checks nothing and everything travels as text."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from typing import Any

from designer_vision.runtime.errors import GreaterThanOrEqualToError, NotInRangeValueError, ParameterParsingError

INTEGER = re.compile(r"[+-]?[0-9]{1,19}", re.ASCII)
NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]{1,3})?", re.ASCII)
BOOLEAN = re.compile(r"(?i:true|false)", re.ASCII)
MAX_SIDE = 16_384
"""Pixels of an image's side, at any place on its way to a network."""


def integer(name: str, text: str) -> int:
    """A whole number.

    Raises:
        ParameterParsingError: naming the parameter and the text; so do the others.
    """
    return int(_matched(INTEGER, name, text, "a whole number"))


def number(name: str, text: str) -> float:
    """A finite number."""
    value = float(_matched(NUMBER, name, text, "a number such as 0.001 or 1e-3"))
    if not math.isfinite(value):
        raise ParameterParsingError(f"{name}: the number {text} is too large")
    return value


def boolean(name: str, text: str) -> bool:
    """True or False, in any case."""
    return _matched(BOOLEAN, name, text, "True or False").lower() == "true"


PARSERS: dict[str, Callable[[str, str], Any]] = {"integer": integer, "number": number, "boolean": boolean}
"""By the type that a component's YAML names."""


def check_range(name: str, value: float, least: float | None, most: float | None) -> None:
    """Refuse a value outside its range; None is no limit.

    Raises:
        GreaterThanOrEqualToError, NotInRangeValueError: naming the parameter, its value and its limits.
    """
    if least is not None and most is not None and not least <= value <= most:
        raise NotInRangeValueError(f"{name} is {value}, it must be between {least:,} and {most:,}")
    if least is not None and value < least:
        raise GreaterThanOrEqualToError(f"{name} is {value}, it must not be below {least:,}")
    if most is not None and value > most:
        raise NotInRangeValueError(f"{name} is {value}, it must not be above {most:,}")


def check_choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    """Refuse a text that is none of some.

    Raises:
        ParameterParsingError: naming the parameter, its value and the choices.
    """
    if value not in choices:
        raise ParameterParsingError(f"{name} is {value[:100]!r}, expected one of {', '.join(choices)}")


def check_declared(name: str, text: str, declared: Mapping[str, Any]) -> None:
    """Check a parameter's text by the type, range and choices that its component's YAML declares.

    Raises:
        DesignerError: as the component itself would.
    """
    if parse := PARSERS.get(str(declared.get("type"))):
        parsed = parse(name, text)
        if declared["type"] != "boolean":
            check_range(name, parsed, _limit(declared, "min"), _limit(declared, "max"))
    if isinstance(choices := declared.get("enum"), list):
        check_choice(name, text, tuple(map(str, choices)))


def _limit(declared: Mapping[str, Any], name: str) -> float | None:
    value = declared.get(name)
    return value if isinstance(value, (int, float)) else None


def _matched(pattern: re.Pattern[str], name: str, text: str, expected: str) -> str:
    if not pattern.fullmatch(text.strip(" ")):
        raise ParameterParsingError(f"{name} is {text[:100]!r}, expected {expected}")
    return text.strip(" ")
