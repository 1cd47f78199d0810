from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT

from designer_vision.runtime.console import cell, printable, rank_prefix, say

VARIABLES = ("WORLD_SIZE", "RANK", "OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_RANK")


@pytest.mark.parametrize(
    ("variables", "prefix"),
    [
        ({}, ""),
        ({"WORLD_SIZE": "1", "RANK": "0"}, ""),
        ({"OMPI_COMM_WORLD_SIZE": "1", "OMPI_COMM_WORLD_RANK": "0"}, ""),
        ({"WORLD_SIZE": "2", "RANK": "0"}, "rank 0: "),
        ({"WORLD_SIZE": "16", "RANK": "11"}, "rank 11: "),
        ({"OMPI_COMM_WORLD_SIZE": "2", "OMPI_COMM_WORLD_RANK": "1"}, "rank 1: "),
        ({"WORLD_SIZE": "2", "RANK": "1", "OMPI_COMM_WORLD_SIZE": "4", "OMPI_COMM_WORLD_RANK": "3"}, "rank 1: "),
    ],
)
def test_lines_begin_with_the_rank_of_a_process_that_is_not_alone(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], variables: dict[str, str], prefix: str
) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    say("epoch 1/2")
    assert (rank_prefix(), capsys.readouterr().out) == (prefix, f"{prefix}epoch 1/2\n")


def test_neither_a_text_nor_a_variable_forges_a_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "0\nError")
    say("a class named \x1b[2J\n")
    assert capsys.readouterr().out == "rank 0\\nError: a class named \\x1b[2J\\n\n"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a.png", "a.png"), ("-1", "-1"), ("+2.5", "+2.5"), ("=1+1", "'=1+1"), ("-1+cmd", "'-1+cmd"), ("@x", "'@x"), ("+x", "'+x"),
        ("\t=1", "\\t=1"), ("a\r\nb", "a\\r\\nb"), ("", ""),
    ],
)  # fmt: skip
def test_a_cell_is_one_line_and_nothing_that_a_spreadsheet_computes(text: str, expected: str) -> None:
    assert cell(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("à l’œil : 5\u00a0%", None), ("\u3000全角", None), ("می\u200cخواهم", None), ("\U0001f468\u200d\U0001f373", None),
        ("a\u2028b", "a\\u2028b"), ("a\u200bb", "a\\u200bb"), ("cat\u200d", "cat\\u200d"), ("ca\u200ct", "ca\\u200ct"), ("\u202egnp.exe", "\\u202egnp.exe"), ("\ufeffa", "\\ufeffa"),
    ],
)  # fmt: skip
def test_a_name_is_shown_as_people_of_its_language_write_it(text: str, expected: str | None) -> None:
    assert printable(text) == (expected or text)


@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&- >&- 2>&-"])
def test_a_stream_that_was_closed_before_the_start_is_no_file_that_is_opened_later(tmp_path: Path, closed: str) -> None:
    work = "from designer_vision.runtime.console import replace_closed_streams, say; import sys; replace_closed_streams(); "
    work += "file = open(sys.argv[1], 'w'); file.write(str(file.fileno() > 2)); say('said'); say('said', sys.stderr)"
    words = ["/bin/sh", "-c", f'exec "$0" -c "$1" "$2" {closed}', sys.executable, work, tmp_path / "file"]
    assert subprocess.run(words, env=os.environ | {"PYTHONPATH": str(ROOT / "src")}).returncode == 0
    assert (tmp_path / "file").read_text() == "True"


def test_the_command_has_a_sentence_where_nobody_takes_its_output(tmp_path: Path) -> None:
    words = [
        "/bin/sh",
        "-c",
        'exec "$0" run "$1" >&-',
        Path(sys.executable).parent / "designer-vision",
        tmp_path / "nowhere.yaml",
    ]
    told = subprocess.run(words, env=os.environ | {"PYTHONPATH": str(ROOT / "src")}, stderr=subprocess.PIPE, text=True)
    assert told.stderr.startswith("Error")
    assert "nowhere.yaml" in told.stderr
    assert told.returncode == 1
