from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from designer_vision.runtime.description import from_json, from_yaml, to_json, to_yaml
from designer_vision.runtime.errors import InvalidDatasetError

SOURCE = Path("file")


class Thing(msgspec.Struct):
    name: str
    count: int = 0
    share: float = 0.0


def yaml_of(text: str | bytes, kind: Any = Any) -> Any:
    return from_yaml(text if isinstance(text, bytes) else text.encode(), kind, SOURCE, InvalidDatasetError)


def json_of(text: str | bytes, kind: Any = Any) -> Any:
    return from_json(text if isinstance(text, bytes) else text.encode(), kind, SOURCE, InvalidDatasetError)


plain = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**18), 10**18) | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(min_size=1), inner, max_size=4),
    max_leaves=10,
)


@given(plain)
def test_what_is_written_is_read_back(value: Any) -> None:
    assert json_of(to_json(value)) == value


@given(st.dictionaries(st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1), plain, max_size=4))
def test_what_is_written_as_yaml_is_read_back_whatever_its_texts_look_like(value: Any) -> None:
    def close(one: Any, other: Any) -> bool:
        if isinstance(one, dict):
            return set(one) == set(other) and all(close(one[key], other[key]) for key in one)
        if isinstance(one, list):
            return len(one) == len(other) and all(map(close, one, other))
        return math.isclose(one, other) if isinstance(one, float) else one == other

    text = to_yaml(value)
    if "\\0" not in text and "\0" not in text:
        assert close(yaml_of(text), value)


@pytest.mark.parametrize(
    "text", ["no", "on", "y", "Yes", "010", "12:30:45", "1_000", ".nan", "0x10", "2026-11-23", "9" * 30, "1e3x"]
)
def test_case_42_text_stays_text_unless_it_is_plainly_something_else(text: str) -> None:
    assert yaml_of(f"a: {text}") == {"a": text}


@pytest.mark.parametrize(
    ("text", "value"), [("1e-3", 0.001), ("1e3", 1000.0), ("0.5", 0.5), ("-7", -7), ("true", True), ("null", None), ("~", None)]
)
def test_case_42_numbers_and_truth_values_are_read(text: str, value: object) -> None:
    assert yaml_of(f"a: {text}") == {"a": value}


def test_case_42_a_truth_value_is_no_number() -> None:
    with pytest.raises(InvalidDatasetError, match=r"Expected `int`, got `bool` - at `\$\.count`"):
        yaml_of("name: x\ncount: true", Thing)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: !!python/object/apply:os.system ['touch harmed']", "line 1: the tag"),
        ("&a [*a]", "an anchor or alias"),
        ("a: &x [1]\nb: *x", "line 1: an anchor or alias"),
        ("[" * 5000 + "]" * 5000, "nested too deeply"),
        ("", "Expected `object`, got `null`"),
        ("- 1", "Expected `object`, got `array`"),
        ("3", "Expected `object`, got `int`"),
        ("name: a\n---\nname: b", "line 2: a second document"),
        ("name:\n\t- a", "line 2"),
        ("name: a\0b", "zero byte"),
        ("name: a\nname: b", "line 1: the key 'name' appears twice"),
        ("? [a]\n: b", "Expected|unhashable"),
        ("name: {a: b}", "Expected `str`, got `object`"),
        ("name: x\nshare: 1e999", "too large|Expected"),
    ],
    ids=["case_29 tag", "case_33 recursion", "alias", "case_34 deep", "case_35 empty", "case_36 list", "case_36 scalar",
         "case_37 two documents", "case_38 tab", "case_39 zero byte", "key twice", "odd key", "mapping", "infinite"],
)  # fmt: skip
def test_case_29_to_39_what_a_description_has_not_is_refused(text: str, message: str) -> None:
    with pytest.raises(InvalidDatasetError, match=message):
        yaml_of(text, Thing)
    assert not Path("harmed").exists()


def test_case_33_ten_lines_of_aliases_do_not_grow_to_a_billion() -> None:
    bomb = "a: &a [x, x]\n" + "".join(f"{b}: &{b} [*{a}, *{a}]\n" for a, b in zip("abcdefghi", "bcdefghij", strict=True))
    with pytest.raises(InvalidDatasetError, match="an anchor or alias"):
        yaml_of(bomb)


@pytest.mark.parametrize("read", [yaml_of, json_of])
def test_case_40_48_byte_order_mark_and_windows_line_ends_are_fine_and_other_encodings_are_named(read: Any) -> None:
    assert read(b'\xef\xbb\xbf{"name":\r\n "x"}\r\n', Thing) == Thing("x")
    with pytest.raises(InvalidDatasetError, match="UTF-16"):
        read('{"name": "x"}'.encode("utf-16"), Thing)
    with pytest.raises(InvalidDatasetError, match="byte 10 is 0xe9; save it as UTF-8"):
        read('{"name": "é"}'.encode("latin-1"), Thing)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"name": "x", "count": NaN}', "the value NaN"),
        ('{"name": "x", "share": -Infinity}', "the value -Infinity"),
        ('{"name": "x", "share": 1e400}', "too large"),
        ('{"name": "x", "count": ' + "9" * 5000 + "}", "a number of 5000 digits"),
        ('{"name": "x", "name": "y"}', "the key 'name' appears twice"),
        ("[" * 200_000, "nested too deeply"),
        ("[1]", "Expected `object`, got `array`"),
        ("null", "Expected `object`, got `null`"),
        ("", "Expecting value"),
        ('{"name": 3}', r"Expected `str`, got `int` - at `\$\.name`"),
        ('{"name": "x"} {}', "Extra data"),
    ],
    ids=["case_55 NaN", "case_55 infinity", "case_55 1e400", "case_56 digits", "case_59 key twice", "case_57 deep", "list", "null",
         "empty", "type", "two values"],
)  # fmt: skip
def test_case_55_to_62_json_that_is_not_plain_is_refused(text: str, message: str) -> None:
    with pytest.raises(InvalidDatasetError, match=message):
        json_of(text, Thing)
