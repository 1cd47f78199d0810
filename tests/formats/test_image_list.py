from __future__ import annotations

import json
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from designer_vision.formats import image_list
from designer_vision.formats.image_index import ImageIndex, index_rows
from designer_vision.formats.image_list import read_image_list
from designer_vision.formats.manifest import Extension
from designer_vision.runtime.errors import InvalidDatasetError

NAME = "images.lst"
texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0/\\."), min_size=1, max_size=8)
sides = st.none() | st.integers(-5, 2**31 - 1)
infos = st.fixed_dictionaries(
    {"file_name": texts},
    optional={
        "base_file_name": st.none() | texts,
        "width": sides,
        "height": sides,
        "content_hash": st.none() | st.just("") | st.just("no hash") | st.binary(min_size=16, max_size=16).map(bytes.hex),
        "original_file_name": st.none() | texts,
        "coco_url": texts,
    },
)
rows = st.fixed_dictionaries(
    {"image_info": infos},
    optional={
        "category": st.none() | st.sampled_from(["", " ", "dog", "cat", "Ω"]),
        "id": st.none() | st.integers(-(2**62), 2**62),
    },
)


def list_of(folder: Path, content: bytes) -> Path:
    (folder / NAME).write_bytes(content)
    return folder


def same(one: ImageIndex, other: ImageIndex) -> bool:
    arrays = ("labels", "sizes", "hashes", "ids")
    texts = ("names", "original_names")
    return (
        one.classes == other.classes
        and all(np.array_equal(getattr(one, name), getattr(other, name)) for name in arrays)
        and all(getattr(one, name).content == getattr(other, name).content for name in texts)
        and all(np.array_equal(getattr(one, name).ends, getattr(other, name).ends) for name in texts)
    )


@given(st.lists(rows, min_size=1, max_size=20), st.booleans(), st.booleans())
def test_the_fast_reader_reads_what_the_strict_one_reads(rows: list[dict], labeled: bool, ascii_only: bool) -> None:
    content = "".join(json.dumps(row, ensure_ascii=ascii_only) + "\n" for row in rows).encode()
    with tempfile.TemporaryDirectory() as folder:
        list_of(Path(folder), content)
        try:
            fast = image_list._read_fast(Path(folder), NAME, labeled, Extension(), True)
        except image_list._NotPlainError:
            ids = [place if row.get("id") is None else row["id"] for place, row in enumerate(rows)]
            assert (
                len(set(ids)) < len(ids) or b"NaN" in content or b"Infinity" in content
            )  # whether these were given twice, the strict one decides
            return
        assert same(fast, index_rows(Path(folder), image_list._rows(Path(folder), NAME), labeled))


def test_lists_longer_than_a_block_are_read_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image_list, "BLOCK", 1000)
    rows = [{"image_info": {"file_name": f"image/{n}.jpg"}, "category": f"class {n % 7}", "id": n} for n in range(500)]
    content = "\n".join(json.dumps(row) for row in rows).encode()
    index = image_list._read_fast(list_of(tmp_path, content), NAME, True, Extension(), False)
    assert [index.names[n] for n in (0, 499)] == ["image/0.jpg", "image/499.jpg"]
    assert [index.classes[label] for label in index.labels] == [row["category"] for row in rows]


def test_original_names_are_held_for_those_who_ask(tmp_path: Path) -> None:
    folder = list_of(tmp_path, b'{"image_info": {"file_name": "image/0_0.jpg", "original_file_name": "cat/1.jpg"}}\n')
    assert read_image_list(folder, NAME, True, Extension(), original_names=True).original_names[0] == "cat/1.jpg"
    without = read_image_list(folder, NAME, True, Extension(), original_names=False)
    assert (without.original_names[0], without.names[0]) == ("", "image/0_0.jpg")


def test_ids_that_are_texts_are_left_to_the_strict_reader(tmp_path: Path) -> None:
    content = b'{"image_info": {"file_name": "a"}, "id": "x"}\n{"image_info": {"file_name": "b"}, "id": 7}\n'
    assert read_image_list(list_of(tmp_path, content), NAME, True, Extension()).ids.tolist() == [0, 7]


@pytest.mark.parametrize("name", ["", ".", "/a", "../a", "a/../../b", "a\\u0000b", "C:\\\\x", "\\\\\\\\srv\\\\x", "\\ud800"])
def test_a_name_outside_the_folder_is_refused_with_its_line(tmp_path: Path, name: str) -> None:
    content = f'{{"image_info": {{"file_name": "a"}}}}\n{{"image_info": {{"file_name": "{name}"}}}}\n'.encode()
    with pytest.raises(InvalidDatasetError, match=r"images\.lst line 2: .*(is not the name of a file inside|half a character)"):
        read_image_list(list_of(tmp_path, content), NAME, True, Extension())
