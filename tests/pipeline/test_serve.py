"""`designer-vision serve`, as processes of their own: the line that it prints, run by a shell, and how it ends."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT, colored_pixels, hear_ctrl_c, run_entry
from PIL import Image

from designer_vision.formats.data_frame_directory import read_data_frame_directory
from designer_vision.pipeline.processes import free_port

ENVIRONMENT = {"PYTHONPATH": str(ROOT / "src"), "PATH": "/usr/bin:/bin"}
"""Of a terminal where no environment is activated."""
COMMAND = [sys.executable, "-c", "from designer_vision.pipeline.command_line import main; main()", "serve"]


@contextmanager
def serving(model: Path, folder: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A server and the line that it says to run; it and what it started are killed in the end."""
    words = [*COMMAND, str(model), "--port", "0"]
    with (folder / "log").open("w") as log:
        server = subprocess.Popen(
            words,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            cwd=folder,
            env=ENVIRONMENT,
            start_new_session=True,
            preexec_fn=hear_ctrl_c,
        )
    assert server.stdout is not None
    try:
        first, line = server.stdout.readline(), server.stdout.readline()
        assert "until Ctrl-C; to try it, replace photo.jpg with a photo of yours:" in first, (folder / "log").read_text()
        yield server, line
    finally:
        if server.poll() is None:
            os.killpg(server.pid, signal.SIGKILL)
        server.wait()


def is_gone(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return True
    return False


@pytest.mark.skipif(shutil.which("curl") is None, reason="the line is curl's")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_printed_line_gives_the_label_of_score_image_model_and_a_signal_ends_it_cleanly(
    trained_model: Path, tmp_path: Path, number: signal.Signals
) -> None:
    copied = tmp_path / "a model"
    shutil.copytree(trained_model, copied)
    trap = tmp_path / "trap"
    (copied / "code" / "designer_vision" / "__init__.py").write_text(f"open({str(trap)!r}, 'w')")
    (tmp_path / "photos").mkdir()
    noise = np.random.default_rng(0).integers(0, 120, (1500, 1000, 3), np.uint8)  # longer than a word of a command line may be
    Image.fromarray(noise + colored_pixels("red", 1, 1500, 1000) // 2).save(tmp_path / "photos" / "photo.jpg", quality=95)
    result = run_entry(
        "score_image_model", trained_model=copied, dataset=tmp_path / "photos", threshold=0, scored_dataset=tmp_path / "scored"
    )
    assert result.returncode == 0, result.stderr
    scored = read_data_frame_directory(tmp_path / "scored")
    with serving(copied, tmp_path) as (server, line):
        answer = subprocess.run(
            ["bash", "-c", line], capture_output=True, text=True, cwd=tmp_path / "photos", env=ENVIRONMENT, timeout=60
        )
        assert (answer.returncode, answer.stderr) == (0, "")
        (prediction,) = json.loads(answer.stdout)["predictions"]
        assert prediction["Scored Labels"] == scored.scored_labels[0]
        found = [prediction[f"Scored Probabilities_{label}"] for label in scored.labels]
        assert np.allclose(found, scored.probabilities[0], atol=1e-6)
        server.send_signal(number)
        assert server.wait(timeout=60) == 0
        assert is_gone(server.pid)
    assert (tmp_path / "log").read_text().splitlines() == [f"loading {copied}", "stopped"]
    assert not trap.exists()  # nothing of the folder was imported
    assert {path.name for path in tmp_path.iterdir()} == {"a model", "photos", "scored", "log"}


def test_it_listens_on_loopback_only_and_takes_what_an_endpoint_takes(trained_model: Path, tmp_path: Path) -> None:
    with serving(trained_model, tmp_path) as (_, line):
        address = line.split()[-1]
        port = int(address.split(":")[2].partition("/")[0])
        body = json.dumps({"dataframe_records": [{"image": "???"}]}).encode()
        request = urllib.request.Request(address, body, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=30) as answer:
            (row,) = json.load(answer)["predictions"]
        assert row["Error"].startswith("row 0, column image: not base64")
        for other in ("127.0.0.2", "::1"):
            with pytest.raises(OSError, match="refused|unreachable|assign|not supported"):
                socket.create_connection((other, port), timeout=5).close()


def ended(model: object, *words: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*COMMAND, str(model), *map(str, words)], capture_output=True, text=True, env=ENVIRONMENT, timeout=120)


def test_a_port_that_is_in_use_is_one_line_with_its_number(trained_model: Path) -> None:
    port = free_port()
    with socket.create_server(("127.0.0.1", port)):
        result = ended(trained_model, "--port", port)
    message = f"port {port} is in use by another program; give another --port, or 0 for any that is free"
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr == f"Error: ProcessSetupError: {message}\n"


def test_what_is_no_trained_model_is_one_line(untrained_model: Path, tmp_path: Path) -> None:
    for folder, message in ((untrained_model, "is an untrained model"), (tmp_path, "has no _meta.yaml")):
        result = ended(folder, "--port", 0)
        assert (result.returncode, result.stdout, len(result.stderr.splitlines())) == (1, "", 1)
        assert message in result.stderr


def test_a_run_around_the_model_is_refused_with_the_model_to_give(trained_model: Path, tmp_path: Path) -> None:
    (tmp_path / "train" / "outputs").mkdir(parents=True)
    right = tmp_path / "train" / "outputs" / "trained_model"
    right.symlink_to(trained_model)
    assert ended(tmp_path).stderr == f"Error: PipelineError: {tmp_path} is not a model, but there is one in it; give {right}\n"
