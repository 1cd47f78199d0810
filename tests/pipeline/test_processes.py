from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from designer_vision.pipeline.graph import Step
from designer_vision.pipeline.processes import Failure, Processes, free_port, log_names, rank_variables


def step(distribution: str, nodes: int, processes: int) -> Step:
    return Step("s", "", Path(), {}, (), nodes, processes, distribution, {})


def start(code: str, folder: Path, count: int = 1) -> Processes:
    environments = [os.environ | {"NUMBER": str(number)} for number in range(count)]
    return Processes([sys.executable, "-c", code], environments, [folder / name for name in log_names(count)], folder)


def waited_for(processes: Processes) -> Failure | None:
    while processes.failure() is None and not processes.have_ended():
        time.sleep(0.05)
    return processes.failure()


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z" if Path("/proc").is_dir() else True


def test_each_process_gets_azures_variables() -> None:
    variables = rank_variables(step("pytorch", 2, 2), 1234)
    assert [(v["NODE_RANK"], v["RANK"], v["LOCAL_RANK"]) for v in variables] == [
        ("0", "0", "0"), ("0", "1", "1"), ("1", "2", "0"), ("1", "3", "1"),
    ]  # fmt: skip
    assert {(v["WORLD_SIZE"], v["MASTER_ADDR"], v["MASTER_PORT"]) for v in variables} == {("4", "127.0.0.1", "1234")}


def test_each_process_gets_open_mpis_variables() -> None:
    variables = rank_variables(step("mpi", 1, 2), 1234)
    assert [v["OMPI_COMM_WORLD_RANK"] for v in variables] == ["0", "1"]
    assert "RANK" not in variables[0]


def test_a_single_process_without_distribution_gets_none() -> None:
    assert rank_variables(step("", 1, 1), 1234) == [{}]


def test_logs_have_azures_names() -> None:
    assert log_names(1) == ["std_log.txt"]
    assert log_names(2) == ["std_log_process_0.txt", "std_log_process_1.txt"]


def test_output_and_errors_of_each_process_go_to_its_log(tmp_path: Path) -> None:
    with start(
        "import os, sys; print('out', os.environ['NUMBER'], flush=True); print('err', file=sys.stderr)", tmp_path, 2
    ) as processes:
        assert waited_for(processes) is None
    assert (tmp_path / "std_log_process_1.txt").read_text() == "out 1\nerr\n"


def test_the_first_failure_ends_the_others(tmp_path: Path) -> None:
    code = "import os, sys, time\nif os.environ['NUMBER'] == '1': sys.exit(7)\nopen('pid', 'w').write(str(os.getpid())); time.sleep(60)"
    start_time = time.monotonic()
    with start(code, tmp_path, 2) as processes:
        while not (tmp_path / "pid").exists():
            time.sleep(0.01)
        failure = waited_for(processes)
    assert failure == Failure(7, tmp_path / "std_log_process_1.txt")
    assert time.monotonic() - start_time < 10
    assert not alive(int((tmp_path / "pid").read_text()))


def test_no_child_of_a_process_is_left_behind(tmp_path: Path) -> None:
    code = (
        "import subprocess, sys; child = subprocess.Popen(['sleep', '60']); open('pid', 'w').write(str(child.pid)); sys.exit(1)"
    )
    with start(code, tmp_path) as processes:
        assert waited_for(processes) == Failure(1, tmp_path / "std_log.txt")
    deadline = time.monotonic() + 2
    while alive(int((tmp_path / "pid").read_text())) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not alive(int((tmp_path / "pid").read_text()))


def test_a_second_interrupt_kills_what_does_not_end_when_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    processes = start(
        "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); open('ready', 'w'); time.sleep(60)", tmp_path
    )
    while not (tmp_path / "ready").exists():
        time.sleep(0.01)

    def interrupted(seconds: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("designer_vision.pipeline.processes.time.sleep", interrupted)
    with pytest.raises(KeyboardInterrupt), processes:
        pass
    assert not alive(processes.running[0].pid)


@pytest.mark.parametrize(
    ("code", "words"),
    [(3, "exit code 3"), (-signal.SIGKILL, "ended by SIGKILL, often for lack of memory"), (-signal.SIGSEGV, "ended by SIGSEGV")],
)
def test_f18_f22_the_cause_of_a_failure_is_said(code: int, words: str) -> None:
    assert Failure(code, Path()).cause == words


def test_a_free_port_is_one() -> None:
    assert 0 < free_port() < 65536


ENTRY = """
import os, time
import click
from designer_vision.entry.command_line import run
def work():
    print(os.getpid(), flush=True)
    time.sleep(60)
run(click.command()(work))
"""
LAUNCHER = f"""
import os, sys, time
from pathlib import Path
from designer_vision.pipeline.processes import Processes
folder = Path(sys.argv[1])
Processes([sys.executable, "-c", {ENTRY!r}], [os.environ] * 2, [folder / "a", folder / "b"], folder)
time.sleep(60)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends a process with its parent")
def test_a_killed_runner_takes_its_processes_with_it(tmp_path: Path) -> None:
    launcher = subprocess.Popen([sys.executable, "-c", LAUNCHER, str(tmp_path)])
    pids = [int(text) for text in (wait_for_text(tmp_path / name) for name in ("a", "b"))]
    assert all(alive(pid) for pid in pids)
    launcher.kill()
    launcher.wait()
    deadline = time.monotonic() + 2
    while any(alive(pid) for pid in pids) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(alive(pid) for pid in pids)


def wait_for_text(path: Path) -> str:
    deadline = time.monotonic() + 30
    while not (path.exists() and path.read_text().endswith("\n")):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return path.read_text()
