"""What a run has written, to be looked at beside the canvas: folders in words, images as thumbnails, logs as they grow."""

from __future__ import annotations

import io
import re
from collections import OrderedDict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from designer_vision.formats.manifest import MANIFEST
from designer_vision.pipeline.results import REPORT
from designer_vision.pipeline.run_folder import read_record
from designer_vision.pipeline.sweep_page import PAGE
from designer_vision.runtime.console import printable
from designer_vision.runtime.errors import DesignerError, PipelineError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from designer_vision.formats.image_index import ImageIndex

NAME = re.compile(r"\w[\w.-]{0,199}", re.ASCII)
"""Of a step, a port or a log."""
MOST_IMAGES, MOST_LOG_BYTES, MOST_LABELS, MOST_LINES = 500, 2**18, 5000, 200
MOST_INDEXES = 4
"""Sets of images that are kept in memory; an index of 50,000 takes some 5 MB."""
SIDES = (32, 512)
"""Least and most pixels of a thumbnail."""


class Outputs:
    """The outputs and logs of the run in a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._indexes: OrderedDict[Path, tuple[int, ImageIndex]] = OrderedDict()

    def describe(self, step: str, port: str) -> dict[str, Any]:
        """What an output holds: a title, some lines, whether there is a report, and how many images of each class.

        Raises:
            PipelineError: no such output, or what is there cannot be shown.
        """
        folder = self.folder(step, port)
        nothing: dict[str, Any] = {"exists": False, "title": port, "lines": [], "report": False, "images": None}
        if not folder.is_dir() or not any(folder.iterdir()):
            return nothing
        found = nothing | {"exists": True, "report": (folder / REPORT).is_file()}
        if _is_images(folder):
            return found | self._images(folder)
        return found | {"lines": [printable(line)[:1000] for line in _lines(folder)[:MOST_LINES]]}

    def images(self, step: str, port: str, label: str, start: int, count: int) -> dict[str, Any]:
        """Some images of an output, in its order.

        Args:
            step, port: of the output.
            label: only images of this class; empty for all.
            start: how many to pass over.
            count: how many at most.
        """
        index = self._index(self.folder(step, port))
        rows = _rows_of(index, label)
        some = rows[max(start, 0) : max(start, 0) + min(max(count, 0), MOST_IMAGES)]
        images = [{"row": int(row), "name": printable(index.name(int(row))), "label": _label(index, int(row))} for row in some]
        return {"total": len(rows), "images": images}

    def thumbnail(self, step: str, port: str, row: int, side: int) -> bytes:
        """A JPEG of an image, no side longer than `side`.

        Raises:
            DesignerError: there is no such image, or it cannot be read.
        """
        from PIL import Image

        from designer_vision.data.images import decode_to_resize

        index = self._index(self.folder(step, port))
        if not 0 <= row < len(index):
            raise PipelineError(f"there is no image {row}; there are {len(index):,}")
        most = min(max(side, SIDES[0]), SIDES[1])
        pixels, _ = decode_to_resize(index.read(row), index.path(row), lambda size: _fitting(size, most))
        photo = Image.fromarray(pixels)
        photo.thumbnail((most, most))
        buffer = io.BytesIO()
        photo.save(buffer, "JPEG", quality=85)
        return buffer.getvalue()

    def report(self, step: str, port: str) -> Path:
        """The page that a step left.

        Raises:
            PipelineError: it left none.
        """
        page = _inside(self.folder(step, port), REPORT)
        if not page.is_file():
            raise PipelineError(f"{step} has left no {REPORT} in {port}")
        return page

    def sweep(self, step: str) -> Path:
        """The page of a sweep's trials.

        Raises:
            PipelineError: there is none.
        """
        page = _inside(self._folder, _checked(step), PAGE)
        if not page.is_file():
            raise PipelineError(f"{step} has left no {PAGE}")
        return page

    def logs(self, step: str) -> list[str]:
        """The names of a step's logs; those of a sweep's trials with `trial_N/` before them, the latest first."""
        folder = _inside(self._folder, _checked(step))
        trials = sorted(folder.glob("trial_*"), key=lambda trial: (len(trial.name), trial.name), reverse=True)
        found = [(trial, file) for trial in (None, *trials) for file in _logs_in(trial or folder)]
        return [f"{trial.name}/{file.name}" if trial else file.name for trial, file in found]

    def log(self, step: str, name: str, start: int) -> dict[str, Any]:
        """A part of a log.

        Args:
            step, name: of the log, as `logs` has it.
            start: bytes to pass over; negative, how many before the end to begin.

        Returns:
            The text, at most MOST_LOG_BYTES of it, and where the next part begins.
        """
        trial, _, own = name.rpartition("/")
        folder = _inside(self._folder, _checked(step), *([_checked(trial)] if trial else []), "user_logs")
        file = _inside(folder, _checked(own))
        if file.exists() and not file.is_file():  # a pipe would have us wait
            raise PipelineError(f"{file} is no file")
        try:
            with file.open("rb") as opened:
                size = opened.seek(0, 2)
                begin = min(start, size) if start >= 0 else max(size + start, 0)
                opened.seek(begin)
                content = opened.read(MOST_LOG_BYTES)
        except FileNotFoundError:
            return {"text": "", "next": 0}
        whole = content[: content.rfind(b"\n") + 1] or content  # not through the middle of a letter
        return {"text": whole.decode(errors="replace"), "next": begin + len(whole)}

    def folder(self, step: str, port: str) -> Path:
        """The folder of an output.

        Raises:
            PipelineError: it is not in the run's folder.
        """
        return _inside(self._folder, _checked(step), "outputs", _checked(port))

    def _images(self, folder: Path) -> dict[str, Any]:
        import numpy as np

        index = self._index(folder)
        counts = np.bincount(index.labels[index.labels >= 0], minlength=len(index.classes))
        labels = [{"label": name, "count": int(count)} for name, count in zip(index.classes, counts, strict=True)]
        lines = [f"{len(index):,} images" + (f" of {len(index.classes):,} classes" if index.is_labeled else ", not labelled")]
        if index.transformation:
            lines.append(f"been through {', '.join(name for name, _ in index.transformation)}")
        if index.random_operations:
            lines.append(f"in training also {', '.join(name for name, _ in index.random_operations)}, redrawn every epoch")
        if index.weighting != "none":
            lines.append(f"weighting {index.weighting}")
        return {"title": "ImageDirectory", "lines": lines, "images": {"total": len(index), "labels": labels[:MOST_LABELS]}}

    def _index(self, folder: Path) -> ImageIndex:
        """The images of a folder, read once for as long as its manifest stays."""
        from designer_vision.formats.image_directory import read_image_directory

        if not _is_images(folder):
            raise PipelineError(f"{folder} holds no images")
        changed = (folder / MANIFEST).stat().st_mtime_ns
        known = self._indexes.get(folder)
        if known is None or known[0] != changed:
            known = self._indexes[folder] = (changed, read_image_directory(folder, original_names=True))
        self._indexes.move_to_end(folder)
        while len(self._indexes) > MOST_INDEXES:
            self._indexes.popitem(last=False)
        return known[1]


def _is_images(folder: Path) -> bool:
    try:
        with (folder / MANIFEST).open(encoding="utf-8", errors="replace") as file:
            return file.readline(200).removeprefix("type:").strip() == "ImageDirectory"
    except OSError:
        return False


def _lines(folder: Path) -> list[str]:
    """What an output that holds no images is, in words."""
    from designer_vision.pipeline.show import describe
    from designer_vision.report.summary import summarize

    metrics = read_record(folder / "metrics.json").get("metrics")
    if isinstance(metrics, dict):
        return [f"{name}: {value:.4g}" if isinstance(value, float) else f"{name}: {value}" for name, value in metrics.items()]
    if not (folder / MANIFEST).exists():
        return [f"{file.name}, {file.stat().st_size:,} bytes" for file in sorted(folder.iterdir()) if file.is_file()]
    try:
        return [f"{heading}: {text}" for heading, text in describe(summarize(folder))]
    except DesignerError as error:
        return [error.message]


def _rows_of(index: ImageIndex, label: str) -> npt.NDArray[np.integer[Any]]:
    import numpy as np

    if not label:
        return np.arange(len(index))
    if label not in index.classes:
        return np.arange(0)
    return np.flatnonzero(index.labels == index.classes.index(label))


def _label(index: ImageIndex, row: int) -> str:
    label = int(index.labels[row])
    return printable(index.classes[label]) if label >= 0 else ""


def _fitting(size: tuple[int, int], most: int) -> tuple[int, int]:
    scale = min(1.0, most / max(size))
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def _logs_in(folder: Path) -> list[Path]:
    """The logs of a step or of a trial, without what links lead to."""
    logs = folder / "user_logs"
    if folder.is_symlink() or logs.is_symlink():
        return []
    return [file for file in sorted(logs.glob("*.txt")) if NAME.fullmatch(file.name) and file.is_file() and not file.is_symlink()]


def _checked(name: str) -> str:
    if not NAME.fullmatch(name):
        raise PipelineError(f"{name[:100]!r} is no name of a step, an output or a log")
    return name


def _inside(folder: Path, *names: str) -> Path:
    """A path below a folder, on which no link leads away.

    Raises:
        PipelineError: one does.
    """
    path = folder.joinpath(*names)
    try:
        is_inside = path.resolve() == folder.resolve().joinpath(*names)
    except RuntimeError:  # links in a circle
        is_inside = False
    if not is_inside:
        raise PipelineError(f"{path} leads away from {folder}")
    return path
