"""Launchers, networks, limits and a bare system: each process started anew, as on a machine of its own."""

from __future__ import annotations

import os
import re
import resource
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from conftest import ROOT, training_flags
from faults.jobs import TIMEOUT, StartJob, outcome

pytestmark = pytest.mark.slow
TESTS = ROOT / "tests"
ENTRY = "from faults import tiny; tiny.be_tiny_and_faulty()\nfrom designer_vision.entry.train_pytorch_model import parse\nfrom designer_vision.entry.command_line import run\nrun(parse)\n"


@pytest.fixture
def words(inputs: dict[str, Path], tmp_path: Path) -> list[str]:
    """The command of one process."""
    script = tmp_path / "train.py"
    script.write_text(ENTRY)
    flags = training_flags(inputs["model"], inputs["training"], inputs["validation"], tmp_path / "out")
    flags |= {"epochs": 3, "print_frequency": 1, "warmup_step_number": 1}
    return [sys.executable, str(script), *(str(word) for name, value in flags.items() for word in (f"--{name}", value))]


def variables(tmp_path: Path, **more: str) -> dict[str, str]:
    own = {
        "PYTHONPATH": f"{ROOT / 'src'}:{TESTS}",
        "MLFLOW_TRACKING_URI": f"sqlite:///{tmp_path / 'mlflow.db'}",
        "DESIGNER_VISION_PROCESS_GROUP_TIMEOUT": str(TIMEOUT),
        "DESIGNER_VISION_CHECKPOINT_SECONDS": "0",
    }
    return os.environ | own | more


def wait_for(log: Path, text: str, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while text not in (log.read_text() if log.exists() else ""):
        assert time.monotonic() < deadline, log.read_text() if log.exists() else "no log"
        time.sleep(0.02)


def processes_of(folder: Path) -> list[str]:
    found = subprocess.run(["pgrep", "-f", str(folder)], capture_output=True, text=True).stdout.split()
    return [pid for pid in found if pid != str(os.getpid())]


@pytest.fixture
def torchrun(words: list[str], tmp_path: Path) -> Iterator[Callable[[], tuple[subprocess.Popen[bytes], Path]]]:
    """Starts two ranks under torchrun."""
    agents: list[subprocess.Popen[bytes]] = []

    def start() -> tuple[subprocess.Popen[bytes], Path]:
        log = tmp_path / f"log_{len(agents)}"
        command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", *words[1:]]
        with log.open("wb") as output:
            agents.append(
                subprocess.Popen(
                    command, env=variables(tmp_path, FAULT_STEP_SECONDS="0.2"), stdout=output, stderr=subprocess.STDOUT
                )
            )
        return agents[-1], log

    yield start
    for agent in agents:
        agent.kill()


def test_f05_no_rank_outlives_torchrun(torchrun: Callable, whole: Callable, tmp_path: Path) -> None:
    agent, log = torchrun()
    wait_for(log, "epoch 2/3 iteration 1/4")
    agent.kill()
    agent.wait()
    time.sleep(2)
    assert processes_of(tmp_path / "train.py") == []
    again, log = torchrun()
    assert again.wait(60) == 0, log.read_text()
    assert "resuming after" in log.read_text()
    assert outcome(tmp_path / "out") == whole()


def test_f07_sigterm_to_torchrun_saves_once_on_one_step(torchrun: Callable, whole: Callable, tmp_path: Path) -> None:
    agent, log = torchrun()
    wait_for(log, "epoch 2/3 iteration 1/4")
    agent.terminate()
    begin = time.monotonic()
    assert agent.wait(30) != 0
    assert time.monotonic() - begin < 10
    assert processes_of(tmp_path / "train.py") == []
    stopped = re.findall(r"rank (\d): Error: JobStoppedError: stopped after (\d+ images of epoch 2)", log.read_text())
    assert {rank for rank, _ in stopped} == {"0", "1"}
    assert len({place for _, place in stopped}) == 1
    again, log = torchrun()
    assert again.wait(60) == 0, log.read_text()
    assert outcome(tmp_path / "out") == whole()


def in_a_shell(script: str, words: list[str], tmp_path: Path, **more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["sh", "-c", script, "sh", *words], env=variables(tmp_path, **more), capture_output=True, text=True, timeout=120
    )


@pytest.mark.parametrize("size", ["2g", "64m", "256k"])
def test_f21_any_size_of_shared_memory_will_do(words: list[str], tmp_path: Path, size: str) -> None:
    script = f'mount -t tmpfs -o size={size} tmpfs /dev/shm && exec "$@"'
    result = subprocess.run(["unshare", "-m", "sh", "-c", script, "sh", *words], env=variables(tmp_path, DESIGNER_VISION_DATA_WORKERS="4"),
                            capture_output=True, text=True, timeout=120)  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert result.stdout.count("shm_size") == (1 if size == "256k" else 0)


def test_f23_too_little_memory_is_told(words: list[str], tmp_path: Path) -> None:
    result = in_a_shell('ulimit -v 6000000; exec "$@"', [*words, "--batch_size", "48"], tmp_path, FAULT_AT="0 2 memory")
    assert result.returncode == 1
    assert "Error 0138: ModuleOutOfMemoryError" in result.stderr
    assert "choose a smaller batch_size" in result.stderr


def test_f24_64_open_files_are_enough(words: list[str], tmp_path: Path) -> None:
    result = in_a_shell('ulimit -n 64; exec "$@"', words, tmp_path, DESIGNER_VISION_DATA_WORKERS="4")
    assert result.returncode == 0, result.stderr
    assert "warning: 1 of 4 data workers per process fit into" in result.stdout
    assert "and 64 open files (ulimit -n)" in result.stdout


def test_f29_a_limit_on_file_size_leaves_nothing_that_looks_finished(words: list[str], tmp_path: Path) -> None:
    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (6000, 6000))

    result = subprocess.run(
        words,
        env=variables(tmp_path, DESIGNER_VISION_DATA_WORKERS="0") | {"MLFLOW_TRACKING_URI": "sqlite://"},
        capture_output=True,
        text=True,
        timeout=120,
        preexec_fn=limit,
    )
    assert result.returncode == 1
    assert "warning: no checkpoint could be saved" in result.stdout
    assert "FailedToWriteOutputsError" in result.stderr
    assert not (tmp_path / "out" / "_meta.yaml").exists()
    again = in_a_shell('exec "$@"', words, tmp_path)
    assert again.returncode == 0, again.stderr


