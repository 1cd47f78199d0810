"""The pipeline file that is open: what is on disk, what was changed since, what is undone, and where its nodes stand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from designer_vision.designer.components import Components
from designer_vision.designer.drawing import Drawing, as_json, draw
from designer_vision.designer.edit_kinds import AnyEdit
from designer_vision.designer.edits import apply
from designer_vision.designer.problems import Problem, problems_of
from designer_vision.designer.yaml_text import YamlText, scalar
from designer_vision.pipeline.run_folder import read_record, write_record
from designer_vision.pipeline.yaml_files import MOST_BYTES
from designer_vision.runtime.console import printable
from designer_vision.runtime.description import shared_yaml
from designer_vision.runtime.errors import DesignerError, PipelineError

NEW = """\
$schema: https://azuremlschemas.azureedge.net/latest/pipelineJob.schema.json
type: pipeline
display_name: {title}
experiment_name: {stem}
settings:
  default_compute: serverless

jobs: {{}}
"""
"""What a file that does not exist yet begins with."""
FARTHEST = 1e6
"""Of a node's place, in pixels."""


class ConflictError(PipelineError):
    """Somebody else was faster: another page, or whoever wrote to the file."""


@dataclass(frozen=True)
class _Drawn:
    """What a text shows: its data, and a drawing with its problems, or why there is none."""

    data: Any
    drawing: Drawing | None
    problems: Sequence[Problem]
    error: str | None


