"""README and docs are true: their tables against the YAMLs and the code, their commands and links against what is there."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import click
import pytest
import torchvision
import yaml
from conftest import ROOT

from designer_vision import __version__
from designer_vision.entry.command_line import DEBUG
from designer_vision.networks.architectures import FAMILIES
from designer_vision.networks.builders import WEIGHTS
from designer_vision.pipeline.command_line import main, run
from designer_vision.runtime.settings import Settings

PAGES = {path: path.read_text() for path in (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md")))}
README, ALL = PAGES[ROOT / "README.md"], "\n\n".join(PAGES.values())
BLOCKS = re.findall(r"^```sh\n(.*?)^```", ALL, re.DOTALL | re.MULTILINE)
COMMANDS = [line for block in BLOCKS for line in block.replace("\\\n", " ").splitlines() if line]
HEADINGS = ["Quick start", "Your own photos", "Components", "On Azure ML", "Where to read on"]
LINES_OF_README = 180


def rows(first_cell: str) -> list[list[str]]:
    """The rows below the table heading that begins with this cell."""
    _, _, rest = ALL.partition(f"| {first_cell} |")
    return [[cell.strip() for cell in line.strip("| ").split(" |")] for line in rest.split("\n\n")[0].splitlines()[2:]]


def test_the_chapters_come_in_their_order() -> None:
    assert re.findall(r"^## (.*)$", README, re.MULTILINE) == HEADINGS
    assert len(README.splitlines()) <= LINES_OF_README


@pytest.mark.parametrize("page", [path for path in PAGES if path.parent.name == "docs"], ids=lambda path: path.stem)
def test_readme_leads_to_every_page(page: Path) -> None:
    assert f"](docs/{page.name}" in README


def test_the_walks_name_files_that_are_there() -> None:
    named = re.findall(r"`((?:\w+/)+\w+\.(?:py|yaml))`", PAGES[ROOT / "docs" / "architecture.md"])
    assert len(named) > 20
    for name in named:
        assert (ROOT / name).exists() or (ROOT / "src" / "designer_vision" / name).exists(), name


def test_the_table_of_components_is_what_the_yamls_say() -> None:
    def shown(name: str, port: dict) -> str:
        if port.get("optional"):
            return f"`{name}` (optional)"
        return f"`{name}` {port['default']}" if "default" in port else f"`{name}`"

    expected = {}
    for path in (ROOT / "component").glob("*.yaml"):
        component = yaml.safe_load(path.read_text())
        inputs = ", ".join(shown(name, port) for name, port in component["inputs"].items())
        expected[f"`{path.stem}`"] = [inputs, ", ".join(f"`{name}`" for name in component["outputs"])]
    assert {name: [inputs, outputs] for name, inputs, outputs in rows("component")} == expected


def test_the_table_of_networks_is_what_torchvision_says_and_what_is_checked() -> None:
    expected = []
    for family in FAMILIES:
        for name in family.names:
            weights = torchvision.models.get_model_weights(name)[WEIGHTS]
            crop, about = weights.transforms(), weights.meta
            figures = [about["num_params"] / 1e6, about["_metrics"]["ImageNet-1K"]["acc@1"]]
            learned_at = f"{crop.crop_size[0]}" + (" (bicubic)" if crop.interpolation.value == "bicubic" else "")
            smallest = f"{family.only} only" if family.only else str(family.smallest)
            row = [f"{figure:.1f}" for figure in figures] + [f"{about['_file_size']:.0f}", f"{about['_ops']:.1f}"]
            expected.append([f"`{name}`", family.name, *row, learned_at, smallest])
    assert rows("`model_name`") == expected


def test_the_table_of_variables_names_those_that_the_code_reads() -> None:
    class Recording(dict):
        def get(self, name: str, default: str | None = None) -> str | None:
            asked.add(name)
            return default

    asked = {DEBUG}
    Settings.from_environment(Recording())
    assert {name.strip("`") for name, _ in rows("variable")} == asked


def test_the_table_of_rooms_names_all_of_them() -> None:
    named = {name for cell, _ in rows("room") for name in re.findall(r"`([\w./]+)`", cell)}
    package = ROOT / "src" / "designer_vision"
    there = {path.name + ("/" if path.is_dir() else "") for path in package.iterdir() if not path.name.startswith("__")}
    assert named == there


@pytest.mark.parametrize("command", [line for line in COMMANDS if line.startswith("make ")])
def test_every_make_command_is_a_target(command: str) -> None:
    assert re.search(rf"^{command.split()[1]}:", (ROOT / "Makefile").read_text(), re.MULTILINE)


@pytest.mark.parametrize("command", [line for line in COMMANDS if not line.startswith("make ")])
def test_every_other_command_names_files_and_options_that_are_there(command: str) -> None:
    words = [word.rstrip(";") for word in shlex.split(command)]
    programs = "az", ".venv/bin/designer-vision", ".venv/bin/mlflow", "echo", "python3", ".venv_azure/bin/pip"
    assert words[0] in programs or re.fullmatch(r"[A-Z]+=\S+", words[0])
    for path in [word for word in words if word.startswith(("pipelines/", "component/"))]:
        assert list(ROOT.glob(path)), path
    if "designer-vision" in words[0]:
        command = main.commands[words[1]]
        parameters = command.make_parser(click.Context(command)).parse_args(words[2:])[0]
        if command is not run:
            return
        given = dict(text.split("=") for text in parameters.get("inputs") or ())
        pipeline = yaml.safe_load((ROOT / parameters["pipeline"]).read_text())
        assert set(given) <= set(pipeline["inputs"])


def test_versions_are_the_packages() -> None:
    named = re.findall(r"(?:components/\w+|environments/\w+|azureml:\w+)[:/](?:versions/)?(\d+\.\d+\.\d+)", ALL)
    assert len(named) >= 4
    assert set(named) == {__version__}


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.stem)
def test_links_lead_to_files_and_headings_that_are_there(page: Path) -> None:
    for target in re.findall(r"\]\((?!https?:)([^)]+)\)", PAGES[page]):
        name, _, heading = target.partition("#")
        file = (page.parent / name).resolve() if name else page
        assert file.exists(), target
        if heading:
            headings = re.findall(r"^#+ (.*)$", PAGES[file], re.MULTILINE)
            assert heading in {text.lower().replace(" ", "-").replace(",", "") for text in headings}, target


def test_the_output_shown_ends_as_the_demo_does() -> None:
    shown, *_ = re.findall(r"^```text\n(.*?)^```", README, re.DOTALL | re.MULTILINE)
    lines = [line for line in shown.splitlines() if not line.startswith("report: ")]  # which come last of all
    assert re.fullmatch(r"top-1 \d+\.\d %", lines[-1])
    assert " ui --backend-store-uri sqlite:///" in lines[-2]
    jobs = yaml.safe_load((ROOT / "pipelines" / "train_and_score.yaml").read_text())["jobs"]
    assert all(any(f"  {name} " in line for line in lines) for name in jobs)
