"""The files of a report: the page, its pictures one by one, the table of classes and the summary."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from designer_vision.console import say
from designer_vision.report.page import Page, render, to_markdown

PAGE, SUMMARY = "report.html", "summary.md"


def write_report(folder: Path, page: Page, pictures: Mapping[str, bytes], beside: Path) -> list[Path]:
    """Write the page into an output folder, and its summary and pictures into `beside`, one of it or below it.

    Returns:
        The files, for MLflow.
    """
    contents = {folder / PAGE: render(page).encode(), beside / SUMMARY: to_markdown(page).encode()}
    contents |= {beside / name: picture for name, picture in pictures.items()}
    for path, content in contents.items():
        path.write_bytes(content)
    return list(contents)


@contextmanager
def best_effort(what: str) -> Iterator[None]:
    """A picture that cannot be drawn is said and ends nothing: the work that it would show is done, and counts."""
    try:
        yield
    except Exception as error:  # noqa: BLE001 (matplotlib, Pillow and disks fail in their own ways)
        say(f"warning: {what} could not be made: {type(error).__name__}: {' '.join(str(error).split())[:200]}")


def write_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence[object]]) -> Path:
    """Write a table; figures stand in it as they are."""
    with path.open("w", newline="", encoding="utf-8", errors="backslashreplace") as file:  # a file's name can be any bytes
        writer = csv.writer(file)
        writer.writerow(header)
        writer.writerows(rows)
    return path