class Document:
    """One pipeline file.

    Attributes:
        file: where it lies, or will lie.
        text: as the canvas shows it.
        revision: counts up with every change of the text.
    """

    def __init__(self, file: Path, components: Components) -> None:
        self.file, self._components = file, components
        self.revision = 0
        self._on_disk = _content(file)
        self.text = self._saved = _text(self._on_disk, file)
        self._undo: list[str] = []
        self._redo: list[str] = []
        self._moved: dict[str, tuple[float, float]] = {}
        self._drawn = self._draw_from_disk()

    # What it is

    @property
    def is_saved(self) -> bool:
        """Whether the file has this text."""
        return self._on_disk is not None and self.text == self._saved

    @property
    def has_changes(self) -> bool:
        """Whether something would be lost without saving; a new file that nobody has touched is nothing."""
        return self.text != self._saved

    def has_changed_on_disk(self) -> bool:
        """Whether somebody else wrote to the file, removed it, or closed it to us, since it was read or saved."""
        try:
            return _content(self.file) != self._on_disk
        except PipelineError:  # why is said where it is loaded again
            return True

    def graph(self, azure: Sequence[Problem], is_checking: bool) -> dict[str, Any]:
        """All that the page shows of it.

        Args:
            azure: what azure-ai-ml says of this text.
            is_checking: whether its answer is still awaited.
        """
        drawn = self._drawn
        return as_json(drawn.drawing or Drawing(self.file.stem, {}, {}, {})) | {
            "path": str(self.file),
            "exists": self._on_disk is not None,
            "revision": self.revision,
            "saved": self.is_saved,
            "can_undo": bool(self._undo),
            "can_redo": bool(self._redo),
            "changed_on_disk": self.has_changed_on_disk(),
            "error": drawn.error,
            "problems": [vars(problem) | {"text": printable(problem.text)} for problem in _each_once([*drawn.problems, *azure])],
            "checking": is_checking,
            "positions": self.positions(),
        }

    @property
    def drawing(self) -> Drawing:
        """What is drawn.

        Raises:
            PipelineError: it cannot be read as a pipeline.
        """
        if self._drawn.drawing is None:
            raise PipelineError(str(self._drawn.error))
        return self._drawn.drawing

    # Changes

    def edit(self, revision: int, edits: Sequence[AnyEdit]) -> None:
        """Make some changes, all or none; one step of undo.

        Raises:
            ConflictError: they were made to an older revision.
            DesignerError: one of them cannot be made.
        """
        if revision != self.revision:
            raise ConflictError("the pipeline changed in another window; look at it again")
        drawing, yaml = self.drawing, YamlText(self.text, self._drawn.data)
        for edit in edits:
            apply(edit, yaml, drawing, self.file, self._components.read_allowed)
            drawing = draw(yaml.data, self.file, self._components)
        if len(yaml.text.encode()) > MOST_BYTES:
            raise PipelineError(f"{self.file} would have more than {MOST_BYTES:,} bytes")
        if yaml.text != self.text:
            self._remember()
            self._show(yaml.text, self._with_problems(yaml.data, drawing))

    def undo(self) -> None:
        """Take the last change back."""
        if self._undo:
            self._redo.append(self.text)
            self._show(self._undo.pop())

    def redo(self) -> None:
        """Make the change again that was taken back last."""
        if self._redo:
            self._undo.append(self.text)
            self._show(self._redo.pop())

    def reload(self) -> None:
        """Take what is on disk; what was here is one undo away.

        Raises:
            DesignerError: it is no text.
        """
        content = _content(self.file)
        text = _text(content, self.file)
        self._on_disk, self._saved = content, text
        self._become(text)
        self._drawn = self._draw_from_disk()

    def save(self, overwrite: bool = False) -> None:
        """Write the text to the file, in one go.

        Args:
            overwrite: also where somebody else wrote to it meanwhile.

        Raises:
            ConflictError: somebody did.
            OSError: it cannot be written.
        """
        if not overwrite:
            self.refuse_changed()
        content = self.text.encode()
        scratch = self.file.with_name(f".{self.file.name}.tmp")
        self.file.parent.mkdir(parents=True, exist_ok=True)
        scratch.write_bytes(content)
        if self.file.exists():
            scratch.chmod(self.file.stat().st_mode)
        scratch.replace(self.file)
        self._on_disk, self._saved = content, self.text
        if self._moved:
            self.place(self._moved)

    def refuse_changed(self) -> None:
        """Refuse to go on where the file is not the one that is shown.

        Raises:
            ConflictError: somebody else wrote to it.
        """
        if self.has_changed_on_disk():
            raise ConflictError(f"{self.file} was changed by another program; load it again, or overwrite it")

    def look_again(self) -> bool:
        """Check anew what lies outside of the text: components and folders may have come, changed or gone.

        Returns:
            Whether something is new.
        """
        before = self._drawn
        if before.drawing is None:
            return False
        self._drawn = self._draw(before.data)
        return self._drawn != before

    def _become(self, text: str) -> None:
        if text != self.text:
            self._remember()
            self._show(text)

    def _remember(self) -> None:
        self._undo.append(self.text)
        self._redo.clear()

    def _show(self, text: str, drawn: _Drawn | None = None) -> None:
        """Show a text that came about by edits of one that was read from the disk; draw it, unless that is done."""
        self.text, self.revision = text, self.revision + 1
        if drawn:
            self._drawn = drawn
            return
        try:
            self._drawn = self._draw(YamlText(text).data)
        except yaml.YAMLError:  # what was on disk when it was loaded, and could not be read
            self._drawn = _Drawn(None, None, (), f"{self.file} is not readable YAML")

    def _draw_from_disk(self) -> _Drawn:
        """Draw what nobody has checked yet."""
        try:
            return self._draw(shared_yaml(self.text.encode(), self.file, PipelineError))
        except DesignerError as error:
            return _Drawn(None, None, (), error.message)

    def _draw(self, data: Any) -> _Drawn:
        try:
            drawing = draw(data, self.file, self._components)
        except DesignerError as error:
            return _Drawn(data, None, (), error.message)
        return self._with_problems(data, drawing)

    def _with_problems(self, data: Any, drawing: Drawing) -> _Drawn:
        return _Drawn(data, drawing, tuple(problems_of(drawing, self.file.parent)), None)

    # Where the nodes stand

    @property
    def _positions_file(self) -> Path:
        return self.file.with_name(f"{self.file.stem}.layout.json")

    def positions(self) -> dict[str, tuple[float, float]]:
        """The place of each node that somebody has moved."""
        if self._on_disk is None:
            return self._moved
        record = read_record(self._positions_file)
        return {name: (place[0], place[1]) for name, place in record.items() if _is_place(place) and name.isprintable()}

    def place(self, positions: Mapping[str, Any]) -> None:
        """Keep the places of nodes, beside the file; of a file that does not exist yet, until it is saved.

        Raises:
            PipelineError: they are no places.
        """
        if len(positions) > 10_000 or not all(len(name) < 1000 and _is_place(place) for name, place in positions.items()):
            raise PipelineError("expected two numbers for each node")
        if self._on_disk is None:
            self._moved = dict(positions)
            return
        write_record(self._positions_file, {name: [round(side) for side in place] for name, place in positions.items()})


def _is_place(place: Any) -> bool:
    return isinstance(place, (list, tuple)) and len(place) == 2 and all(
        isinstance(side, (int, float)) and abs(side) <= FARTHEST for side in place
    )  # fmt: skip


def _each_once(problems: Sequence[Problem]) -> list[Problem]:
    """Without what azure-ai-ml says of a port that something is said of already."""
    said = {(problem.step, problem.port) for problem in problems if problem.source == "designer"}
    return [problem for problem in problems if problem.source == "designer" or (problem.step, problem.port) not in said]


def _content(file: Path) -> bytes | None:
    """What a file holds; None where there is none.

    Raises:
        PipelineError: it cannot be read, or is too large.
    """
    try:
        with file.open("rb") as opened:
            content = opened.read(MOST_BYTES + 1)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise PipelineError(f"{file} cannot be read: {error.strerror}") from error
    if len(content) > MOST_BYTES:
        raise PipelineError(f"{file} has more than {MOST_BYTES:,} bytes; is it the YAML that you mean?")
    return content


def _text(content: bytes | None, file: Path) -> str:
    """The text of a file, with its line ends; that of an empty pipeline where there is none."""
    if content is None:
        return NEW.format(title=scalar(file.stem.replace("_", " ").capitalize()), stem=scalar(file.stem))
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        raise PipelineError(f"{file} is not UTF-8 text; save it as UTF-8") from error
