"""What a finished run has for people: its figure, its tables and its pages."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from designer_vision.pipeline.graph import Step
from designer_vision.pipeline.run_folder import read_record
from designer_vision.pipeline.runner import Runner
from designer_vision.pipeline.sweep_page import PAGE

REPORT, SCORES = "report.html", "scores.csv"


def result_line(steps: Sequence[Step], runner: Runner) -> str | None:
    """`top-1 98.3 %` where a step left an evaluation's metrics.json."""
    for step in reversed(steps):
        for port in step.outputs:
            path = runner.output(step.name, port) / "metrics.json"
            metrics = read_record(path).get("metrics")
            if isinstance(metrics, dict) and isinstance(metrics.get("Overall accuracy"), float):
                return f"top-1 {100 * metrics['Overall accuracy']:.1f} %"
    return None


def tables(steps: Sequence[Step], runner: Runner) -> list[Path]:
    """The tables of scored images, in the order of the steps that wrote them."""
    found = [runner.output(step.name, port) / SCORES for step in steps for port in step.outputs]
    return [table for table in found if table.is_file()]


def reports(steps: Sequence[Step], runner: Runner) -> list[Path]:
    """The pages that steps have written for people, in their order."""
    pages = []
    for step in steps:
        pages += [runner.folder / step.name / PAGE] if step.sweep else []
        pages += [runner.output(step.name, port) / REPORT for port in step.outputs]
    return [page for page in pages if page.is_file()]