def test_f73_a_bare_system_is_enough(words: list[str], tmp_path: Path) -> None:
    """No HOME, no network, and nothing writable but the job's folder."""
    script = 'mount --bind "$0" "$0" && mount -o remount,ro,bind / && ip link set lo up && exec env -u HOME TMPDIR="$0" "$@"'
    result = subprocess.run(["unshare", "-n", "-m", "sh", "-c", script, str(tmp_path), *words], env=variables(tmp_path),
                            capture_output=True, text=True, timeout=120, cwd="/")  # fmt: skip
    assert result.returncode == 0, result.stderr


def test_no_secret_of_the_environment_is_told(words: list[str], tmp_path: Path) -> None:
    names = [
        f"{prefix}_{name}"
        for prefix in ("AZURE", "MY")
        for name in ("KEY", "TOKEN", "SAS", "SECRET", "PASSWORD", "CONNECTION_STRING")
    ]
    secrets = {name: f"canary-{number}" for number, name in enumerate(names)}
    result = in_a_shell('exec "$@"', words, tmp_path, DESIGNER_VISION_DEBUG="1", **secrets)
    failed = in_a_shell('exec "$@"', [*words, "--epochs", "x"], tmp_path, DESIGNER_VISION_DEBUG="1", **secrets)
    assert (result.returncode, failed.returncode) == (0, 1)
    written = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]
    told = [result.stdout, result.stderr, failed.stdout, failed.stderr]
    assert not any(b"canary-" in content for content in [*written, *(text.encode() for text in told)])


# nodes in network namespaces

NODES = ("10.99.0.1", "10.99.0.2", "10.99.0.3")


@pytest.fixture
def nodes(tmp_path: Path) -> Iterator[list[str]]:
    """Three network namespaces on one bridge in a fourth."""
    mark = f"dv{os.getpid()}"
    names = [f"{mark}n{number}" for number in range(len(NODES))]

    def ip(*arguments: str) -> int:
        return subprocess.run(["ip", *arguments], capture_output=True).returncode

    if ip("netns", "add", mark):
        pytest.skip("only root can make network namespaces")
    ip("-n", mark, "link", "add", "bridge0", "type", "bridge")
    ip("-n", mark, "link", "set", "bridge0", "up")
    for name, address in zip(names, NODES, strict=True):
        ip("netns", "add", name)
        ip("-n", name, "link", "add", "eth0", "type", "veth", "peer", "name", f"to{name[-2:]}", "netns", mark)
        ip("-n", mark, "link", "set", f"to{name[-2:]}", "master", "bridge0", "up")
        ip("-n", name, "address", "add", f"{address}/24", "dev", "eth0")
        for device in ("lo", "eth0"):
            ip("-n", name, "link", "set", device, "up")
    yield names
    for name in [*names, mark]:
        ip("netns", "delete", name)


