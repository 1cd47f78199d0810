"""The YAML files of a pipeline, which all pass one gate before azure-ai-ml opens them.

Its client takes aliases that grow to gigabytes, and the last of two equal keys, without a word.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from designer_vision.runtime.description import shared_yaml
from designer_vision.runtime.errors import PipelineError

MOST_BYTES = 2**20
"""Of one file; a pipeline of five thousand steps fits."""
NAMES_A_FILE = {"component", "trial", "environment", "conda_file"}
"""Keys whose text may be the path of a YAML file, with or without `file:`; so may be each entry of `jobs`."""


def read_pipeline(path: Path) -> Any:
    """The content of a pipeline's YAML, sure to be a mapping of a pipeline with jobs; all files that it names are checked too.

    Raises:
        PipelineError: one of the files is not plain YAML, or a step is a pipeline itself.
    """
    raw = read_yaml(path)
    if not isinstance(raw, dict) or raw.get("type") != "pipeline" or not isinstance(raw.get("jobs"), dict):
        raise PipelineError(f"{path} is not a pipeline; expected `type: pipeline` and `jobs`")
    checked, waiting = {path.resolve()}, [(raw, path)]
    while waiting:
        content, source = waiting.pop()
        for file in _named_files(content, source):
            if (resolved := file.resolve()) not in checked:
                checked.add(resolved)
                waiting.append((_refuse_pipeline(read_yaml(file), file), file))
    return raw


def experiment_name(path: Path) -> str:
    """The experiment of a pipeline YAML, for MLflow; the file's stem where it names none."""
    return str(read_pipeline(path).get("experiment_name") or path.stem)


def read_yaml(path: Path) -> Any:
    """The content of a YAML file, as azure-ai-ml will see it.

    Raises:
        PipelineError: it cannot be read, is too large or not plain YAML.
    """
    try:
        with path.open("rb") as file:
            content = file.read(MOST_BYTES + 1)
    except OSError as error:
        raise PipelineError(f"{path} cannot be read: {error.strerror}") from error
    if len(content) > MOST_BYTES:
        raise PipelineError(f"{path} has more than {MOST_BYTES:,} bytes; is it the YAML that you mean?")
    return shared_yaml(content, path, PipelineError)


def local_file(written: Any, folder: Path) -> Path | None:
    """The file that a text names, as azure-ai-ml resolves it; None where it names none of this machine."""
    if not isinstance(written, str):
        return None
    file = folder / written.removeprefix("file:")
    return file if os.path.isfile(file) else None  # noqa: PTH113 (Path.is_file raises at names that no file can have)


def _named_files(content: Any, source: Path) -> Iterator[Path]:
    """The YAML files that the content of one names."""
    for key, inside, part in _parts(content):
        if key in NAMES_A_FILE or inside == "jobs":
            _refuse_pipeline(part, f"{source}: step {inside if key in NAMES_A_FILE else key}")
            if (file := local_file(part, source.parent)) is not None:
                yield file


def _parts(content: Any, key: str = "", inside: str = "") -> Iterator[tuple[str, str, Any]]:
    """Everything in a YAML's content, with its key and that of the mapping which it is in."""
    yield key, inside, content
    if isinstance(content, dict):
        for name, part in content.items():
            yield from _parts(part, name, key)
    elif isinstance(content, list):
        for part in content:
            yield from _parts(part, key, inside)


def _refuse_pipeline(content: Any, place: object) -> Any:
    """The content, unless it is a pipeline: ten files that each name the next ten times are more steps than a client can load."""
    if isinstance(content, dict) and str(content.get("type")).lower() == "pipeline":
        raise PipelineError(f"{place} is a pipeline itself, and only commands run here; write its steps into the outer pipeline")
    return content
