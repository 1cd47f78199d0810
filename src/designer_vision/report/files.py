"""The files of a report: the page, its pictures one by one, the table of classes and the summary."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from designer_vision.report.page import Page, render, to_markdown
from designer_vision.runtime.console import cell

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


def write_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence[object]]) -> Path:
    """Write a table; figures stand in it as they are."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        for row in (header, *rows):
            writer.writerow([cell(value) if isinstance(value, str) else value for value in row])
    return path
