from __future__ import annotations

import dataclasses
import errno
import json
import os
import random
import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path

import pytest
import torch
from conftest import ROOT

from designer_vision.runtime.errors import CheckpointError, FailedToWriteOutputsError
from designer_vision.training import checkpoint
from designer_vision.training.checkpoint import Checkpoints, Manifest, Position, Saver, differences, state_of

TEMPLATE = Manifest(Position(), "", "", {"epochs": 3}, {"model_name": "resnet18"}, {"torch": "2.14.1"})


def at(epochs: int, images: int = 0) -> Manifest:
    return dataclasses.replace(TEMPLATE, position=Position(epochs, images))


def state(number: int) -> dict:
    return {"network": {"weight": torch.full((3, 2), float(number))}, "history": [{"number": number}]}


def restored(checkpoints: Checkpoints) -> int:
    found = checkpoints.newest()
    assert found is not None
    loaded = state_of(checkpoints.payload(found))
    assert torch.equal(loaded["network"]["weight"], torch.full((3, 2), float(loaded["history"][0]["number"])))
    return int(loaded["history"][0]["number"])


@pytest.fixture
def two(tmp_path: Path) -> Checkpoints:
    """After three saves: the second and the third are there."""
    checkpoints = Checkpoints(tmp_path / "checkpoint")
    for number in (1, 2, 3):
        checkpoints.save(state(number), at(number))
    return checkpoints


def payload(checkpoints: Checkpoints, place: int) -> Path:
    return checkpoints.folder / checkpoints.manifests()[place].payload


def test_the_newest_of_two_that_are_kept_comes_back(two: Checkpoints) -> None:
    assert restored(two) == 3
    assert len(list(two.folder.iterdir())) == 4
    assert [manifest.position.epochs for manifest in two.manifests()] == [3, 2]


def test_without_any_there_is_none(tmp_path: Path) -> None:
    assert Checkpoints(tmp_path / "nowhere").newest() is None


def test_f64_the_newest_is_the_furthest_whatever_the_clock_says(two: Checkpoints) -> None:
    os.utime(payload(two, 1), (2**31, 2**31))
    os.utime(payload(two, 0), (0, 0))
    assert restored(two) == 3


@pytest.mark.parametrize("length", [0, 1, 0.5, -1])
def test_f36_a_payload_cut_short_is_noticed_and_the_one_before_is_used(
    two: Checkpoints, length: float, capsys: pytest.CaptureFixture[str]
) -> None:
    newest = payload(two, 0)
    size = newest.stat().st_size
    os.truncate(newest, int(size * length) if length == 0.5 else size - 1 if length < 0 else int(length))
    assert restored(two) == 2
    assert f"{newest} is damaged; the one before, after 0 images of epoch 3, is used" in capsys.readouterr().out
    os.truncate(payload(two, 1), 1)
    with pytest.raises(
        CheckpointError, match="is damaged and there is no other; remove .*checkpoint to start from the beginning"
    ):
        two.newest()


@pytest.mark.parametrize("flips", [30, pytest.param(None, marks=pytest.mark.slow)])
def test_f37_every_flipped_byte_is_noticed(two: Checkpoints, flips: int | None) -> None:
    for file in (payload(two, 0), payload(two, 0).with_suffix(".json")):
        whole = file.read_bytes()
        places = range(len(whole)) if flips is None else random.Random(1).sample(range(len(whole)), flips)
        for place in places:
            file.write_bytes(whole[:place] + bytes([whole[place] ^ 0x20]) + whole[place + 1 :])
            assert restored(two) == 2, f"byte {place} of {file}"
        file.write_bytes(whole)
    assert restored(two) == 3


@pytest.mark.parametrize("version", [3, 5])
def test_f39_a_checkpoint_of_another_version_is_refused(two: Checkpoints, version: int) -> None:
    newest = payload(two, 0).with_suffix(".json")
    newest.write_bytes(checkpoint._encode(dataclasses.replace(two.manifests()[0], version=version)))
    with pytest.raises(CheckpointError, match=f"version {version}, this package reads 4; continue with the version"):
        two.newest()


def test_f40_what_a_dead_run_left_is_ignored_and_then_removed(two: Checkpoints, capsys: pytest.CaptureFixture[str]) -> None:
    stale = [two.folder / "epoch_9_image_0_dead.pt", two.folder / "epoch_9_image_0_dead.json"]
    for path in stale:
        path.write_bytes(b"{")
    assert restored(two) == 3
    assert f"{stale[1]} is incomplete and ignored" in capsys.readouterr().out
    two.save(state(4), at(4))
    assert not any(path.exists() for path in stale)


