"""Changes to a YAML text that touch nothing but their own lines: comments, order, quotes and empty lines stay as they are.

A library that reads YAML, changes the data and writes it anew normalises what somebody laid out by hand; here PyYAML only says
where each key and value stands, and the change is made in the text. Every change is checked: the new text must read as the old
data with exactly that change, or it is not made.
"""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Collection, Mapping, Sequence
from functools import lru_cache
from typing import Any

import yaml

from designer_vision.runtime.description import yaml_again
from designer_vision.runtime.errors import PipelineError

INDENT = 2
PLAIN = re.compile(r"[^\W\d][\w ./$-]*", re.ASCII)
"""Texts that need no quotes wherever they stand."""
Path = Sequence[str]
"""Keys, from the outermost mapping inwards."""


class YamlText:
    """A text whose outermost value is a mapping, free of anchors, tags and repeated keys.

    Attributes:
        text: as it is now.
        data: what it reads as.
    """

    def __init__(self, text: str, data: dict[str, Any] | None = None) -> None:
        self.text = text
        self.data: dict[str, Any] = yaml_again(text) if data is None else data

    def set(self, path: Path, value: Any) -> None:
        """Give a key a value, in the place of the one that it has, or as the last of its mapping.

        Mappings on the way are made where they are missing.

        Args:
            path: to the key.
            value: a number, a truth value, a text, or a mapping or a list of those.

        Raises:
            PipelineError: the text is laid out in a way that cannot be changed here.
        """
        known = self._known(path)
        changed = copy.deepcopy(self.data)
        parent = changed
        for key in path[:-1]:
            if not isinstance(parent.get(key), dict):
                parent[key] = {}
            parent = parent[key]
        parent[path[-1]] = value
        if known == len(path):
            self._become(self._replaced(path, value), changed, path)
        else:
            for key in reversed(path[known + 1 :]):
                value = {key: value}
            self._become(self._inserted(path[:known], path[known], value), changed, path)

    def remove(self, path: Path) -> None:
        """Take a key and its value out, and each mapping around it that has nothing else.

        Raises:
            PipelineError: as `set` does.
        """
        changed = copy.deepcopy(self.data)
        while len(path) > 1 and len(_at(changed, path[:-1])) == 1:
            path = path[:-1]
        del _at(changed, path[:-1])[path[-1]]
        self._become(self._without(path), changed, path)

    def remove_several(self, parent: Path, keys: Collection[str]) -> None:
        """Take some keys of a mapping out, but not all, with their values; in one change, however many there are.

        Raises:
            PipelineError: as `set` does.
        """
        if self._is_flow([*parent, ""]):
            for key in keys:
                self.remove([*parent, key])
            return
        changed = copy.deepcopy(self.data)
        for key in keys:
            del _at(changed, parent)[key]
        gone = {line for key in keys for line in self._lines_of([*parent, key])}
        lines = self.text.splitlines(keepends=True)
        self._become("".join(line for number, line in enumerate(lines) if number not in gone), changed, parent)

    def rename(self, path: Path, name: str) -> None:
        """Give a key another name, in its place.

        Raises:
            PipelineError: as `set` does.
        """
        changed = copy.deepcopy(self.data)
        parent = _at(changed, path[:-1])
        parent[name] = parent.pop(path[-1])
        key, _ = self._entry(path)
        self._become(self._spliced(key.start_mark.index, key.end_mark.index, name), changed, path)

    def _become(self, text: str, data: dict[str, Any], path: Path) -> None:
        if "\r\n" in self.text:
            text = text.replace("\r\n", "\n").replace("\n", "\r\n")
        try:
            reads_right = yaml_again(text) == data
        except yaml.YAMLError:
            reads_right = False
        if not reads_right:
            raise PipelineError(f"{'.'.join(path)} is written in a way that cannot be changed here; change it in an editor")
        self.text, self.data = text, data

    def _known(self, path: Path) -> int:
        """How many keys of a path there are already, each but the last with a mapping or nothing behind it."""
        node: Any = self.data
        for depth, key in enumerate(path):
            if not isinstance(node, dict) or key not in node:
                return depth
            node = node[key]
        return len(path)

    def _entry(self, path: Path) -> tuple[yaml.Node, yaml.Node]:
        """The key and the value that a path leads to."""
        node = _composed(self.text)
        found: tuple[yaml.Node, yaml.Node] | None = None
        for key in path:
            assert isinstance(node, yaml.MappingNode)
            found = next(entry for entry in node.value if entry[0].value == key)
            node = found[1]
        assert found is not None
        return found

    def _mapping(self, path: Path) -> yaml.Node:
        node = self._entry(path)[1] if path else _composed(self.text)
        assert node is not None
        return node

    def _spliced(self, start: int, end: int, text: str) -> str:
        return self.text[:start] + text + self.text[end:]

    def _replaced(self, path: Path, value: Any) -> str:
        key, node = self._entry(path)
        start, end = node.start_mark.index, _end(node, self.text)
        if self._is_flow(path):
            return self._spliced(start, end, _flow(value))
        if isinstance(node, yaml.ScalarNode) and not isinstance(value, Mapping):
            written = scalar(value)
            return self._spliced(start, end, written if end > start or self.text[start - 1] == " " else f" {written}")
        after_colon = self.text.index(":", key.end_mark.index) + 1
        written = _block(value, key.start_mark.column + INDENT) if isinstance(value, Mapping) and value else f" {_flow(value)}"
        return self._spliced(after_colon, max(end, after_colon), written)

    def _is_flow(self, path: Path) -> bool:
        """Whether a key stands in a mapping in braces."""
        return any(bool(getattr(self._mapping(path[:depth]), "flow_style", False)) for depth in range(len(path)))

    def _inserted(self, parent: Path, key: str, value: Any) -> str:
        node = self._mapping(parent)
        if isinstance(node, yaml.MappingNode) and node.value:
            last = _end(node, self.text)
            if node.flow_style:
                return self._spliced(last - 1, last - 1, f", {_flow({key: value})[1:-1]}")
            written = _block({key: value}, node.value[0][0].start_mark.column)
            line_end = self._line_end(last)
            between = "\n" if isinstance(value, Mapping) and self._are_apart(node) else ""
            return self._spliced(line_end, line_end, between + written)
        own_key, _ = self._entry(parent)  # which has nothing, or {}
        if self._is_flow(parent):
            return self._spliced(node.start_mark.index, _end(node, self.text), _flow({key: value}))
        after_colon = self.text.index(":", own_key.end_mark.index) + 1
        rest = self.text[max(_end(node, self.text), after_colon) :]
        comment, newline, others = rest.partition("\n")
        return (
            self.text[:after_colon]
            + comment.rstrip()
            + _block({key: value}, own_key.start_mark.column + INDENT)
            + newline
            + others
        )

    def _are_apart(self, node: yaml.MappingNode) -> bool:
        """Whether an empty line stands between the last two entries of a mapping."""
        return len(node.value) > 1 and self._has_empty_line_before(node.value[-1][0])

    def _has_empty_line_before(self, key: yaml.Node) -> bool:
        lines = self.text[: key.start_mark.index].split("\n")[:-1]
        while lines and lines[-1].lstrip().startswith("#"):
            lines.pop()
        return bool(lines) and not lines[-1].strip()

    def _line_end(self, index: int) -> int:
        found = self.text.find("\n", index)
        end = len(self.text) if found < 0 else found
        return end - 1 if self.text[end - 1 : end] == "\r" else end

    def _without(self, path: Path) -> str:
        key, value = self._entry(path)
        parent = self._mapping(path[:-1])
        assert isinstance(parent, yaml.MappingNode)
        number = [entry[0].start_mark.index for entry in parent.value].index(key.start_mark.index)
        start, end = key.start_mark.index, _end(value, self.text)
        if parent.flow_style:
            if number + 1 < len(parent.value):
                return self._spliced(start, parent.value[number + 1][0].start_mark.index, "")
            return self._spliced(_end(parent.value[number - 1][1], self.text), end, "")
        lines = self.text.splitlines(keepends=True)
        gone = self._lines_of(path)
        return "".join(lines[: gone.start] + lines[gone.stop :])

    def _lines_of(self, path: Path) -> range:
        """The lines of a key and its value, with the empty one that nothing needs then; numbers from 0."""
        key, value = self._entry(path)
        lines = self.text.splitlines(keepends=True)
        first, last = key.start_mark.line, self.text.count("\n", 0, _end(value, self.text))
        if not "".join(lines[last + 1 : last + 2]).strip():  # one empty line is enough, and none before the first entry
            if first > 0 and not lines[first - 1].strip():
                first -= 1
            elif self._mapping(path[:-1]).value[0][0] is key:
                last += 1
        return range(first, last + 1)


