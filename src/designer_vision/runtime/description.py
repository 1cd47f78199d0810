"""The small text files that describe a folder: YAML and JSON of a safe and plain kind to typed records, and back.

What passes is of the record's type from there on; what does not is refused with the line or the field, what was found and what
was expected.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Never, TypeVar

import msgspec
import yaml

from designer_vision.runtime.errors import DesignerError

MOST_YAML = 2 * 2**20
MOST_JSON = 64 * 2**20
MOST_SMALL = 2**20
"""Bytes; a schema of a million classes fits."""
DEEPEST = 50
LONGEST_NUMBER = 19
LONGEST_SHARED_NUMBER = 100
"""Digits of any base, underscores and colons: Python makes text of these."""
WRITTEN = "what a component writes; copy the folder again, or make it again"

Record = TypeVar("Record")


class _NotPlainError(ValueError):
    """Something that YAML or JSON may have and a description has not."""


def from_yaml(content: bytes, kind: type[Record], source: Path, error: type[DesignerError], expected: str = WRITTEN) -> Record:
    """One YAML document as a record.

    Text stays text unless it is plainly a number (no octal, no times of day, no dates), true, false or null. Anchors, tags,
    repeated keys and deep nesting are refused.

    Args:
        content: of the file, UTF-8 with or without a byte-order mark.
        kind: a msgspec.Struct, or another type that msgspec converts to.
        source: what the error names.
        error: raised, with line or field.
        expected: what the error says should be there.
    """
    text = _text(content, source, error)
    try:
        _check_events(text)
        return msgspec.convert(_whole_letters(_value(text, _Loader), text), kind)
    except (yaml.YAMLError, msgspec.ValidationError, ValueError) as cause:
        raise error(f"{source}: {_in_one_line(cause)}; expected {expected}") from cause


def shared_yaml(content: bytes, source: Path, error: type[DesignerError]) -> Any:
    """One YAML document that PyYAML's safe loader will read again, in another program: the values are the ones it will see.

    So these are YAML 1.1's: `yes` is True, `010` is 8, `1_000` is 1000, `1e-3` is text and `2026-11-25` a date. What that loader
    takes silently and a person did not mean, or what grows without limit, is refused: repeated keys, keys that are not text,
    anchors, merges, tags, deep nesting.

    Args:
        content: of the file, UTF-8 with or without a byte-order mark.
        source: what the error names.
        error: raised, with the line.
    """
    text = _text(content, source, error)
    try:
        _check_events(text)
        return _whole_letters(_value(text, _SharedLoader), text)
    except _NotPlainError as cause:
        raise error(f"{source}: {cause}") from cause
    except (yaml.YAMLError, ValueError, OverflowError, RecursionError) as cause:
        raise error(f"{source} is not readable YAML: {_in_one_line(cause)}") from cause


def yaml_again(text: str) -> Any:
    """What `shared_yaml` gives, for a text that it has let through, or one that was made of such a text.

    Raises:
        yaml.YAMLError: it is no YAML.
    """
    return _value(text, _SharedLoader)


def to_yaml(value: Any) -> str:
    """The text that `from_yaml` reads."""
    return yaml.dump(msgspec.to_builtins(value), Dumper=_Dumper, sort_keys=False, allow_unicode=True)


def from_json(
    content: bytes, kind: type[Record], source: Path | str, error: type[DesignerError], expected: str = WRITTEN
) -> Record:
    """One JSON value as a record; repeated keys, NaN, infinities, over-long numbers and deep nesting are refused.

    Args:
        content: UTF-8 with or without a byte-order mark.
        kind: a msgspec.Struct, or another type that msgspec converts to.
        source: what the error names.
        error: raised, with line or field.
        expected: what the error says should be there.
    """
    text = _text(content, source, error)
    try:
        return msgspec.convert(_whole_letters(_JSON.decode(text), text), kind)
    except (msgspec.ValidationError, ValueError, RecursionError) as cause:
        raise error(f"{source}: {_in_one_line(cause)}; expected {expected}") from cause


def to_json(value: Any) -> str:
    """The text that `from_json` reads."""
    return json.dumps(msgspec.to_builtins(value), ensure_ascii=False)


def _text(content: bytes, source: Path | str, error: type[DesignerError]) -> str:
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise error(f"{source} is UTF-16 text, expected UTF-8; save it again in that encoding")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as cause:
        raise error(f"{source} is not UTF-8 text: byte {cause.start} is {content[cause.start]:#04x}; save it as UTF-8") from cause
    if "\0" in text:
        raise error(f"{source} has a zero byte at {text.index(chr(0))}, which no text file has; copy it again")
    return text


def _repeated(names: list[str]) -> str | None:
    """The first name that was there before, shortened for a message."""
    seen: set[str] = set()
    for name in names:
        if name in seen:
            return name[:100]
        seen.add(name)
    return None


def _whole_letters(value: Any, text: str) -> Any:
    """The value, if it holds no half of a letter, which an escape can write and no file name or label can have."""
    if "\\u" in text or "\\U" in text:
        try:
            json.dumps(value, ensure_ascii=False, default=str).encode()
        except UnicodeEncodeError as cause:
            raise _NotPlainError(f"half a character, {cause.object[cause.start]!a}") from cause
    return value


def _in_one_line(cause: Exception) -> str:
    if isinstance(cause, RecursionError) or "nesting depth" in str(cause):  # libyaml has a limit of its own from PyYAML 6.0.4 on
        return "nested too deeply"
    return " ".join(str(cause).replace('in "<unicode string>", ', "").split())[:300]


# YAML


class _Loader(yaml.CSafeLoader):
    """The safe loader, without what YAML 1.1 makes of no, 010, 12:30 or 2026-11-23."""

    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012 (PyYAML's way; each class has its own)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        if (repeated := _repeated([str(key.value) for key, _ in node.value])) is not None:
            raise _NotPlainError(f"line {node.start_mark.line + 1}: the key {repeated!r} appears twice")
        return super().construct_mapping(node, deep)


class _Dumper(yaml.CSafeDumper):
    """The safe dumper, which puts quotes around texts that our loader would take for numbers."""


def _resolve(tag: str, pattern: str, first: list[str]) -> None:
    """Let both classes take plain texts of a pattern for a value; `first` are the letters that it begins with."""
    for klass in (_Loader, _Dumper):
        klass.add_implicit_resolver(f"tag:yaml.org,2002:{tag}", re.compile(pattern), first)


_resolve("bool", r"^(?:true|True|TRUE|false|False|FALSE)$", [*"tTfF"])
_resolve("null", r"^(?:~|null|Null|NULL|)$", ["~", "n", "N", ""])
_resolve("int", rf"^[-+]?(?:0|[1-9][0-9]{{0,{LONGEST_NUMBER - 1}}})$", [*"-+0123456789"])
_resolve("float", r"^[-+]?(?:(?:[0-9]+\.[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]{1,3})?|[0-9]+[eE][-+]?[0-9]{1,3})$", [*"-+.0123456789"])


_Loader.add_constructor("tag:yaml.org,2002:float", lambda loader, node: _float(str(node.value)))


class _SharedLoader(yaml.CSafeLoader):
    """PyYAML's own values, from what can be taken in one way only."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        lines: dict[str, int] = {}
        for key, _ in node.value:
            line, name = key.start_mark.line + 1, str(key.value)[:100]
            if key.tag == "tag:yaml.org,2002:merge":
                raise _NotPlainError(f"line {line}: the merge key {name!r}; write the values out")
            if key.tag != "tag:yaml.org,2002:str":
                raise _NotPlainError(f"line {line}: the key {name!r} is not text to YAML; put it in quotes")
            if key.value in lines:
                raise _NotPlainError(f"line {line}: the key {name!r} is there already, in line {lines[key.value]}; keep one")
            lines[key.value] = line
        return super().construct_mapping(node, deep)

    def short_int(self, node: yaml.ScalarNode) -> Any:
        """A whole number, if a parameter can have it."""
        if len(node.value) > LONGEST_SHARED_NUMBER:
            line = node.start_mark.line + 1
            raise _NotPlainError(f"line {line}: a number of {len(node.value)} digits; put it in quotes if it is text")
        return self.construct_yaml_int(node)


