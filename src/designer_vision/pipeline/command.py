"""A component's command line with its values, as Azure ML fills it in."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping

from designer_vision.runtime.errors import PipelineError

PLACE = re.compile(r"\$\{\{\s*(inputs|outputs)\.(\w+)\s*\}\}")
OPTIONAL = re.compile(r"\$\[\[(.*?)\]\]", re.DOTALL)


def fill(command: str, inputs: Mapping[str, str], outputs: Mapping[str, str]) -> str:
    """Put values in the places of `${{inputs.x}}` and `${{outputs.x}}`.

    A part in `$[[...]]` stays only if all of its inputs have a value. Texts go in as they are, so the command itself
    must quote those that can hold spaces, here as on Azure ML.

    Raises:
        PipelineError: a place outside `$[[...]]` has no value.
    """
    known = {"inputs": inputs, "outputs": outputs}

    def optional(match: re.Match[str]) -> str:
        return match[1] if all(name in known[kind] for kind, name in PLACE.findall(match[1])) else ""

    def place(match: re.Match[str]) -> str:
        kind, name = match.groups()
        if name not in known[kind]:
            raise PipelineError(f"the command needs {kind}.{name}, which has no value: {command}")
        return known[kind][name]

    return PLACE.sub(place, OPTIONAL.sub(optional, command))


def split(line: str) -> list[str]:
    """The words of a filled line by the shell's quoting rules, without a shell: nothing in it is executed.

    Raises:
        PipelineError: a quote is not closed.
    """
    try:
        return shlex.split(line)
    except ValueError as error:
        raise PipelineError(f"the command cannot be split into words ({error}): {line}") from error
