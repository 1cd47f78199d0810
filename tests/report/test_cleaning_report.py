from __future__ import annotations

from pathlib import Path

import numpy as np
from conftest import make_image_directory

from designer_vision.cleaning.findings import EXACT, SENTENCES, WRONG_LABEL, Finding
from designer_vision.cleaning.looks import MEASURES, Looks
from designer_vision.cleaning.pool import Pool
from designer_vision.formats.image_directory import read_image_directory
from designer_vision.report import cleaning_report
from designer_vision.report.cleaning_report import MOST_ALONE, MOST_GROUPS, MOST_IN_GROUP, write_cleaning_report, write_findings


def pool_of(folder: Path, per_class: int) -> Pool:
    return Pool(read_image_directory(make_image_directory(folder, per_class=per_class, size=(8, 8)), original_names=True))


def test_of_many_findings_some_are_shown_and_the_table_has_all(tmp_path: Path) -> None:
    pool = pool_of(tmp_path / "images", per_class=40)
    groups = [Finding(EXACT, row % 120, "the same pixels", group=1 + row // 8) for row in range(160)]
    alone = [Finding(WRONG_LABEL, row, "red 90 %, blue 1 %", suggested="red") for row in range(40)]
    looks = Looks(np.zeros(120, MEASURES), np.empty(0, np.uint8), {})
    (tmp_path / "out").mkdir()
    table = write_findings(tmp_path / "out", pool, looks, [*groups, *alone], {3: EXACT})
    write_cleaning_report(tmp_path / "out", pool, [*groups, *alone], {3: EXACT}, ["A note."], "leave_out")
    page = (tmp_path / "out/report.html").read_text()
    assert page.count("<figure>") == MOST_GROUPS * MOST_IN_GROUP + MOST_ALONE
    assert "120 images in 20 groups." in page
    assert "72 of 160 images are shown; all are in findings.csv." in page
    assert "24 of 40 images are shown; all are in findings.csv." in page
    assert all(kind in page for kind in SENTENCES)
    assert "A note." in page
    assert len(table.read_text().splitlines()) == 1 + 200
    assert sum(line.endswith(",yes") for line in table.read_text().splitlines()) == 3


def test_only_the_images_that_are_shown_are_read(tmp_path: Path, monkeypatch) -> None:
    pool, read = pool_of(tmp_path / "images", per_class=2), []
    monkeypatch.setattr(cleaning_report, "thumbnail", lambda content, path: read.append(path.name))
    write_cleaning_report(
        tmp_path, pool, [Finding(EXACT, 4, "stays", group=1), Finding(EXACT, 2, "", group=1)], {}, [], "report_only"
    )
    assert read == ["2_4.png", "1_2.png"]
    assert (tmp_path / "report.html").read_text().count("cannot be read") == 2