@pytest.fixture
def cluster(nodes: list[str], words: list[str], tmp_path: Path) -> Iterator[Callable[..., list[subprocess.Popen[bytes]]]]:
    """Starts a rank on each of the first nodes."""
    started: list[subprocess.Popen[bytes]] = []

    def start(count: int = 2, delay: dict[int, float] | None = None, **more: str) -> list[subprocess.Popen[bytes]]:
        for rank in range(count):
            place = {"MASTER_ADDR": NODES[0], "MASTER_PORT": "6105", "WORLD_SIZE": str(count), "RANK": str(rank), "LOCAL_RANK": "0", "NODE_RANK": str(rank)}  # fmt: skip
            sleep = f'sleep {(delay or {}).get(rank, 0)}; exec "$@"'
            command = ["ip", "netns", "exec", nodes[rank], "taskset", "-c", str(rank % 2), "sh", "-c", sleep, "sh", *words]
            with (tmp_path / f"log_{rank}").open("wb") as output:
                started.append(
                    subprocess.Popen(
                        command,
                        env=variables(tmp_path, **{"FAULT_STEP_SECONDS": "0.2"} | place | more),
                        stdout=output,
                        stderr=subprocess.STDOUT,
                        start_new_session=True,
                    )
                )
        return started

    yield start
    for process in started:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def log(tmp_path: Path, rank: int) -> str:
    return (tmp_path / f"log_{rank}").read_text()


def link(node: str, state: str) -> None:
    subprocess.run(["ip", "-n", node, "link", "set", "eth0", state], check=True)


def test_f47_a_link_that_is_cut_ends_both_sides(cluster: Callable, nodes: list[str], tmp_path: Path) -> None:
    ranks = cluster()
    wait_for(tmp_path / "log_0", "epoch 2/3 iteration 1/4")
    link(nodes[1], "down")
    begin = time.monotonic()
    assert [process.wait(TIMEOUT + 20) for process in ranks] == [1, 1]
    assert time.monotonic() - begin < TIMEOUT + 10
    assert "rank 1 has not answered" in log(tmp_path, 0)
    assert "rank 0 has not answered" in log(tmp_path, 1)


def test_f48_a_link_that_is_cut_for_a_while_changes_nothing(
    cluster: Callable, nodes: list[str], whole: Callable, tmp_path: Path
) -> None:
    ranks = cluster()
    wait_for(tmp_path / "log_0", "epoch 2/3 iteration 1/4")
    link(nodes[1], "down")
    time.sleep(TIMEOUT / 2)
    link(nodes[1], "up")
    assert [process.wait(60) for process in ranks] == [0, 0], log(tmp_path, 0)
    assert outcome(tmp_path / "out") == whole()


def test_f49_a_link_that_loses_one_direction_ends_both_sides(cluster: Callable, nodes: list[str], tmp_path: Path) -> None:
    ranks = cluster()
    wait_for(tmp_path / "log_0", "epoch 2/3 iteration 1/4")
    subprocess.run(["ip", "-n", nodes[1], "route", "add", "blackhole", f"{NODES[0]}/32"], check=True)
    assert [process.wait(TIMEOUT + 20) for process in ranks] == [1, 1]
    assert "LostRankError: rank" in log(tmp_path, 0)


def test_f50_a_slow_link_changes_nothing(cluster: Callable, nodes: list[str], whole: Callable, tmp_path: Path) -> None:
    if subprocess.run(
        ["tc", "-n", nodes[1], "qdisc", "add", "dev", "eth0", "root", "tbf", "rate", "1mbit", "burst", "10kb", "latency", "50ms"],
        capture_output=True,
    ).returncode:
        pytest.skip("this kernel has no tbf")
    ranks = cluster()
    assert [process.wait(100) for process in ranks] == [0, 0], log(tmp_path, 0)
    assert outcome(tmp_path / "out") == whole()


