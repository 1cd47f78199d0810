"""What Clean Image Directory leaves to look at: the photos of each kind side by side, and a table of all."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import groupby
from pathlib import Path

from designer_vision.cleaning.actions import Action, leaving
from designer_vision.cleaning.findings import SENTENCES, Finding
from designer_vision.cleaning.looks import Looks
from designer_vision.cleaning.pool import Pool, ReadRow
from designer_vision.report.files import write_csv, write_report
from designer_vision.report.page import Page, Section
from designer_vision.report.photos import Card, thumbnail
from designer_vision.runtime.console import numbered

FINDINGS = "findings.csv"
HEADER = ("kind", "group", "image", "folder", "label", "suggested_label", "width", "height", "detail", "left_out")
MOST_GROUPS, MOST_IN_GROUP = 12, 6
MOST_ALONE = 24
"""Photos of a kind that are shown; the table has all."""
NO_LABEL = "no label"


def write_findings(folder: Path, pool: Pool, looks: Looks, findings: Sequence[Finding], left: Mapping[int, str]) -> Path:
    """Write `findings.csv`: a row for each image of each kind."""

    def row(finding: Finding) -> tuple[object, ...]:
        height, width = looks.measures[finding.row]["size"]
        return (
            finding.kind,
            finding.group or "",
            pool.name(finding.row),
            "input_image_directory" if finding.row < pool.own else "image_directory_to_compare",
            pool.label(finding.row) or "",
            finding.suggested,
            int(width) or "",
            int(height) or "",
            finding.detail,
            "yes" if finding.row in left else "no",
        )

    return write_csv(folder / FINDINGS, HEADER, map(row, findings))


def write_cleaning_report(
    folder: Path, pool: Pool, findings: Sequence[Finding], left: Mapping[int, str], notes: Sequence[str], action: Action
) -> list[Path]:
    """Write `report.html` and `summary.md`.

    Args:
        folder: the output.
        pool: the images.
        findings: by kind and group.
        left: the rows that are left out.
        notes: what was not looked for, or is to be known.
        action: what was to be left out.

    Returns:
        The files.
    """
    by_kind = {kind: list(found) for kind, found in groupby(findings, key=lambda finding: finding.kind)}
    shown = {kind: _shown(found) for kind, found in by_kind.items()}
    rows = [finding.row for some in shown.values() for finding in some]
    with pool.reading(rows) as read:
        sections = [
            _section(pool, found, [(finding, _card(pool, read, finding, left)) for finding in shown[kind]])
            for kind, found in by_kind.items()
        ]
    if not findings:
        sections = [Section("Nothing found", "No duplicates, no odd pictures, and no label that is likely to be wrong.")]
    others = f", compared with {numbered(len(pool) - pool.own, 'image')}" if pool.others else ""
    tiles = [("images", f"{pool.own:,}"), ("with a finding", f"{len({f.row for f in findings if f.row < pool.own}):,}")]
    tiles.append(
        ("left out", f"{len(left):,}")
        if action != "report_only"
        else ("could be left out", f"{len(leaving(findings, 'leave_out')):,}")
    )
    page = Page(
        "Cleaning",
        f"{numbered(pool.own, 'image')} of {len(pool.images.classes):,} classes{others}",
        tiles,
        notes,
        sections=[*sections, _rules(by_kind)],
    )
    return write_report(folder, page, {}, folder)


def _count(pool: Pool, found: Sequence[Finding]) -> str:
    groups, images = {finding.group for finding in found} - {0}, {finding.row for finding in found if finding.row < pool.own}
    return numbered(len(images), "image") + (f" in {numbered(len(groups), 'group')}." if groups else ".")


def _shown(found: Sequence[Finding]) -> list[Finding]:
    """What of a kind is shown: the first images of the first groups, or the first images."""
    if not found[0].group:
        return list(found[:MOST_ALONE])
    groups = [list(group)[:MOST_IN_GROUP] for _, group in groupby(found, key=lambda finding: finding.group)]
    return [finding for group in groups[:MOST_GROUPS] for finding in group]


def _section(pool: Pool, found: Sequence[Finding], shown: Sequence[tuple[Finding, Card]]) -> Section:
    kind = found[0].kind
    grouped = groupby(shown, key=lambda pair: pair[0].group)
    groups = [[card for _, card in pairs] for number, pairs in grouped if number]
    return Section(
        kind[0].upper() + kind[1:],
        f"{_count(pool, found)} {SENTENCES[kind]}",
        groups=groups,
        cards=[] if groups else [card for _, card in shown],
        note=f"{len(shown)} of {len(found):,} images are shown; all are in {FINDINGS}." if len(shown) < len(found) else "",
    )


def _card(pool: Pool, read: ReadRow, finding: Finding, left: Mapping[int, str]) -> Card:
    row = finding.row
    photo = thumbnail(lambda: read(row), pool.path(row))
    lines = (finding.detail,) if finding.detail else ()
    return Card(pool.name(row), photo, pool.label(row) or NO_LABEL, lines, "left out" if row in left else "")


def _rules(by_kind: Mapping[str, Sequence[Finding]]) -> Section:
    counts = Counter({kind: len(found) for kind, found in by_kind.items()})
    rows = [(kind, sentence, f"{counts[kind]:,}") for kind, sentence in SENTENCES.items()]
    return Section("All that is looked for", header=("kind", "what it is", "images"), rows=rows, texts=2)
