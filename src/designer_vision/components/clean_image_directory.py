"""Clean Image Directory: duplicates, leaks, wrong labels and odd pictures, shown and, where asked, left out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from designer_vision.cleaning.actions import Action, leaving
from designer_vision.cleaning.findings import SENTENCES, Finding, find, find_wrong
from designer_vision.cleaning.looks import looked_at
from designer_vision.cleaning.pool import Pool
from designer_vision.formats.data_frame_directory import read_data_frame_directory
from designer_vision.formats.image_directory import ImageDirectoryWriter, copy, read_image_directory, tell_reading
from designer_vision.formats.image_index import NO_LABEL, ImageIndex
from designer_vision.formats.left_out import LeftOut, count, in_words
from designer_vision.formats.manifest import publishing
from designer_vision.inference.evaluation import find_scored
from designer_vision.report.cleaning_report import FINDINGS, write_cleaning_report, write_findings
from designer_vision.report.files import PAGE
from designer_vision.runtime.console import best_effort, numbered, say
from designer_vision.runtime.errors import InvalidDatasetError, NotLabeledDatasetError
from designer_vision.runtime.progress import Progress

MOST_NAMED = 5


def main(
    input_image_directory: Path,
    image_directory_to_compare: Path | None,
    scored_dataset: Path | None,
    action: Action,
    output_image_directory: Path,
    cleaning_report: Path,
) -> None:
    """Look at all images, write `findings.csv` and `report.html`, and pass on the images that stay.

    Args:
        input_image_directory: the images to clean.
        image_directory_to_compare: others, such as the test set, that must not be among them.
        scored_dataset: what a network says of the images that has not been trained on them.
        action: what is left out.
        output_image_directory: the images that stay.
        cleaning_report: the findings.

    Raises:
        InvalidDatasetError: a folder is no such dataset, the scored set is of other images, or no image would stay.
        NotLabeledDatasetError: the scored set has no labels.
    """
    index = read_image_directory(input_image_directory, original_names=True)
    tell_reading(index)
    others = _read_others(input_image_directory, image_directory_to_compare)
    wrong, notes = _wrong_labels(index, scored_dataset)
    pool = Pool(index, others)
    progress = Progress(len(pool))
    with looked_at(pool, progress.step) as looks, publishing(cleaning_report):
        speed = progress.images_per_second()
        findings = find(pool, looks, wrong)
        left = leaving(findings, action)
        notes += _emptied(index, left)
        write_findings(cleaning_report, pool, looks, findings, left)
        with best_effort(PAGE):
            write_cleaning_report(cleaning_report, pool, findings, left, notes, action)
    _tell(findings, pool, left, notes, cleaning_report)
    _write_images(index, left, output_image_directory)
    say(f"{len(index) - len(left)} of {len(index)} images passed on; {len(pool)} images looked at, {speed:.1f} images/s")


def _read_others(input_image_directory: Path, image_directory_to_compare: Path | None) -> ImageIndex | None:
    if image_directory_to_compare is None:
        return None
    if image_directory_to_compare.resolve() == input_image_directory.resolve():
        raise InvalidDatasetError(
            f"{image_directory_to_compare} is compared with itself; connect another folder to image_directory_to_compare, "
            "or none: duplicates within the images are found without"
        )
    others = read_image_directory(image_directory_to_compare, original_names=True)
    tell_reading(others)
    return others


def _wrong_labels(index: ImageIndex, scored_dataset: Path | None) -> tuple[list[Finding], list[str]]:
    """The labels that are likely wrong, and what is to be known about that."""
    if scored_dataset is None:
        return [], ["Wrong labels were not looked for: that takes a scored_dataset of these images."]
    scored = read_data_frame_directory(scored_dataset)
    if not index.is_labeled:
        return [], ["Wrong labels were not looked for: the images have no labels."]
    if scored.categories is None:
        raise NotLabeledDatasetError(f"{scored_dataset} has no true labels; score the labelled images to find wrong labels")
    rows = find_scored(index, scored.ids, scored.categories, scored.names)
    found, looked_for = find_wrong(scored, rows)
    if looked_for == len(index):
        return found, []
    return found, [
        f"Wrong labels were looked for in {looked_for:,} of {numbered(len(index), 'image')}: those that were scored and have "
        "a label that the network knows."
    ]


def _emptied(index: ImageIndex, left: Mapping[int, str]) -> list[str]:
    """A sentence about classes of which no image stays."""
    before = np.bincount(index.labels[index.labels != NO_LABEL], minlength=len(index.classes))
    gone = index.labels[list(left)]
    after = before - np.bincount(gone[gone != NO_LABEL], minlength=len(index.classes))
    names = [index.classes[number] for number in np.flatnonzero((before > 0) & (after == 0))]
    if not names:
        return []
    more = f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
    return [f"No image stays of {', '.join(map(repr, names[:MOST_NAMED]))}{more}."]


def _tell(findings: Sequence[Finding], pool: Pool, left: Mapping[int, str], notes: Sequence[str], report: Path) -> None:
    """Say what was found, by kind, and what became of it."""
    rows = {kind: {finding.row for finding in findings if finding.kind == kind and finding.row < pool.own} for kind in SENTENCES}
    for kind, found in rows.items():
        if found:
            kept = Counter(row in left for row in found)
            fate = f", {kept[True]:,} left out" if kept[True] else ""
            say(f"{kind}: {numbered(len(found), 'image')}{fate}")
    if not findings:
        say("nothing was found")
    for note in notes:
        say(note)
    say(f"findings: {report / PAGE}, {report / FINDINGS}")


def _write_images(index: ImageIndex, left: Mapping[int, str], output: Path) -> None:
    """Write the images that stay, in their order, with all that is recorded of them.

    Raises:
        InvalidDatasetError: there is none, or one cannot be read.
    """
    staying = [row for row in range(len(index)) if row not in left]
    if not staying:
        raise InvalidDatasetError(
            f"{index.folder} would have no image left: {in_words(_recorded(index, left, {}))}; look at the report, or choose "
            "the action report_only"
        )
    left_out = _recorded(index, left, index.left_out)
    with ImageDirectoryWriter(
        output,
        [*index.classes, *index.unused_classes],
        transformation=index.transformation,
        random_operations=index.random_operations,
        weighting=index.weighting,
        left_out=left_out,
    ) as writer:
        copy(index, staying, writer, Progress(len(staying)).step)


def _recorded(index: ImageIndex, left: Mapping[int, str], before: LeftOut) -> LeftOut:
    """What is left out by kind and folder, beside what was before."""
    left_out = {kind: dict(folders) for kind, folders in before.items()}
    for row, kind in left.items():
        count(left_out, kind, index.name(row))
    return left_out
