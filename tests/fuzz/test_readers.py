"""Whatever the bytes, a reader returns or raises an error of ours, and does nothing else."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from fuzz.targets import Target, emptied, targets
from fuzz.watched import watched
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from designer_vision.runtime.errors import DesignerError

TARGETS = targets()
INPUTS = 150
plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["type", "id", "name", "images", "x"]), inner, max_size=3),
    max_leaves=6,
)  # fmt: skip
each = pytest.mark.parametrize("target", TARGETS.values(), ids=TARGETS)
quietly = settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])


def attempt(target: Target, folder: Path, content: bytes) -> bool:
    """Whether the input is read; where not, with one line of ours."""
    emptied(folder)
    try:
        with watched(folder):
            target.read(folder, content)
    except DesignerError as error:
        line = error.line()
    else:
        return True
    assert line.isprintable()
    assert len(line) < 3000
    return False


@each
def test_right_inputs_are_read(target: Target, tmp_path: Path) -> None:
    for seed in target.seeds:
        assert target.read(emptied(tmp_path / "in"), seed) is not None


@each
def test_almost_right_inputs_are_read_or_refused(target: Target, tmp_path: Path) -> None:
    for seed in target.seeds:
        target.read(emptied(tmp_path / "in"), seed)  # what is imported at the first use
    mutate = target.mutate(1)
    outcomes = {attempt(target, tmp_path / "in", mutate(target.seeds[number % len(target.seeds)])) for number in range(INPUTS)}
    assert False in outcomes


def reader_of(find: Path) -> Target:
    return next(target for name, target in TARGETS.items() if find.name.startswith(name.replace(" ", "_")))


@pytest.mark.parametrize("find", sorted((Path(__file__).parent / "finds").iterdir()), ids=lambda find: find.name)
def test_what_once_was_a_find_is_none_now(find: Path, tmp_path: Path) -> None:
    target = reader_of(find)
    for seed in target.seeds:
        target.read(emptied(tmp_path / "in"), seed)
    attempt(target, tmp_path / "in", find.read_bytes())


@each
@quietly
@given(content=st.binary(max_size=300))
def test_any_bytes_are_read_or_refused(target: Target, tmp_path: Path, content: bytes) -> None:
    attempt(target, tmp_path / "in", content)


@each
@quietly
@given(value=plain)
def test_any_json_is_read_or_refused(target: Target, tmp_path: Path, value: Any) -> None:
    attempt(target, tmp_path / "in", json.dumps(value).encode())
