from __future__ import annotations

from designer_vision.formats.left_out import MOST_FOLDERS, MOST_KINDS, OTHERS, LeftOut, by_folder, count, in_words, shortened


def test_files_are_counted_by_kind_and_folder_and_told_the_most_first() -> None:
    left_out: LeftOut = {}
    for kind, name in ((".svg", "a/1.svg"), (".ogg", "a/1.ogg"), (".ogg", "b/1.ogg"), (".ogg", "b/2.ogg"), (".txt", "x.txt")):
        count(left_out, kind, name)
    assert in_words(left_out) == "3 .ogg, 1 .svg, 1 .txt"
    assert list(by_folder(left_out)) == ["a: 1 .ogg", "b: 2 .ogg", "a: 1 .svg", ".: 1 .txt"]


def test_a_record_stays_short_and_keeps_the_sum() -> None:
    left_out: LeftOut = {}
    for number in range(200):
        count(left_out, f".{number % 60}", f"{'x' * 400 if number == 3 else number}/1")
        count(left_out, ".txt", f"{number}/1", number)
    record = shortened(left_out)
    assert len(record) <= MOST_KINDS + 1
    assert len(record[".txt"]) == MOST_FOLDERS + 1
    assert record[".txt"]["199"] == 199
    assert all(len(folder) <= 300 for folders in record.values() for folder in folders)
    assert sum(sum(folders.values()) for folders in record.values()) == 200 + sum(range(200))
    assert OTHERS in record


def test_many_kinds_do_not_fill_a_line() -> None:
    left_out: LeftOut = {}
    for number in range(100):
        count(left_out, f".{number:03}", "x")
    assert in_words(left_out).endswith(f"and {100 - MOST_KINDS} more kinds of files")
