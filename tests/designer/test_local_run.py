"""A run as the designer finds it, whatever an earlier one, or somebody else, has left in its folder."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from designer_vision.designer.local_run import EVENTS, FAILED, FIGURES, FINISHED, NONE, RUNNING, STOPPED, LocalRun
from designer_vision.pipeline.run_folder import LOCK, process_of_run, run_folder
from designer_vision.pipeline.sweep_page import PAGE

BEGUN = {"event": "run", "steps": ["train"]}
END = {"event": "end", "phase": FINISHED, "error": None, "result": "top-1 90.0 %", "reports": []}


def lines(*events: object) -> bytes:
    return b"".join(json.dumps(event).encode() + b"\n" for event in events)


@pytest.fixture
def run(tmp_path: Path) -> LocalRun:
    found = LocalRun(Path("a.yaml"), tmp_path)
    assert found.state["phase"] == NONE
    return found


def test_the_number_that_a_killed_run_left_is_another_programs_and_not_stopped(run: LocalRun) -> None:
    run.outputs.mkdir()
    (run.outputs / LOCK).write_text(str(os.getpid()))
    assert not run.is_alive
    run.stop()  # would interrupt these tests


def test_a_run_that_somebody_started_by_hand_is_found(run: LocalRun) -> None:
    with run_folder(run.outputs, Path("a.yaml"), {}):
        assert run.is_alive
        assert process_of_run(run.outputs) == os.getpid()
    assert not run.is_alive


def test_lines_that_are_no_events_are_passed_over(run: LocalRun) -> None:
    (run.folder / EVENTS).write_bytes(b"\0\0{\n[1]\n" + lines(BEGUN, END))
    assert run.poll()
    assert (run.state["phase"], run.state["result"]) == (FINISHED, "top-1 90.0 %")


def test_events_of_another_version_are_passed_over(run: LocalRun) -> None:
    others = [{"event": "step", "step": "train"}, {"event": "trial"}, {"event": "epoch", "step": ["a list"]}, {"event": "later"}]
    (run.folder / EVENTS).write_bytes(lines({"event": "run"}, BEGUN, *others, END | {"reports": [1]}, END))
    assert run.poll()
    assert (run.state["phase"], run.state["steps"]["train"]["phase"]) == (FINISHED, "waiting")


def test_a_step_that_was_interrupted_as_it_began_ends_with_its_run(run: LocalRun) -> None:
    figures = dict.fromkeys(FIGURES) | {"phase": RUNNING, "seconds": 0.0, "left": "", "last_line": "", "warnings": []}
    (run.folder / EVENTS).write_bytes(lines(BEGUN, {"event": "step", "step": "train"} | figures, END | {"phase": STOPPED}))
    assert run.poll()
    assert (run.state["phase"], run.state["steps"]["train"]["phase"]) == (STOPPED, STOPPED)


def test_a_sweep_has_its_trials_by_number_and_the_best_by_now(run: LocalRun) -> None:
    trial = {
        "event": "trial",
        "step": "search",
        "trials": 2,
        "values": {"epochs": "3"},
        "metric": "top-1",
        "seconds": 1.0,
        "why": "",
    }
    ended = {"phase": FINISHED, "reported": 1}
    page = run.outputs / "search" / PAGE
    (run.folder / EVENTS).write_bytes(
        lines(
            BEGUN | {"steps": ["search"]},
            trial | {"trial": 1, "phase": RUNNING, "value": None, "reported": 0, "best": None},
            trial | {"trial": 1, "value": 0.5, "best": 1} | ended,
            trial | {"trial": 2, "value": 0.75, "best": 2} | ended,
            END | {"reports": [str(page)]},
        )
    )
    run.poll()
    sweep = run.state["steps"]["search"]["sweep"]
    assert (sweep["metric"], sweep["best"]) == ("top-1", 2)
    assert {number: (each["phase"], each["value"]) for number, each in sweep["trials"].items()} == {
        "1": (FINISHED, 0.5),
        "2": (FINISHED, 0.75),
    }
    assert run.state["reports"] == [{"step": "search", "port": ""}]


def test_a_file_of_events_that_was_begun_anew_is_read_from_its_beginning(run: LocalRun) -> None:
    file = run.folder / EVENTS
    file.write_bytes(lines(BEGUN, {"event": "remark", "text": "a" * 100}, END))
    run.poll()
    with run_folder(run.outputs, Path("a.yaml"), {}):
        file.write_bytes(lines(BEGUN))
        assert run.poll()
        assert run.state["phase"] == RUNNING


def test_a_run_that_ended_without_a_word_says_how_to_go_on(run: LocalRun) -> None:
    step = {"event": "step", "step": "train", "phase": RUNNING, "seconds": 1.0, "last_line": "", "warnings": []}
    step |= {"share": None, "images_per_second": None, "loss": None, "top1": None, "left": ""}
    (run.folder / EVENTS).write_bytes(lines(BEGUN, step))
    run.poll()
    run.poll()
    assert (run.state["phase"], run.state["steps"]["train"]["phase"]) == (FAILED, STOPPED)
    assert "run it again to go on" in run.state["error"]
