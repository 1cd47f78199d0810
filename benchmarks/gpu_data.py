"""What benchmarks/gpu.py trains on: each photo several times in an epoch, under as many names; and what MLflow was told of it."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

from designer_vision.runtime.files import hash_of_file

TIMES = (1, 2, 4, 8, 16, 32, 64)
TIMES_KEPT = 8
"""How often a photo is in an epoch whose decoded images are kept: 9 GB of them."""


def times_for(wanted: float) -> int:
    """How often each photo is in an epoch that should have it so often: a power of two. 0 is not known: as often as kept ones."""
    return next(times for times in TIMES if times >= (wanted or TIMES_KEPT) or times == TIMES[-1])


def photos_for(data: Path, times: int) -> Path:
    """The photos' class folders with each photo several times; made once."""
    target, scratch = data / f"photos_{times}", data / "unfinished"
    if not target.exists():
        shutil.rmtree(scratch, ignore_errors=True)
        for photo in (data / "photos").rglob("*.jpg"):
            for number in range(times):
                link(photo, scratch / photo.parent.name / f"{number}_{photo.name}")
        scratch.rename(target)
    return target


def training_for(data: Path, times: int) -> Path:
    """The ImageDirectory to train on with each of its rows several times; made once."""
    target = data / f"training_{times}"
    if not target.exists():
        source, scratch = data / "training", data / "unfinished"
        shutil.rmtree(scratch, ignore_errors=True)
        for path in (path for path in source.rglob("*") if path.is_file()):
            link(path, scratch / path.relative_to(source))
        rows = [json.loads(line) for line in (source / "images.lst").read_text().splitlines()]
        (scratch / "images.lst").unlink()
        with (scratch / "images.lst").open("w") as file:
            for number, row in enumerate(rows * times):
                file.write(json.dumps(row | {"id": number}) + "\n")
        before, after = (hash_of_file(folder / "images.lst") for folder in (source, scratch))
        manifest = (source / "_meta.yaml").read_text()
        (scratch / "_meta.yaml").unlink()
        (scratch / "_meta.yaml").write_text(manifest.replace(before, after))
        scratch.rename(target)
    return target


def link(source: Path, target: Path) -> None:
    """A second name of a file; a copy where the file system has none."""
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def waiting_in(database: Path, epochs: int) -> float | None:
    """The share of our training that went by waiting for images, of whole epochs after the first ones; None if there is none."""
    question = "select key, sum(value) from metrics where step > ? and key in (?, ?) group by key"
    names = "Seconds waiting for images", "Seconds computing"
    try:
        with closing(sqlite3.connect(database)) as connection:
            found = dict(connection.execute(question, (epochs, *names)).fetchall())
    except sqlite3.Error:  # ended while it was made
        return None
    return found[names[0]] / sum(found.values()) if len(found) == 2 else None
