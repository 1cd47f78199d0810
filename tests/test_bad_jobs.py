"""Bad inputs given to a job of two processes: every process ends in seconds, with one line each and nothing that looks finished."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import ROOT, make_image_directory, training_flags
from faults.jobs import StartJob
from PIL import Image

from designer_vision.formats.image_directory import read_image_directory
from designer_vision.formats.manifest import MANIFEST


def copied(inputs: dict[str, Path], name: str, folder: Path) -> Path:
    return Path(shutil.copytree(inputs[name], folder / name))


def one_bad_image(inputs: dict[str, Path], folder: Path) -> dict[str, Path]:
    training = copied(inputs, "training", folder)
    (training / "image/1_20.png").write_bytes(b"not a png")
    return {"training_dataset": training}


def missing_image(inputs: dict[str, Path], folder: Path) -> dict[str, Path]:
    training = copied(inputs, "training", folder)
    (training / "image/1_20.png").unlink()
    return {"training_dataset": training}


def pipe_for_an_image(inputs: dict[str, Path], folder: Path) -> dict[str, Path]:
    missing = missing_image(inputs, folder)
    os.mkfifo(missing["training_dataset"] / "image/1_20.png")
    return missing


def other_classes(inputs: dict[str, Path], folder: Path) -> dict[str, Path]:
    validation = folder / "photos"
    for name in ("blue", "mauve"):
        (validation / name).mkdir(parents=True)
        Image.new("RGB", (32, 32)).save(validation / name / "1.png")
    return {"validation_dataset": validation}


def one_class(inputs: dict[str, Path], folder: Path) -> dict[str, Path]:
    (folder / "photos/cats").mkdir(parents=True)
    Image.new("RGB", (32, 32)).save(folder / "photos/cats/1.png")
    return {"training_dataset": folder / "photos"}


def sizes_left_mixed(inputs: dict[str, Path], folder: Path) -> dict[str, Path]:
    training = make_image_directory(folder / "training", per_class=2, transformation=[["Pad", 1]])
    rows = [json.loads(line) for line in (training / "images.lst").read_text().splitlines()]
    rows[0]["image_info"] |= {"width": 40, "height": 30}
    meta = "type: ImageDirectory\nextension: {designer_vision: {transformation: [[Pad, 1]]}}\n"  # without hashes
    (training / MANIFEST).write_text(meta)
    (training / "images.lst").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return {"training_dataset": training}


CASES: dict[str, tuple[Callable[[dict[str, Path], Path], dict[str, Path]], str]] = {
    "case_45 swapped": (
        lambda inputs, folder: {"untrained_model": inputs["training"], "training_dataset": inputs["model"]},
        "Error 0159: InvalidModelDirectoryError: untrained_model: .* it looks like images: are two inputs connected",
    ),
    "case_155 no model": (
        lambda inputs, folder: {"untrained_model": folder},
        "Error 0159: InvalidModelDirectoryError: .* has no _meta.yaml; expected a folder of type ModelDirectory",
    ),
    "a folder that is not there": (
        lambda inputs, folder: {"training_dataset": folder / "nowhere"},
        "Error 0018: InvalidDatasetError: training_dataset: .*nowhere is not a folder",
    ),
    "case_71 missing image": (missing_image, r"Error 0018: InvalidDatasetError: training_dataset: .*1_20\.png is missing"),
    "case_70 pipe": (pipe_for_an_image, r"Error 0018: InvalidDatasetError: training_dataset: .*1_20\.png is a pipe, expected a plain file"),
    "case_92 bad image": (
        one_bad_image,
        r"Error 0018: InvalidDatasetError: training_dataset: .*1_20\.png is not an image in one of.*Convert to Image Directory",
    ),
    "case_77 unlabelled": (
        lambda inputs, folder: {"training_dataset": Path(shutil.copytree(inputs["training"] / "image", folder / "photos"))},
        "Error 0024: NotLabeledDatasetError: training_dataset: .* has no labels; put the images of each class in a folder",
    ),
    "case_81 one class": (one_class, "Error 0018: InvalidDatasetError: training_dataset: .* has one class, 'cats'"),
    "case_83 unknown class": (
        other_classes, "Error 0018: InvalidDatasetError: validation_dataset: .* has classes that .* does not have: mauve"
    ),
    "case_85 empty": (
        lambda inputs, folder: {"validation_dataset": folder}, "Error 0018: InvalidDatasetError: validation_dataset: .* has no images"
    ),
    "case_108 mixed sizes": (
        sizes_left_mixed, "have different sizes after their transformation, such as 30 x 40 and 32 x 32; .*Init Image Transformation"
    ),
    "case_151 output in input": (
        lambda inputs, folder: {"trained_model": inputs["training"] / "model"},
        "Error 0160: FailedToWriteOutputsError: .* are the same folder, or one lies inside the other",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("prepare", "message"), CASES.values(), ids=CASES)
def test_a_bad_input_ends_every_process_with_one_line(
    start: StartJob, inputs: dict[str, Path], tmp_path: Path, prepare: Callable[..., dict[str, Path]], message: str
) -> None:
    (tmp_path / "made").mkdir()
    begin = time.monotonic()
    job = start(**prepare(inputs, tmp_path / "made"))
    assert job.end(20) == [1, 1]
    assert time.monotonic() - begin < 20
    logs = [job.log(0), job.log(1)]
    last = [log.splitlines()[-1] for log in logs]
    assert any(re.search(f"^rank [01]: .*{message}", line) for line in last), last
    for log, line in zip(logs, last, strict=True):
        assert "Traceback" not in log
        assert re.match(r"rank [01]: Error", line), log
        assert sum(" Error" in line for line in log.splitlines()) == 1
    assert not (tmp_path / "out" / MANIFEST).exists()


def test_preflight_does_not_touch_the_images(start: StartJob, inputs: dict[str, Path], tmp_path: Path) -> None:
    training = copied(inputs, "training", tmp_path)
    shutil.rmtree(training / "image")
    job = start(training_dataset=training)
    assert job.end(20) == [1, 1]
    assert "images: 48 to train, 6 to validate, 32 x 32 pixels" in job.log()
    assert "is missing" in job.log() + job.log(1)


def test_what_the_labels_contain_cannot_forge_a_line_of_the_log(start: StartJob, inputs: dict[str, Path], tmp_path: Path) -> None:
    for name in ("blue\nError 0000: forged", "green\x1b[2J"):
        for number in range(2):
            path = tmp_path / "photos" / name / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (32, 32)).save(path)
    job = start(training_dataset=tmp_path / "photos", world=1)
    job.end(20)
    assert not any(line.startswith("Error 0000") for line in job.log().splitlines())
    assert "\x1b" not in job.log()


# Privileges


def listening(pids: list[int]) -> list[str]:
    """The addresses at which some processes listen, as the kernel writes them."""
    inodes = set()
    for pid in pids:
        for link in Path(f"/proc/{pid}/fd").iterdir():
            try:
                target = str(link.readlink())
            except OSError:
                continue
            if target.startswith("socket:"):
                inodes.add(re.sub(r"\D", "", target))
    rows = [line.split() for name in ("tcp", "tcp6") for line in Path(f"/proc/net/{name}").read_text().splitlines()[1:]]
    return [row[1] for row in rows if row[3] == "0A" and row[9] in inodes]


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
@pytest.mark.parametrize(
    "variables",
    [{}, {"MASTER_ADDR": "localhost"}, {"MASTER_ADDR": socket.gethostname(), "AZUREML_NODE_COUNT": "1"}],
    ids=["loopback", "by name", "Azure with one node"],
)
def test_a_job_on_one_node_listens_on_loopback_only(start: StartJob, variables: dict[str, str]) -> None:
    job = start(FAULT_STEP_SECONDS=0.2, **variables)
    job.until("iteration 2/")
    addresses = listening([*job.pids, *job.workers(0), *job.workers(1)])
    assert addresses
    assert all(address.startswith(("0100007F:", "00000000000000000000000001000000:")) for address in addresses), addresses
    job.kill()


@pytest.mark.skipif(os.name != "posix" or os.getuid() != 0, reason="takes root's privileges away")
def test_without_root_network_home_and_a_writable_file_system_it_runs(
    inputs: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without any of root's capabilities, in namespaces of its own: no network, and nothing to write to but the output."""
    if subprocess.run(["unshare", "-rnm", "true"], capture_output=True).returncode:
        pytest.skip("this machine allows no namespaces")
    model = tmp_path / "model"
    shutil.copytree(inputs["model"], model)
    flags = training_flags(model, inputs["training"], inputs["validation"], tmp_path / "out")
    words = " ".join(f"--{name} '{value}'" for name, value in flags.items())
    program = (
        "import sys; sys.path.insert(0, sys.argv.pop(1))\n"
        "from faults.tiny import be_tiny_and_faulty\n"
        "be_tiny_and_faulty()\n"
        "from designer_vision.entry.command_line import run\n"
        "from designer_vision.entry.train_pytorch_model import parse\n"
        "run(parse)"
    )
    for name in ("out", "t"):  # a short name: workers' sockets lie there, and /tmp, which is for longer ones, is closed too
        (tmp_path / name).mkdir()
    script = (
        f"mount --bind {tmp_path} {tmp_path} && mount -o remount,bind,ro / && cd / && "
        f"exec setpriv --bounding-set -all --inh-caps -all --no-new-privs "
        f'env HOME=/nonexistent TMPDIR={tmp_path}/t MLFLOW_TRACKING_URI=sqlite:///{tmp_path}/t/mlflow.db PYTHONPATH={ROOT / "src"} "{sys.executable}" -c "$PROGRAM" {ROOT / "tests"} {words}'
    )
    monkeypatch.setenv("PROGRAM", program)
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    done = subprocess.run(["unshare", "-nm", "bash", "-c", script], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "kept epoch 1" in done.stdout
    assert len(read_image_directory(inputs["training"])) == 48
    assert (tmp_path / "out" / MANIFEST).exists()
