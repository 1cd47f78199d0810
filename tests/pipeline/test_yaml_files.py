from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import ROOT

from designer_vision.pipeline.checks import check
from designer_vision.pipeline.graph import _load_by_azure, load_graph
from designer_vision.pipeline.yaml_files import MOST_BYTES, experiment_name, read_pipeline, read_yaml
from designer_vision.runtime.errors import PipelineError

COMMAND = "type: command\nname: work\nversion: 1\ncommand: echo\nenvironment: {image: python}\n"
PIPELINE = "type: pipeline\nsettings: {default_compute: serverless}\njobs:\n  first: {type: command, component: ./work.yaml}\n"
BOMB = "&a0 [x, x, x, x, x, x, x, x, x]\n" + "".join(f"bomb{n}: &a{n} [{', '.join(9 * [f'*a{n - 1}'])}]\n" for n in range(1, 10))
"""Nine levels of nine aliases: 3.5 billion texts to who follows them."""


def written(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


@pytest.fixture
def pipeline(tmp_path: Path) -> Path:
    written(tmp_path, "work.yaml", COMMAND)
    return written(tmp_path, "pipeline.yaml", PIPELINE)


def check_it(path: Path) -> object:
    return check(path, {})


def load_it(path: Path) -> object:
    return load_graph(path, {})


both = pytest.mark.parametrize("door", [check_it, load_it], ids=["check", "load_graph"])


@both
def test_a_plain_pipeline_passes(pipeline: Path, door: Callable[[Path], object]) -> None:
    door(pipeline)
    assert experiment_name(pipeline) == "pipeline"


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="measures memory in Linux's way")
@pytest.mark.parametrize("door", ["check(path, {})", "load_graph(path, {})"])
@pytest.mark.parametrize("name", ["pipeline.yaml", "work.yaml"])
def test_an_alias_bomb_is_refused_in_less_than_a_second_and_200_megabytes(pipeline: Path, name: str, door: str) -> None:
    file = pipeline.parent / name
    file.write_text(f"{file.read_text()}tags: {BOMB}")
    program = (
        "import json, sys, time; from pathlib import Path\n"
        "from designer_vision.runtime.errors import PipelineError\n"
        "from designer_vision.pipeline.checks import check; from designer_vision.pipeline.graph import load_graph\n"
        "path, begin = Path(sys.argv[1]), time.monotonic()\n"
        f"try: {door}\n"
        "except PipelineError as error: line = error.line()\n"
        "status = dict(line.split(':', 1) for line in Path('/proc/self/status').read_text().splitlines())\n"
        "print(json.dumps([line, time.monotonic() - begin, int(status['VmHWM'].split()[0]) / 1024]))"
    )
    done = subprocess.run([sys.executable, "-c", program, str(pipeline)], capture_output=True, text=True, timeout=60)
    line, seconds, megabytes = json.loads(done.stdout)
    assert re.search(rf"{name}: line \d+: an anchor or alias; write the value out", line)
    assert seconds < 1
    assert megabytes < 200  # of which the imports take some 80


@both
@pytest.mark.parametrize("name", ["pipeline.yaml", "work.yaml"])
@pytest.mark.parametrize(
    ("added", "message"),
    [
        ("type: command", r": line \d: the key 'type' is there already, in line 1; keep one"),
        ("tags: {a: 1, b: 2, 'a': 3}", r": line \d: the key 'a' is there already"),
        ("tags: {<<: {a: 1}}", r": line \d: the merge key '<<'; write the values out"),
        ("tags: &a {}", r": line \d: an anchor or alias; write the value out"),
        ("tags: !!python/object/apply:os.system [id]", r": line \d: the tag .*os\.system.*; only plain values are read"),
        ("tags: {on: 1}", r": line \d: the key 'on' is not text to YAML; put it in quotes"),
        ("tags: {[a]: 1}", r": line \d: the key .* is not text to YAML"),
        (f"tags: {'[' * 60}{']' * 60}", r": line \d: nested too deeply"),
        (f"tags: {{a: 0x{'f' * 5000}}}", r": line \d: a number of 5002 digits; put it in quotes if it is text"),
        ("tags: {a: 2026-99-99}", " is not readable YAML: month must be in 1..12"),
        ("---\ntags: {}", r": line \d: a second document"),
        ("tags: [", " is not readable YAML: .* line"),
        ("tags: \0", " has a zero byte"),
        ("#" + "x" * MOST_BYTES, " has more than 1,048,576 bytes"),
    ],
    ids=lambda value: value[:30],
)
def test_what_is_not_plain_is_refused_with_file_and_line(
    pipeline: Path, name: str, door: Callable[[Path], object], added: str, message: str
) -> None:
    file = pipeline.parent / name
    file.write_text(f"{file.read_text()}{added}\n")
    with pytest.raises(PipelineError, match=re.escape(str(file)) + message):
        door(pipeline)


@both
@pytest.mark.parametrize("encoding", ["utf-16", "latin-1"])
def test_another_encoding_is_refused_and_a_byte_order_mark_is_not(
    pipeline: Path, door: Callable[[Path], object], encoding: str
) -> None:
    file = pipeline.parent / "work.yaml"
    text = COMMAND + "description: grün\n"
    file.write_text(text, encoding="utf-8-sig")
    door(pipeline)
    file.write_text(text, encoding=encoding)
    with pytest.raises(PipelineError, match=r"work\.yaml is .*UTF-8"):
        door(pipeline)


