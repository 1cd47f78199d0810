"""The workflows cannot run here: what they name is checked, and what they run is run with an imitated `az`."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from conftest import ROOT

from designer_vision import __version__
from designer_vision.runtime.description import from_yaml
from designer_vision.runtime.errors import PipelineError

WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
BIN = Path(sys.executable).parent
FLAGS = {
    "ml job create": {"--file", "--name", "--stream", "--set"},
    "ml job cancel": {"--name"},
    "ml job download": {"--name", "--output-name", "--download-path"},
    "ml environment create": {"--file", "--registry-name", "--output"},
    "ml component create": {"--file", "--set", "--registry-name", "--output"},
    "extension add": {"--name", "--yes"},
    "configure": {"--defaults"},
}
"""Of Azure's command line, by command, as far as its documentation has them and we use them."""


def content(name: str) -> dict[str, Any]:
    path = ROOT / ".github" / "workflows" / f"{name}.yml"
    return from_yaml(path.read_bytes(), dict[str, Any], path, PipelineError)


def steps(name: str) -> Iterator[dict[str, Any]]:
    for job in content(name)["jobs"].values():
        yield from job["steps"]


def blocks(name: str, shell: str = "bash") -> list[str]:
    return [step["run"] for step in steps(name) if "run" in step and step.get("shell", "bash") == shell]


def lines_of(name: str, command: str) -> list[list[str]]:
    """The lines of a workflow that begin with a command, as words."""
    lines = [line.strip() for block in blocks(name) for line in block.replace("\\\n", " ").splitlines()]
    return [shlex.split(line) for line in lines if line.startswith(f"{command} ")]


def check_az(words: list[str]) -> None:
    command = next(command for command in FLAGS if words[: len(command.split())] == command.split())
    used = {word for word in words if word.startswith("-")}
    assert used <= FLAGS[command], f"{words}: {used - FLAGS[command]}"


each = pytest.mark.parametrize("name", [path.stem for path in WORKFLOWS])


def test_there_are_three() -> None:
    assert [path.stem for path in WORKFLOWS] == ["release", "smoke", "tests"]


@each
def test_it_has_the_form_of_a_workflow(name: str) -> None:
    path = ROOT / ".github" / "workflows" / f"{name}.yml"
    command = [BIN / "check-jsonschema", "--builtin-schema", "vendor.github-workflows", path]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


