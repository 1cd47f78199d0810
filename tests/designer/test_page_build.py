"""The built page is what its sources build: nobody who uses it needs Node, and nobody can forget to build it."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from conftest import ROOT

SOURCES, BUILT = ROOT / "page", ROOT / "src" / "designer_vision" / "designer" / "page"
FIRST_LOAD = 600_000
"""Bytes, compressed, that the browser is sent at first."""


def files_of(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def npm(*arguments: str, folder: Path) -> None:
    subprocess.run(["npm", *arguments], cwd=folder, check=True, capture_output=True, timeout=300)


@pytest.mark.skipif(shutil.which("npm") is None, reason="no npm to build the page with")
def test_the_built_page_is_what_its_sources_build(tmp_path: Path) -> None:
    copy = tmp_path / "page"
    shutil.copytree(SOURCES, copy, ignore=shutil.ignore_patterns("node_modules"))
    npm("ci", "--prefer-offline", folder=copy)
    npm("run", "check", folder=copy)
    npm("run", "build", folder=copy)
    built = files_of(tmp_path / "src" / "designer_vision" / "designer" / "page")
    assert built.keys() == files_of(BUILT).keys()
    assert [name for name, content in files_of(BUILT).items() if content != built[name]] == []


def test_the_page_holds_no_source_maps_and_nothing_inline() -> None:
    index = (BUILT / "index.html").read_text()
    assert "<style" not in index
    assert "<script>" not in index
    assert [name for name in files_of(BUILT) if name.endswith(".map")] == []


def test_the_page_is_small() -> None:
    import gzip

    sent = [content for name, content in files_of(BUILT).items() if name != "licenses.md"]
    assert sum(len(gzip.compress(content)) for content in sent) < FIRST_LOAD


def test_the_lock_names_no_registry() -> None:
    assert '"resolved"' not in (SOURCES / "package-lock.json").read_text()