def everything_that_names_a_file(folder: Path) -> Path:
    """A pipeline whose files name others in every way there is."""
    written(folder, "parts/plain.yaml", COMMAND.replace("{image: python}", "file:envs/env.yaml"))
    written(folder, "parts/envs/env.yaml", "name: env\nversion: 1\nimage: python\nconda_file: deeper/conda.yaml\n")
    written(folder, "parts/envs/deeper/conda.yaml", "name: conda\ndependencies: [python]\n")
    written(folder, "prefixed.yaml", COMMAND)
    written(folder, "inline_env.yaml", "name: env\nversion: 1\nimage: python\n")
    written(folder, "inline_conda.yaml", "name: conda\ndependencies: [python]\n")
    written(folder, "node_env.yaml", "name: env\nversion: 1\nimage: python\n")
    written(folder, "trial.yaml", COMMAND + "inputs: {rate: {type: number}}\n")
    return written(
        folder,
        "pipeline.yaml",
        """
type: pipeline
settings: {default_compute: serverless}
jobs:
  plain: {type: command, component: parts/plain.yaml}
  prefixed: {type: command, component: file:prefixed.yaml, environment: file:node_env.yaml}
  inline: {type: command, component: {type: command, command: echo, environment: file:inline_env.yaml}}
  command: {type: command, command: echo, environment: {name: e, image: python, conda_file: inline_conda.yaml}}
  sweep:
    type: sweep
    trial: ./trial.yaml
    sampling_algorithm: random
    search_space: {rate: {type: uniform, min_value: 1, max_value: 2}}
    objective: {goal: maximize, primary_metric: x}
    limits: {max_total_trials: 1}
""",
    )


_opened: set[Path] | None = None


def _hook(event: str, arguments: tuple[Any, ...]) -> None:
    if _opened is not None and event == "open" and isinstance(arguments[0], str):
        _opened.add(Path(arguments[0]).resolve())


sys.addaudithook(_hook)


@contextmanager
def files_opened(folder: Path) -> Iterator[set[str]]:
    """The names of the files in a folder that are opened meanwhile."""
    global _opened
    _opened, names = set(), set[str]()
    try:
        yield names
    finally:
        names |= {path.name for path in _opened if path.is_relative_to(folder.resolve())}
        _opened = None


def test_every_file_that_azures_client_opens_has_passed_the_gate(tmp_path: Path) -> None:
    path = everything_that_names_a_file(tmp_path)
    with files_opened(tmp_path) as gated:
        read_pipeline(path)
    with files_opened(tmp_path) as opened:
        _load_by_azure(path)
    assert gated == {file.name for file in tmp_path.rglob("*.yaml")}
    assert opened == gated


@both
@pytest.mark.parametrize(
    "name",
    [
        "plain.yaml",
        "env.yaml",
        "conda.yaml",
        "prefixed.yaml",
        "inline_env.yaml",
        "inline_conda.yaml",
        "node_env.yaml",
        "trial.yaml",
    ],
)
def test_the_gate_is_before_every_file_that_another_names(tmp_path: Path, name: str, door: Callable[[Path], object]) -> None:
    path = everything_that_names_a_file(tmp_path)
    (file,) = tmp_path.rglob(name)
    file.write_text(file.read_text() + "name: twice\n")
    with pytest.raises(PipelineError, match=rf"{name}: line \d+: the key 'name' is there already"):
        door(path)


@both
@pytest.mark.parametrize(
    "step",
    [
        "{type: pipeline, component: ./self.yaml}",
        "{component: file:self.yaml}",
        "self.yaml",
        "{type: pipeline, jobs: {}}",
        "{type: pipeline, component: {type: pipeline, jobs: {}}}",
    ],
)
def test_a_pipeline_in_a_pipeline_is_refused_before_the_client_follows_it(
    tmp_path: Path, step: str, door: Callable[[Path], object]
) -> None:
    written(tmp_path, "self.yaml", "type: pipeline\njobs: {a: {component: ./self.yaml}, b: {component: ./self.yaml}}\n")
    path = written(tmp_path, "pipeline.yaml", f"type: pipeline\njobs:\n  outer: {step}\n")
    with pytest.raises(PipelineError, match=r"(self\.yaml|step outer) is a pipeline itself, and only commands run here"):
        door(path)


@pytest.mark.parametrize(
    "text",
    ["yes", "No", "on", "y", "1e-3", "1.0e-3", "0.1", ".5", "010", "0o10", "0x10", "1_000", "12:30:45", "2026-11-25", "2026-11-25 10:00:00",
     ".inf", "~", "null", "=x", "${{parent.inputs.x}}", "'yes'", '"010"', "|-\n  a\n  b"],
)  # fmt: skip
def test_values_are_the_ones_that_azures_client_sees(tmp_path: Path, text: str) -> None:
    path = written(tmp_path, "values.yaml", f"a: {text}\n")
    assert repr(read_yaml(path)) == repr(yaml.safe_load(path.read_text()))


@pytest.mark.parametrize(
    "path", sorted(ROOT.glob("component/*.yaml")) + sorted(ROOT.glob("pipelines/**/*.yaml")), ids=lambda path: path.name
)
def test_our_own_files_pass_with_the_same_values(path: Path) -> None:
    assert read_yaml(path) == yaml.safe_load(path.read_text())


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(PipelineError, match="nowhere.yaml cannot be read: No such file"):
        read_pipeline(tmp_path / "nowhere.yaml")
    with pytest.raises(PipelineError, match=f"{tmp_path} cannot be read: Is a directory"):
        read_pipeline(tmp_path)