@each
def test_what_it_runs_is_sound_and_takes_values_from_the_environment_only(name: str) -> None:
    for block in blocks(name):
        assert "${{" not in block, "a value that is pasted into a shell can be a command"
        command = [BIN / "shellcheck", "--shell=bash", "--severity=style", "-"]
        done = subprocess.run(command, input=block, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout
    for block in blocks(name, "python"):
        compile(block, name, "exec")


@each
def test_it_may_do_little_ends_in_time_and_pins_its_actions(name: str) -> None:
    workflow = content(name)
    assert workflow["permissions"] in ({"contents": "read"}, {"contents": "read", "id-token": "write"})
    assert workflow["concurrency"]
    assert all(job["timeout-minutes"] <= 120 for job in workflow["jobs"].values())
    assert all(re.fullmatch(r"[\w-]+/[\w-]+@v\d+", step["uses"]) for step in steps(name) if "uses" in step)


@each
def test_every_file_target_and_flag_that_it_names_exists(name: str) -> None:
    text = (ROOT / ".github" / "workflows" / f"{name}.yml").read_text()
    files = re.findall(r"(?<![\w/])(?:(?:pipelines|src|component|environment)/[\w/.]+|pyproject\.toml|\.ci/run)", text)
    assert files
    assert [file for file in files if not (ROOT / file).is_file()] == []
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert {words[1] for words in lines_of(name, "make")} <= targets
    for words in lines_of(name, "az"):
        check_az(words[1:])


@each
def test_the_variables_and_secrets_that_it_needs_are_told_at_its_top(name: str) -> None:
    text = (ROOT / ".github" / "workflows" / f"{name}.yml").read_text()
    head = text.partition("\nname:")[0]
    needed = set(re.findall(r"\b(?:secrets|vars)\.(\w+)", text))
    assert needed == set(re.findall(r"\bAZURE_\w+", head))


def test_tests_run_on_every_python_from_the_oldest_that_is_allowed() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    versions = content("tests")["jobs"]["test"]["strategy"]["matrix"]["python"]
    minors = [int(version.removeprefix("3.")) for version in versions]
    assert project["requires-python"] == f">={versions[0]}"
    assert minors == list(range(minors[0], minors[-1] + 1))


@pytest.mark.parametrize(("tag", "code"), [(f"v{__version__}", 0), (__version__, 1), ("v9.9.9", 1)])
def test_a_tag_that_is_not_the_packages_version_is_refused(tag: str, code: int) -> None:
    (block,) = [block for block in blocks("release") if "GITHUB_REF_NAME" in block]
    done = subprocess.run(
        ["bash", "-ec", block], cwd=ROOT, env=os.environ | {"GITHUB_REF_NAME": tag}, capture_output=True, text=True
    )
    assert done.returncode == code
    assert (f"tag v{__version__}" in done.stdout) == bool(code)


@pytest.mark.parametrize(("accuracy", "code"), [(0.97, 0), (0.5, 1), (float("nan"), 1)])
def test_a_demo_that_learns_too_little_is_a_failure(tmp_path: Path, accuracy: float, code: int) -> None:
    from designer_vision.inference.evaluation import Evaluation

    metrics = tmp_path / "results" / "named-outputs" / "evaluation_results" / "metrics.json"
    metrics.parent.mkdir(parents=True)
    evaluation = Evaluation((), np.zeros((0, 0)), {}, {"Overall accuracy": accuracy})
    metrics.write_text(json.dumps(evaluation.to_json()))
    (block,) = blocks("smoke", "python")
    variables = os.environ | {"LEAST_ACCURACY": content("smoke")["jobs"]["demo"]["env"]["LEAST_ACCURACY"]}
    assert subprocess.run([sys.executable, "-c", block], cwd=tmp_path, env=variables, capture_output=True).returncode == code


def test_what_the_demo_is_asked_for_is_in_its_pipeline(tmp_path: Path) -> None:
    from azure.ai.ml import load_job

    (create,), (download,) = (
        [words for words in lines_of("smoke", "az") if words[1:4] == ["ml", "job", verb]] for verb in ("create", "download")
    )
    file = ROOT / create[create.index("--file") + 1]
    place = create[create.index("--set") + 1].partition("=")[0]
    job = load_job(file, params_override=[{place: "Standard_D4s_v3"}, {"inputs.images.path": str(tmp_path)}])
    assert job._validate().passed
    assert job.jobs["train"].resources.instance_type == "Standard_D4s_v3"
    assert download[download.index("--output-name") + 1] in job.outputs
    assert create[create.index("--name") + 1] == download[download.index("--name") + 1] == "$JOB"


@pytest.fixture
def az(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file in which an imitated `az` writes its words, a list a line."""
    program = tmp_path / "bin" / "az"
    program.parent.mkdir()
    program.write_text(
        f"#!{sys.executable}\nimport json, os, sys\nprint(json.dumps(sys.argv[1:]), file=open({str(tmp_path / 'words')!r}, 'a'))\n"
        "sys.exit(os.environ.get('REFUSED', 'nothing') in ' '.join(sys.argv))\n"
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    return tmp_path / "words"


def register(*variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["make", "--no-print-directory", "register", *variables], cwd=ROOT, capture_output=True, text=True)


@pytest.mark.parametrize("registry", ["", "my-registry"])
def test_make_register_creates_both_environments_and_every_component_with_its_own(az: Path, registry: str) -> None:
    from azure.ai.ml import load_component

    done = register(*([f"REGISTRY={registry}"] if registry else []))
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in az.read_text().splitlines()]
    for words in lines:
        check_az(words)
        assert ("--registry-name" in words) == bool(registry)
    named = [words[words.index("--file") + 1] for words in lines]
    components = sorted(str(path.relative_to(ROOT)) for path in (ROOT / "component").glob("*.yaml"))
    assert named == ["environment/environment.yaml", "environment/environment_cpu.yaml", *components]
    assert len(components) == 13
    for file, words in zip(components, lines[2:], strict=True):
        component = yaml.safe_load((ROOT / file).read_text())
        environment = yaml.safe_load((ROOT / "component" / component["environment"].removeprefix("file:")).read_text())
        place = (
            f"azureml://registries/{registry}/environments/{{name}}/versions/{{version}}"
            if registry
            else "azureml:{name}:{version}"
        )
        override = words[words.index("--set") + 1]
        assert override == f"environment={place.format(**environment)}"
        loaded = load_component(ROOT / file, params_override=[dict([override.split("=", 1)])])
        assert loaded.environment == override.partition("=")[2].removeprefix("" if registry else "azureml:")
        assert loaded._validate().passed


def test_make_register_stops_at_what_azure_refuses(az: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REFUSED", "environment_cpu.yaml")
    assert register().returncode != 0
    assert len(az.read_text().splitlines()) == 2
