"""A run as the designer finds it, whatever an earlier one, or somebody else, has left in its folder."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from designer_vision.designer.local_run import (
    EVENTS,
    FAILED,
    FINISHED,
    LOG,
    LONGEST,
    MOST_BYTES,
    MOST_LINES,
    MOST_REMARKS,
    NONE,
    RUNNING,
    STARTING,
    STOPPED,
    LocalRun,
)
from designer_vision.pipeline.run_folder import LOCK, process_of_run, run_folder
from designer_vision.pipeline.sweep_page import PAGE

BEGUN = {"event": "run", "steps": ["train"]}
END = {"event": "end", "phase": FINISHED, "error": None, "result": "top-1 90.0 %", "reports": []}


NO_FIGURES = {
    "seconds": 1.0,
    "share": None,
    "images_per_second": None,
    "loss": None,
    "top1": None,
    "left": "",
    "last_line": "",
    "warnings": [],
}
TRIAL = {
    "event": "trial",
    "step": "train",
    "trial": 1,
    "trials": 2,
    "phase": FINISHED,
    "values": {"epochs": "3"},
    "metric": "top-1",
    "value": 0.5,
    "reported": 1,
    "seconds": 1.0,
    "why": "",
    "best": None,
}


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


@pytest.mark.parametrize(
    "line",
    [
        json.dumps(TRIAL | {"trial": "first"}), json.dumps(TRIAL | {"trial": float("inf")}), json.dumps(TRIAL | {"value": float("nan")}),
        json.dumps(TRIAL | {"values": [[]]}), json.dumps(TRIAL).replace("0.5", "1e999"), json.dumps(END | {"reports": ["report.html"]}),
        json.dumps({"event": "remark", "text": "\ud800"}), "[" * 100_000, '{"event":' * 100_000, "9" * (MOST_BYTES + 1),
        json.dumps({"event": "remark", "text": "a" * MOST_BYTES}),
    ],
    ids=range(11),
)  # fmt: skip
def test_no_line_ends_the_following_or_says_what_a_page_cannot_read(run: LocalRun, line: str) -> None:
    (run.folder / EVENTS).write_bytes(lines(BEGUN) + line.encode() + b"\n" + lines(END))
    while run.poll():
        pass
    assert (run.state["phase"], run.state["steps"]["train"]["sweep"]) == (FINISHED, None)
    json.dumps(run.state, allow_nan=False, ensure_ascii=False).encode()


def test_what_is_kept_of_a_run_has_an_end_and_the_last_trials_state_is_not_lost(run: LocalRun) -> None:
    steps = ({"event": "step", "phase": RUNNING, **NO_FIGURES, "step": str(number)} for number in range(MOST_LINES + 10))
    trials = (TRIAL | {"trial": number, "phase": RUNNING} for number in range(MOST_LINES + 10))
    remarks = [{"event": "remark", "text": "a" * 20_000}] * (MOST_REMARKS + 10)
    last = TRIAL | {"trial": MOST_LINES - 1, "phase": FINISHED}
    (run.folder / EVENTS).write_bytes(lines(BEGUN, *trials, last, *steps, *remarks))
    with run_folder(run.outputs, Path("a.yaml"), {}):
        while run.poll():
            pass
    found = run.state["steps"]["train"]["sweep"]["trials"]
    assert (len(found), found[str(MOST_LINES - 1)]["phase"]) == (MOST_LINES, FINISHED)
    assert (len(run.state["steps"]), len(run.state["remarks"]), len(run.state["remarks"][0])) == (
        MOST_LINES,
        MOST_REMARKS,
        LONGEST,
    )


@pytest.mark.parametrize("name", [EVENTS, LOG])
def test_a_pipe_in_the_place_of_a_file_is_not_waited_for(run: LocalRun, name: str) -> None:
    os.mkfifo(run.folder / name)
    run.state["phase"] = STARTING
    run.poll()
    assert run.state["error"] == "the run was ended: it left no word"


def test_a_step_that_was_interrupted_as_it_began_ends_with_its_run(run: LocalRun) -> None:
    step = {"event": "step", "step": "train", "phase": RUNNING, **NO_FIGURES}
    (run.folder / EVENTS).write_bytes(lines(BEGUN, step, END | {"phase": STOPPED}))
    assert run.poll()
    assert (run.state["phase"], run.state["steps"]["train"]["phase"]) == (STOPPED, STOPPED)


def test_a_sweep_has_its_trials_by_number_and_the_best_by_now(run: LocalRun) -> None:
    ended = {"phase": FINISHED, "reported": 1}
    page = run.outputs / "train" / PAGE
    (run.folder / EVENTS).write_bytes(
        lines(
            BEGUN,
            TRIAL | {"trial": 1, "phase": RUNNING, "value": None, "reported": 0, "best": None},
            TRIAL | {"trial": 1, "value": 0.5, "best": 1} | ended,
            TRIAL | {"trial": 2, "value": 0.75, "best": 2} | ended,
            END | {"reports": [str(page)]},
        )
    )
    run.poll()
    sweep = run.state["steps"]["train"]["sweep"]
    assert (sweep["metric"], sweep["best"]) == ("top-1", 2)
    assert {number: (each["phase"], each["value"]) for number, each in sweep["trials"].items()} == {
        "1": (FINISHED, 0.5),
        "2": (FINISHED, 0.75),
    }
    assert run.state["reports"] == [{"step": "train", "port": ""}]


def test_a_file_of_events_that_was_begun_anew_is_read_from_its_beginning(run: LocalRun) -> None:
    file = run.folder / EVENTS
    file.write_bytes(lines(BEGUN, {"event": "remark", "text": "a" * 100}, END))
    run.poll()
    with run_folder(run.outputs, Path("a.yaml"), {}):
        file.write_bytes(lines(BEGUN))
        assert run.poll()
        assert run.state["phase"] == RUNNING


def test_a_run_that_ended_without_a_word_says_how_to_go_on(run: LocalRun) -> None:
    step = {"event": "step", "step": "train", "phase": RUNNING, **NO_FIGURES}
    trial = TRIAL | {"phase": RUNNING}
    (run.folder / EVENTS).write_bytes(lines(BEGUN, step, trial))
    run.poll()
    run.poll()
    assert (run.state["phase"], run.state["steps"]["train"]["phase"]) == (FAILED, STOPPED)
    assert run.state["steps"]["train"]["sweep"]["trials"]["1"]["phase"] == STOPPED
    assert "run it again to go on" in run.state["error"]


def test_nothing_runs_any_more_in_a_run_that_told_its_end(run: LocalRun) -> None:
    step = {"event": "step", "step": "train", "phase": RUNNING, **NO_FIGURES}
    (run.folder / EVENTS).write_bytes(lines(BEGUN, step, TRIAL | {"phase": RUNNING}, END | {"phase": STOPPED}))
    run.poll()
    train = run.state["steps"]["train"]
    assert (run.state["phase"], train["phase"], train["sweep"]["trials"]["1"]["phase"]) == (STOPPED, STOPPED, STOPPED)
