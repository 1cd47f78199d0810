"""Parameters as people and Azure's client can give them: refused by name before anything slow is imported."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

import click
import pytest
from conftest import run_entry, training_flags

from designer_vision.entry.command_line import check_apart, ports_of
from designer_vision.entry.train_pytorch_model import parse
from designer_vision.runtime.errors import DesignerError, FailedToWriteOutputsError, ParameterParsingError
from designer_vision.runtime.settings import Settings
from designer_vision.training.parameters import Parameters

GIVEN = {"epochs": 5, "batch_size": 16, "warmup_step_number": 0, "learning_rate": 0.001, "random_seed": 1, "patience": 3, "print_frequency": 10}  # fmt: skip
NO_NUMBERS = ["", " ", "three", "true", "True", "nan", "NaN", "inf", "-inf", "None", "null", "0x10", "1_000", "1,5", "１", "٣", "5;rm -rf", "$(id)", "`id`", "5\n6", "1" * 400]  # fmt: skip


def train(**flags: object) -> None:
    """The command of Train PyTorch Model, in this process; it never comes to reading a folder."""
    given = training_flags(Path("model"), Path("training"), Path("validation"), Path("out"), **flags)
    parse.main([word for name, value in given.items() for word in (f"--{name}", str(value))], standalone_mode=False)


@pytest.mark.parametrize("text", [*NO_NUMBERS, "1.5", "1e3"])
@pytest.mark.parametrize("name", ["epochs", "batch_size", "warmup_step_number", "random_seed", "patience", "print_frequency"])
def test_case_136_137_141_143_144_145_147_what_is_no_whole_number_is_refused_by_name(name: str, text: str) -> None:
    with pytest.raises(ParameterParsingError, match=f"^{name} is .*expected a whole number") as caught:
        train(**{name: text})
    assert caught.value.message.isprintable()


@pytest.mark.parametrize("text", NO_NUMBERS)
def test_case_139_147_what_is_no_number_is_refused_by_name(text: str) -> None:
    with pytest.raises(ParameterParsingError, match=r"^learning_rate is .*expected a number|too large"):
        train(learning_rate=text)


@pytest.mark.parametrize("name", ["epochs", "batch_size", "patience", "print_frequency", "learning_rate"])
@pytest.mark.parametrize("value", [0, -1, -(10**9)])
def test_case_136_137_139_143_145_what_must_be_positive_is(name: str, value: int) -> None:
    with pytest.raises(
        DesignerError, match=f"{name} is {float(value) if name == 'learning_rate' else value}, it must be greater than 0"
    ):
        train(**{name: value})


def test_case_144_a_negative_warm_up_is_refused() -> None:
    with pytest.raises(DesignerError, match="warmup_step_number is -1, it must not be below 0"):
        train(warmup_step_number=-1)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_case_139_a_learning_rate_that_is_no_number_is_refused_in_an_sdk_call_too(value: float) -> None:
    with pytest.raises(DesignerError, match="learning_rate"):
        Parameters(**GIVEN | {"learning_rate": value})


@pytest.mark.parametrize(("name", "text", "value"), [("epochs", "3", 3), ("epochs", " 5 ", 5), ("epochs", "1000000000", 10**9), ("learning_rate", "1e-3", 0.001)])  # fmt: skip
def test_case_136_139_147_texts_of_numbers_are_numbers(
    name: str, text: str, value: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = {}
    from designer_vision.components import train_pytorch_model

    monkeypatch.setattr(
        train_pytorch_model, "main", lambda model, training, validation, parameters, output: seen.update(vars(parameters))
    )
    train(**{name: text})
    assert seen[name] == value


@pytest.mark.parametrize("seed", [0, -1, 2**63 - 1, -(2**63)])
def test_case_141_any_64_bit_seed_is_mapped_to_what_torch_takes(seed: int) -> None:
    assert 0 <= Parameters(**GIVEN | {"random_seed": seed}).torch_seed < 2**63


@pytest.mark.parametrize("variable", ["PRECISION", "DATA_WORKERS", "CACHE_MB", "START_TIMEOUT", "PROCESS_GROUP_TIMEOUT", "CHECKPOINT_SECONDS"])  # fmt: skip
@pytest.mark.parametrize("text", ["", "-1", "1.5", "many", "nan", "１", "9" * 30])
def test_case_140_146_operator_variables_with_nonsense_are_refused_by_name(variable: str, text: str) -> None:
    with pytest.raises(ParameterParsingError, match=f"DESIGNER_VISION_{variable} is {re.escape(repr(text))}"):
        Settings.from_environment({f"DESIGNER_VISION_{variable}": text})


def test_case_149_a_misspelt_parameter_is_refused_with_the_nearest() -> None:
    with pytest.raises(click.UsageError) as caught:
        train(epoch=3)
    assert caught.value.format_message() == "No such option '--epoch'. Did you mean '--epochs'?"


@pytest.mark.parametrize("name", ["untrained_model", "training_dataset", "trained_model"])
def test_an_empty_path_is_refused_by_name(name: str) -> None:
    with pytest.raises(ParameterParsingError, match=f"{name} is empty, expected a path"):
        train(**{name: ""})


# Paths


def test_case_151_an_output_that_is_lies_in_or_holds_an_input_is_refused(tmp_path: Path) -> None:
    (tmp_path / "data/inner").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "data")
    data = tmp_path / "data"
    for output in (
        data,
        data / "new/deep",
        tmp_path,
        tmp_path / "link",
        tmp_path / "link/new",
        data / "inner/../x",
        tmp_path / "x/..",
    ):
        with pytest.raises(
            FailedToWriteOutputsError, match=r"^the output .* and dataset .* are the same folder, or one lies inside the other"
        ):
            check_apart({"dataset": data, "out": output}, ["out"])
    check_apart({"dataset": data, "out": tmp_path / "data2"}, ["out"])


def test_case_151_two_outputs_in_one_folder_are_refused(tmp_path: Path) -> None:
    with pytest.raises(FailedToWriteOutputsError, match="the output .* and two"):
        check_apart({"one": tmp_path / "a", "two": tmp_path / "a"}, ["one", "two"])
    check_apart({"one": tmp_path / "a", "two": tmp_path / "b"}, ["one", "two"])


def test_an_error_names_the_port_whose_path_it_tells_of() -> None:
    ports = {"training_dataset": Path("/in/a"), "validation_dataset": Path("/in/ab"), "trained_model": Path("/in")}
    assert ports_of("/in/a/images.lst line 3: broken", ports) == "training_dataset"
    assert ports_of("/in/ab has no labels", ports) == "validation_dataset"
    assert ports_of("/in/abc has no labels", ports) == "trained_model"
    assert ports_of("data workers", {"dataset": Path("data")} | ports) == "dataset"
    assert ports_of("something else", ports) == ""
    assert ports_of("/x/y is broken", {"one": Path("/x"), "two": Path("/x")}) == "one and two"


@pytest.mark.parametrize("name", ["file", "none/deep", "x" * 256, "link to nothing"])
def test_case_153_an_output_that_cannot_be_a_folder_is_refused_or_made(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "link to nothing").symlink_to(tmp_path / "nothing/at/all")
    result = run_entry("init_image_transformation", **INIT, output_image_transformation=tmp_path / name)
    if name == "none/deep":
        assert result.returncode == 0, result.stderr
    else:
        (error,) = result.stderr.splitlines()
        assert error.startswith("Error 0160: FailedToWriteOutputsError: output_image_transformation: the output folder ")


def test_case_152_an_output_with_files_of_somebody_else_is_refused_and_they_stay(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years")
    result = run_entry("init_image_transformation", **INIT, output_image_transformation=tmp_path)
    assert "is not empty" in result.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


INIT: dict[str, object] = {
    "resize": True, "size": 256, "shape": "kept", "center_crop": False, "crop_size": 224, "pad": False, "padding": 0, "color_jitter": False,
    "grayscale": False, "random_resized_crop": False, "random_resized_crop_size": 256, "random_crop": False, "random_crop_size": 224,
    "random_horizontal_flip": False, "random_vertical_flip": False, "random_rotation": False, "random_rotation_degrees": 0,
    "random_affine": False, "random_affine_degrees": 0, "random_grayscale": False, "random_perspective": False,
}  # fmt: skip


@pytest.mark.parametrize("name", ["it's", 'a "b" c', "ümlaut 狗", "-rf", "$(touch harmed)", "a;b", "new\nline", "trailing /"])
def test_case_153_156_odd_names_of_an_output_work(tmp_path: Path, name: str) -> None:
    result = run_entry("init_image_transformation", **INIT, output_image_transformation=tmp_path / name)
    assert result.returncode == 0, result.stderr
    assert (tmp_path / name / "_meta.yaml").exists()
    assert not (tmp_path / "harmed").exists()


def test_case_156_relative_paths_trailing_slashes_and_dots_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number, text in enumerate(("out0/", "./out1", "nothing/../out2", f"{tmp_path}/./out3//")):
        result = run_entry("init_image_transformation", **INIT, output_image_transformation=text)
        assert result.returncode == 0, result.stderr
        assert (tmp_path / f"out{number}/_meta.yaml").exists()


# What nobody foresaw


def run_with(program: str, **environment: str) -> tuple[int, list[str]]:
    import subprocess

    program = f"import click\nfrom designer_vision.entry.command_line import Entry, run\n@click.command(cls=Entry)\ndef parse():\n    {program}\nrun(parse)"  # fmt: skip
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=os.environ | environment)
    return done.returncode, done.stderr.splitlines()


def test_a_defect_is_one_line_that_asks_for_a_report_and_a_trace_only_where_it_is_asked_for() -> None:
    code, lines = run_with("{}['x\\n1']")
    assert code == 1
    assert lines == [
        "Error: UnexpectedError: KeyError: 'x\\n1' (<string> line 5); this is a defect of designer_vision: start the same "
        "command with DESIGNER_VISION_DEBUG=1 and report what it shows"
    ]
    assert "Traceback (most recent call last):" in run_with("{}['x']", DESIGNER_VISION_DEBUG="1")[1]


def test_want_of_memory_and_faults_of_a_disk_have_their_own_errors() -> None:
    assert run_with("raise MemoryError")[1] == ["Error 0138: ModuleOutOfMemoryError: no memory is left; use a machine with more"]
    (line,) = run_with("open('/nowhere/x')")[1]
    assert line.startswith("Error: FileSystemError: [Errno 2] No such file or directory: '/nowhere/x'; check that")


def test_the_environment_is_never_printed(tmp_path: Path) -> None:
    secret = {"AZUREML_RUN_TOKEN": "hidden-a1b2", "MLFLOW_TRACKING_TOKEN": "hidden-c3d4", "DESIGNER_VISION_DEBUG": "1"}
    for flags in ({"model_name": "resnet18"}, {"model_name": "x", "pretrained": "False", "zero_init_residual": "False", "untrained_model": tmp_path}):  # fmt: skip
        result = run_entry("resnet", secret, **flags)
        assert "Traceback" in result.stderr
        assert "hidden" not in result.stdout + result.stderr