@lru_cache(maxsize=1)
def _composed(text: str) -> yaml.Node | None:
    """Where everything stands in a text; one change asks several times."""
    return yaml.compose(text, yaml.CSafeLoader)


def _at(data: Any, path: Path) -> Any:
    for key in path:
        data = data[key]
    return data


def _end(node: yaml.Node, text: str) -> int:
    """Where a value ends: PyYAML's mark of what is in no braces stands behind the empty lines and comments that follow."""
    if isinstance(node, yaml.MappingNode) and node.value and not node.flow_style:
        return _end(node.value[-1][1], text)
    if isinstance(node, yaml.SequenceNode) and node.value and not node.flow_style:
        return _end(node.value[-1], text)
    end = int(node.end_mark.index)
    if isinstance(node, yaml.ScalarNode) and node.style in ("|", ">"):
        end = len(text[:end].rstrip())
    return end


def scalar(value: Any) -> str:
    """A value as YAML writes it in one line; a text in quotes where it would read as something else without."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        mantissa, exponent, power = repr(value).partition("e")
        return f"{mantissa}{'' if '.' in mantissa or not exponent else '.0'}{exponent}{power}"  # YAML 1.1 takes 1e-05 for a text
    text = str(value)
    if (
        (PLAIN.fullmatch(text) and not text.endswith(" "))
        or re.fullmatch(r"\$\{\{[\w.]+\}\}", text)
        or re.fullmatch(r"[\w./-]+", text)
    ):
        try:
            if yaml_again(f"a: {text}") == {"a": text}:
                return text
        except yaml.YAMLError:
            pass
    quoted = json.dumps(text, ensure_ascii=False)
    return "".join(letter if letter.isprintable() else f"\\U{ord(letter):08x}" for letter in quoted)  # YAML breaks lines at some


def _block(value: Mapping[str, Any], column: int) -> str:
    """A mapping's entries, each on a line of its own that begins with a line break."""
    lines = []
    for key, entry in value.items():
        if isinstance(entry, Mapping) and entry:
            lines.append(f"\n{' ' * column}{scalar(key)}:{_block(entry, column + INDENT)}")
        else:
            lines.append(
                f"\n{' ' * column}{scalar(key)}: {_flow(entry) if isinstance(entry, (Mapping, list)) else scalar(entry)}"
            )
    return "".join(lines)


def _flow(value: Any) -> str:
    """A value in one line, mappings in braces and lists in brackets."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{scalar(key)}: {_flow(entry)}" for key, entry in value.items()) + "}"
    if isinstance(value, list):
        return f"[{', '.join(map(_flow, value))}]"
    written = scalar(value)
    return json.dumps(value) if written.startswith("${{") else written
