from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT, run_entry

from designer_vision import entry
from designer_vision.entry.command_line import BOOLEAN, INTEGER, NUMBER
from designer_vision.runtime.errors import ParameterParsingError


@pytest.mark.parametrize(("text", "value"), [("3", 3), (" 5 ", 5), ("-7", -7), ("9223372036854775807", 2**63 - 1)])
def test_whole_numbers_are_read(text: str, value: int) -> None:
    assert INTEGER.convert(text, None, None) == value


@pytest.mark.parametrize(("text", "value"), [("0.001", 0.001), ("1e-3", 0.001), (".5", 0.5), ("2", 2.0), ("1E2", 100.0)])
def test_numbers_are_read(text: str, value: float) -> None:
    assert NUMBER.convert(text, None, None) == value


@pytest.mark.parametrize(("text", "value"), [("True", True), ("false", False), ("TRUE", True)])
def test_booleans_are_read_as_azure_writes_them(text: str, value: bool) -> None:
    assert BOOLEAN.convert(text, None, None) is value


@pytest.mark.parametrize(
    "text", ["", "2.5", "true", "three", "1e3", "0x10", "1_000", "３", "5;rm -rf /", "$(id)", "None", "1" * 30]
)
def test_anything_else_is_no_whole_number(text: str) -> None:
    with pytest.raises(ParameterParsingError, match="expected a whole number"):
        INTEGER.convert(text, None, None)


@pytest.mark.parametrize("text", ["", "nan", "inf", "-inf", "1e999", "true", "0.1.2", "１", "1,5"])
def test_anything_else_is_no_number(text: str) -> None:
    with pytest.raises(ParameterParsingError):
        NUMBER.convert(text, None, None)


@pytest.mark.parametrize("text", ["", "1", "yes", "on", "None"])
def test_anything_else_is_no_boolean(text: str) -> None:
    with pytest.raises(ParameterParsingError, match="expected True or False"):
        BOOLEAN.convert(text, None, None)


def test_a_users_mistake_is_one_line_without_a_traceback(tmp_path) -> None:
    flags = {"model_name": "resnet19", "pretrained": "False", "zero_init_residual": "False", "untrained_model": tmp_path / "out"}
    result = run_entry("resnet", **flags)
    (line,) = result.stderr.splitlines()
    assert line.startswith("Error 0002: ParameterParsingError: model_name is 'resnet19', expected one of resnet18, ")
    assert result.returncode == 1
    debugged = run_entry("resnet", {"DESIGNER_VISION_DEBUG": "1"}, **flags)
    assert "Traceback" in debugged.stderr


def test_a_missing_flag_and_an_unknown_one_are_named(tmp_path) -> None:
    assert "Missing option '--pretrained'" in run_entry("resnet", model_name="resnet18").stderr
    assert "No such option '--pretraind'" in run_entry("resnet", pretraind="True").stderr


def test_a_process_ends_after_its_exit_functions_but_without_taking_the_interpreter_apart() -> None:
    program = (
        "import atexit, click\n"
        "from designer_vision.entry.command_line import run\n"
        "class Loud:\n"
        "    def __del__(self): print('taken apart')\n"
        "loud = Loud()\n"
        "atexit.register(print, 'exit function')\n"
        "run(click.command()(lambda: print('work')))\n"
    )
    process = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (process.returncode, process.stdout.split("\n")) == (0, ["work", "exit function", ""])


@pytest.mark.parametrize("path", sorted(Path(entry.__file__).parent.glob("[a-z]*.py")), ids=lambda path: path.stem)
def test_flags_are_read_before_anything_slow_is_imported(path: Path) -> None:
    program = (
        f"import sys, designer_vision.entry.{path.stem}\n"
        "print(sorted({'torch', 'numpy', 'pandas', 'mlflow', 'PIL', 'sklearn', 'pyarrow'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout == "[]\n"


@pytest.mark.skipif(sys.platform == "win32", reason="closes descriptors")
@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&-", "<&- >&- 2>&-", ">/dev/full 2>/dev/full"])
def test_a_component_started_without_an_output_does_its_work(tmp_path: Path, closed: str) -> None:
    flags = f"--model_name resnet18 --pretrained False --zero_init_residual False --untrained_model {tmp_path / 'out'}"
    command = f"exec {sys.executable} -m designer_vision.entry.resnet {flags} {closed}"
    assert subprocess.run(["sh", "-c", command], env=os.environ | {"PYTHONPATH": str(ROOT / "src")}).returncode == 0
    assert (tmp_path / "out/_meta.yaml").exists()