_SharedLoader.add_constructor("tag:yaml.org,2002:int", _SharedLoader.short_int)


def _value(text: str, kind: type[_Loader | _SharedLoader]) -> Any:
    loader = kind(text)
    try:
        return loader.get_single_data()
    finally:
        loader.dispose()


def _check_events(text: str) -> None:
    """Refuse, before anything is made of it, what a plain description has not: it could grow without limit."""
    depth = documents = 0
    for event in yaml.parse(text, _Loader):
        refused = ""
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
            refused = "an anchor or alias; write the value out"
        elif tag := getattr(event, "tag", None):
            refused = f"the tag {tag[:100]!r}; only plain values are read"
        elif isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        documents += isinstance(event, yaml.DocumentStartEvent)
        if depth > DEEPEST or documents > 1:
            refused = "nested too deeply" if depth > DEEPEST else "a second document"
        if refused:
            line = event.start_mark.line + 1 if event.start_mark else 0
            raise _NotPlainError(f"line {line}: {refused}")


# JSON


def _object(pairs: list[tuple[str, Any]]) -> Mapping[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):
        raise _NotPlainError(f"the key {_repeated([name for name, _ in pairs])!r} appears twice")
    return made


def _constant(name: str) -> Never:
    raise _NotPlainError(f"the value {name}, which is not a number")


def _float(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise _NotPlainError(f"the number {text[:30]} is too large")
    return value


def _int(text: str) -> int:
    if len(text) > LONGEST_NUMBER + 1:
        raise _NotPlainError(f"a number of {len(text)} digits")
    return int(text)


_JSON = json.JSONDecoder(object_pairs_hook=_object, parse_float=_float, parse_int=_int, parse_constant=_constant)