def test_f03_a_save_killed_anywhere_leaves_a_checkpoint_that_loads(tmp_path: Path) -> None:
    words = [sys.executable, str(Path(__file__).parent / "killed_saves.py"), str(tmp_path)]
    result = subprocess.run(
        words, env=os.environ | {"PYTHONPATH": str(ROOT / "src")}, capture_output=True, text=True, timeout=100
    )
    assert result.returncode == 0, result.stderr
    assert int(result.stdout.splitlines()[-1]) > 15


def test_f28_f29_a_save_that_fails_leaves_what_was_saved(two: Checkpoints, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="No space left"):
            two.save(state(4), at(4))
    assert restored(two) == 3
    assert len(list(two.folder.iterdir())) == 4  # what was begun takes no room


def test_what_does_not_read_back_is_no_checkpoint(two: Checkpoints, monkeypatch: pytest.MonkeyPatch) -> None:
    def lying(file) -> None:
        file.flush()
        os.truncate(file.name, 3)

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "_to_disk", lying)
        with pytest.raises(OSError, match="does not read back"):
            two.save(state(4), at(4))
    assert restored(two) == 3


def test_a_payload_that_would_execute_something_is_not_loaded(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "executed"),)

    torch.save({"network": Evil()}, tmp_path / "evil.pt")
    with pytest.raises(Exception, match="names posix.mkdir"):
        state_of((tmp_path / "evil.pt").read_bytes())
    assert not (tmp_path / "executed").exists()


def test_a_fourth_start_at_the_same_place_is_refused_and_an_ordered_end_does_not_count(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path)
    for _ in range(5):
        checkpoints.note_start(Position(1, 8))
        checkpoints.note_end()
    for _ in range(3):
        checkpoints.note_start(Position(1, 8))
    checkpoints.note_start(Position(1, 16))
    with pytest.raises(CheckpointError, match="was started 3 times after 8 images of epoch 2 .* remove .*started_"):
        checkpoints.note_start(Position(1, 8))


def test_an_end_that_cannot_be_noted_hides_no_error(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path / "checkpoint")
    checkpoints.note_start(Position())
    (tmp_path / "checkpoint").rename(tmp_path / "elsewhere")
    (tmp_path / "checkpoint").write_text("no folder")
    checkpoints.note_end()
    assert len([*(tmp_path / "elsewhere").iterdir()]) == 1


def test_differences_name_the_key_and_both_values() -> None:
    assert differences({"epochs": 3, "seed": 1}, {"epochs": 4, "seed": 1, "new": "x"}) == [
        "epochs was 3 and is 4",
        "new was None and is x",
    ]


# the saver


def saver(tmp_path: Path, every: float = 1000, patience: float = 5) -> Saver:
    return Saver(Checkpoints(tmp_path), TEMPLATE, timedelta(seconds=every), timedelta(seconds=patience))


def test_a_save_is_due_when_too_much_work_could_be_lost_and_after_an_epoch_if_it_costs_little(tmp_path: Path) -> None:
    assert saver(tmp_path, every=0).is_due(False)
    patient = saver(tmp_path)
    assert not patient.is_due(False)
    assert patient.is_due(True)
    patient.save(state(1), Position(1))
    patient.wait()
    assert not patient.is_due(True)  # not so soon: it would take more than its share of the time
    patient._cost = 1e-9
    assert patient.is_due(True)


def test_it_saves_beside_the_training_and_waits_at_the_end(tmp_path: Path) -> None:
    one = saver(tmp_path)
    one.save(state(7), Position(2, 5))
    one.wait()
    assert restored(Checkpoints(tmp_path)) == 7
    assert Checkpoints(tmp_path).manifests()[0].configuration == {"epochs": 3}


def test_f32_a_disk_that_fails_costs_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def failing(descriptor: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "fsync", failing)
    one = saver(tmp_path)
    one.save(state(1), Position(1))
    one.wait()
    assert "could be saved in" in (said := capsys.readouterr().out)
    assert "(Input/output error); the training continues and tries again later" in said
    assert Checkpoints(tmp_path).newest() is None


def test_f34_a_disk_that_never_answers_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", lambda descriptor: time.sleep(30))
    one = saver(tmp_path, patience=0.2)
    one.save(state(1), Position(1))
    assert not one.is_due(True)
    time.sleep(0.3)
    with pytest.raises(FailedToWriteOutputsError, match=f"{tmp_path} has not answered for 0 s while a checkpoint was written"):
        one.is_due(False)
    with pytest.raises(FailedToWriteOutputsError, match="has not answered"):
        one.wait()


def test_a_manifest_is_small_text_that_names_all(two: Checkpoints) -> None:
    outer = json.loads(payload(two, 0).with_suffix(".json").read_text())
    content = json.loads(outer["content"])
    assert set(content) == {"position", "payload", "hash", "configuration", "network", "made_by", "version"}