def has_latency_and_loss(node: str) -> bool:
    """Give a node a bad link, if the kernel can."""
    command = ["tc", "-n", node, "qdisc", "add", "dev", "eth0", "root", "netem", "delay", "20ms", "5ms", "loss", "1%"]
    return subprocess.run(command, capture_output=True).returncode == 0


def test_a_link_with_latency_and_loss_changes_nothing(
    cluster: Callable, nodes: list[str], whole: Callable, tmp_path: Path
) -> None:
    is_bad = all(has_latency_and_loss(node) for node in nodes[:2])
    ranks = cluster()
    while not is_bad and all(process.poll() is None for process in ranks):  # it loses all for a moment, again and again
        link(nodes[1], "down")
        time.sleep(0.05)
        link(nodes[1], "up")
        time.sleep(1)
    assert [process.wait(100) for process in ranks] == [0, 0], log(tmp_path, 0)
    assert outcome(tmp_path / "out") == whole()


def test_a_node_that_is_paused_for_a_while_changes_nothing(cluster: Callable, whole: Callable, tmp_path: Path) -> None:
    ranks = cluster()
    for rank in (1, 0):
        wait_for(tmp_path / "log_0", f"epoch {3 - rank}/3 iteration 1/4")
        os.killpg(ranks[rank].pid, signal.SIGSTOP)
        time.sleep(TIMEOUT / 2)
        os.killpg(ranks[rank].pid, signal.SIGCONT)
    assert [process.wait(60) for process in ranks] == [0, 0], log(tmp_path, 0)
    assert outcome(tmp_path / "out") == whole()


def test_a_node_that_is_paused_for_long_is_named(cluster: Callable, tmp_path: Path) -> None:
    ranks = cluster()
    wait_for(tmp_path / "log_0", "epoch 2/3 iteration 1/4")
    os.killpg(ranks[0].pid, signal.SIGSTOP)
    assert ranks[1].wait(TIMEOUT + 10) == 1
    assert f"LostRankError: rank 0 has not answered for {TIMEOUT} s" in log(tmp_path, 1)
    os.killpg(ranks[0].pid, signal.SIGCONT)
    assert ranks[0].wait(10) == 1


@pytest.fixture
def names(nodes: list[str]) -> Iterator[None]:
    """Every node knows its own name as 127.0.1.1, as Debian has it, and the first node also by its address."""
    own = socket.gethostname()
    for node in nodes:
        folder = Path("/etc/netns") / node
        folder.mkdir(parents=True)
        address = "127.0.1.1" if node == nodes[0] else NODES[0]
        (folder / "hosts").write_text(f"127.0.0.1 localhost\n127.0.1.1 {own}\n{address} first-node\n")
    yield
    for node in nodes:
        shutil.rmtree(Path("/etc/netns") / node)


def test_a_main_node_that_knows_its_own_name_as_loopback_is_met(
    names: None, cluster: Callable, whole: Callable, tmp_path: Path
) -> None:
    ranks = cluster(MASTER_ADDR="first-node")
    assert [process.wait(60) for process in ranks] == [0, 0], log(tmp_path, 0) + log(tmp_path, 1)
    assert outcome(tmp_path / "out") == whole()


def test_f51_a_node_that_is_lost_ends_the_others(cluster: Callable, nodes: list[str], tmp_path: Path) -> None:
    ranks = cluster(3)
    wait_for(tmp_path / "log_0", "epoch 2/3 iteration 1/")
    link(nodes[1], "down")
    os.killpg(ranks[1].pid, signal.SIGKILL)
    assert [ranks[rank].wait(TIMEOUT + 10) for rank in (0, 2)] == [1, 1]
    assert "rank 1" in log(tmp_path, 0)
    assert "rank 1" in log(tmp_path, 2)


def test_f55_a_rank_that_comes_late_is_waited_for(cluster: Callable, whole: Callable, tmp_path: Path) -> None:
    ranks = cluster(delay={1: 12.0})
    assert [process.wait(90) for process in ranks] == [0, 0], log(tmp_path, 0)
    assert outcome(tmp_path / "out") == whole()


def test_f52_a_port_that_is_taken_is_named(start: StartJob, tmp_path: Path, words: list[str]) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        port = listener.getsockname()[1]
        place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": "2", "RANK": "0", "LOCAL_RANK": "0"}
        result = in_a_shell('exec "$@"', words, tmp_path, **place)
    assert result.returncode == 1
    assert re.search(
        rf"ProcessSetupError: rank 0 could not join the 2 processes at 127\.0\.0\.1:{port}: .*(in use|listen)", result.stderr
    )
