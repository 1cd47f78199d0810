"""Signals, in a process of their own: what is set up lasts until it ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import ROOT

from designer_vision.training.stopping import StopRequest

SCRIPT = """
import os, sys, time
from designer_vision.training.stopping import StopRequest
stop = StopRequest()
if "full" in sys.argv:
    os.set_blocking(2, False)
    try:
        while os.write(2, bytes(2**16)):
            pass
    except BlockingIOError:
        os.set_blocking(2, True)
with stop.listened_for():
    print("ready", flush=True)
    while not stop.is_made():
        time.sleep(0.01)
    print("asked by", stop.signal, flush=True)
    time.sleep(float(sys.argv[1]))
print("in order", flush=True)
"""


def started(argument: str, full: bool = False) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, argument, *["full"] * full],
        env=os.environ | {"PYTHONPATH": str(ROOT / "src")},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout
    assert process.stdout.readline() == "ready\n"
    return process


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_is_noted_and_the_process_ends_as_it_likes(number: signal.Signals) -> None:
    process = started("0")
    process.send_signal(number)
    output, _ = process.communicate(timeout=10)
    assert output == f"asked by {int(number)}\nin order\n"
    assert process.returncode == 0


def test_the_same_request_heard_twice_within_a_second_counts_once() -> None:
    process = started("0.5")
    process.send_signal(signal.SIGINT)
    process.send_signal(signal.SIGTERM)
    assert process.communicate(timeout=10)[0].endswith("in order\n")


def test_a_second_request_ends_the_process_at_once() -> None:
    process = started("60")
    process.send_signal(signal.SIGTERM)
    time.sleep(2)
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=2)
    assert process.returncode == 143
    assert errors == "ended at once: the ranks had not agreed on where to stop\n"


@pytest.mark.parametrize("reader", ["gone", "stopped"])
def test_a_second_request_ends_a_process_whose_log_nobody_reads(reader: str) -> None:
    process = started("60", full=reader == "stopped")
    if reader == "gone":
        assert process.stderr
        process.stderr.close()
        process.stderr = None
    process.send_signal(signal.SIGTERM)
    time.sleep(1.2)
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=10) == 143


def test_the_end_of_a_child_is_no_request(tmp_path: Path) -> None:
    stop, before = StopRequest(), signal.getsignal(signal.SIGINT)  # ignored where the tests run in a background job
    with stop.listened_for():
        former = signal.signal(signal.SIGCHLD, lambda number, frame: None)
        subprocess.run(["true"], check=True)
        time.sleep(0.1)
        signal.signal(signal.SIGCHLD, former)
        assert not stop.is_made()
    assert signal.getsignal(signal.SIGINT) is before


def test_a_machine_of_azures_gives_more_time_than_others() -> None:
    assert StopRequest({}).grace == 9
    assert StopRequest({"AZUREML_RUN_ID": "x"}).grace == 25
