"""Images a second of training on a GPU, beside its peers, and what a step waits for.

    python benchmarks/gpu.py FOLDER MINUTES          # make bench-gpu: 25 minutes; again to go on with what is missing
    python benchmarks/gpu.py FOLDER MINUTES --dry    # the same on a CPU with tiny runs, to see that it works

Every cell (network and batch size) has its contenders, the most telling cells first, each a process of its own that is ended
after some seconds of steady work. Results go to FOLDER/gpu.jsonl as they come, and a run that stands there is not made again.
Prints Markdown.
"""

from __future__ import annotations

import gzip
import json
import os
import re
import shutil
import signal
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from gpu_page import CELLS, CONTENDERS, Steady, kernels_of, page, rate
from measure import conditions, say
from training import PEERS, prepared, ranks, training_words, untrained

PHOTOS, STEADY_SECONDS, LONGEST_START = 4096, 40, 240
EVERY, MANY_EPOCHS = 10, 1000


def steady(words: Sequence[object], environments: Sequence[Mapping[str, str]], batch: int, seconds: float) -> Steady:
    """Start a command, let it work for some seconds after its first line of steps, and end it."""
    start = time.monotonic()
    processes = [
        subprocess.Popen(
            [str(word) for word in words],
            env=os.environ | dict(environment),
            stdout=subprocess.PIPE if number == 0 else subprocess.DEVNULL,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        for number, environment in enumerate(environments)
    ]
    lines: list[tuple[float, str]] = []
    samples: list[tuple[float, float]] = []
    ended = threading.Event()
    watch = threading.Thread(target=_watch_gpu, args=(ended, samples))
    watch.start()
    first, busy = 0.0, 0.0
    killer = threading.Timer(LONGEST_START, _end, (processes,))
    killer.start()
    output = processes[0].stdout
    assert output
    for line in output:
        now = time.monotonic()
        lines.append((now, line.rstrip()))
        if not first and re.search(r"iteration \d+/\d+", line):
            first, busy = now, _busy_seconds()
            samples.clear()
            killer.cancel()
            killer = threading.Timer(seconds, _end, (processes,))
            killer.start()
    killer.cancel()
    _end(processes)
    for process in processes:
        process.wait()
    ended.set()
    watch.join()
    passed = time.monotonic() - first
    images = rate(lines, batch) * len(environments)
    if not first or not images:
        text = " ".join(line for _, line in lines[-3:])
        told = "too few steps" if first and not any(map(_has_failed, processes)) else text[:200] or "no line of steps came"
        return Steady(failed="out of memory" if "out of memory" in text.lower() else told)
    memory, share = ([sample[place] for sample in samples] or [0.0] for place in (0, 1))
    return Steady(images, first - start, (_busy_seconds() - busy) / passed, max(memory), statistics.fmean(share) / 100)


def _has_failed(process: subprocess.Popen[str]) -> bool:
    return process.returncode not in (0, -signal.SIGKILL)


def _end(processes: Sequence[subprocess.Popen[str]]) -> None:
    for process in processes:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)


def _busy_seconds() -> float:
    user, nice, system, *_ = map(int, Path("/proc/stat").read_text().splitlines()[0].split()[1:])
    return (user + nice + system) / os.sysconf("SC_CLK_TCK")


def _watch_gpu(ended: threading.Event, samples: list[tuple[float, float]]) -> None:
    """MB used and percent busy of the first GPU, once a second."""
    query = ["nvidia-smi", "--query-gpu=memory.used,utilization.gpu", "--format=csv,noheader,nounits", "--id=0"]
    while shutil.which(query[0]) and not ended.wait(1):
        found = subprocess.run(query, capture_output=True, text=True).stdout.split(",")
        if len(found) == 2 and all(part.strip().isdigit() for part in found):
            samples.append((float(found[0]), float(found[1])))


def words_of(contender: str, cell: str, folder: Path, photos: int) -> tuple[list[object], list[dict[str, str]]]:
    """The command of a contender, and the variables of each of its processes."""
    network, _, batch = cell.partition(":")
    data = prepared(folder, photos)
    common = {
        "WORKERS": str(os.cpu_count()),
        "EPOCHS": str(MANY_EPOCHS),
        "PRINT_EVERY": str(EVERY),
        "MLFLOW_TRACKING_URI": "sqlite://",
    }
    if contender.startswith("ours"):
        output = folder / "trained"
        shutil.rmtree(output, ignore_errors=True)
        words = training_words(untrained(folder, network), data / "training", data / "validation", output, batch)
        words = changed(words, epochs=MANY_EPOCHS, print_frequency=EVERY, patience=MANY_EPOCHS)
        own = {"DESIGNER_VISION_CACHE_MB": "0"} if "kept" not in contender else {}
        own |= {"DESIGNER_VISION_COMPILE": "1"} if "compiled" in contender else {}
        return words, [common | place | own for place in ranks(gpus() if "all GPUs" in contender else 1)]
    script = {"plain": "plain.py", "timm,": "timm_loop.py", "network": "network_alone.py"}[contender.split()[0]]
    last = {"timm, best flags": ["best"], "timm, compiled": ["compiled"], "network alone": [10**9],
            "network alone, compiled": [10**9, "compiled"]}.get(contender, [])  # fmt: skip
    return [sys.executable, PEERS / script, data / "photos", network, batch, *last], [common]


def changed(words: Sequence[object], **flags: object) -> list[object]:
    """A command with other values for some of its flags."""
    found = list(words)
    for name, value in flags.items():
        found[found.index(f"--{name}") + 1] = value
    return found


def gpus() -> int:
    import torch

    return torch.cuda.device_count()


def profiled(folder: Path, cell: str, photos: int) -> list[str]:
    """What a traced training says of its steps: the verdict, the longest kernels, and how long the GPU did nothing."""
    words, environments = words_of("ours", cell, folder, photos)
    words, output = changed(words, epochs=1), folder / "trained"
    environment = os.environ | environments[0] | {"DESIGNER_VISION_PROFILE": "1"}
    ended = subprocess.run([str(word) for word in words], env=environment, capture_output=True, text=True, timeout=600)
    if ended.returncode or not (output / "profile/verdict.txt").exists():
        return [f"The traced training failed: {ended.stderr[-300:]}"]
    said = [(output / "profile/verdict.txt").read_text().strip()]
    with gzip.open(output / "profile/trace.json.gz", "rt") as file:
        events = json.load(file)["traceEvents"]
    return said + kernels_of(events)


def main(folder: Path, minutes: float, dry: bool) -> None:
    import torch

    if not torch.cuda.is_available() and not dry:
        sys.exit("bench-gpu needs a GPU that PyTorch can use, and there is none here")
    gpu = torch.cuda.get_device_name(0) if torch.cuda.is_available() else "a CPU (dry run)"
    end, photos, seconds = time.monotonic() + 60 * minutes, 64 if dry else PHOTOS, 25 if dry else STEADY_SECONDS
    folder.mkdir(parents=True, exist_ok=True)
    kept = folder / "gpu.jsonl"
    results = [json.loads(line) for line in kept.read_text().splitlines()] if kept.exists() else []
    cells = ("resnet18:16",) if dry else CELLS
    contenders = [name for name in CONTENDERS if name != "ours, all GPUs" or gpus() > 1]
    wanted = [(cell, contender) for cell in cells for contender in contenders]
    missing = [pair for pair in wanted if pair not in {(result["cell"], result["contender"]) for result in results}]
    for cell, contender in list(missing):
        if time.monotonic() > end:
            break
        words, environments = words_of(contender, cell, folder, photos)
        if dry:
            environments = [environment | {"PRINT_EVERY": "1"} for environment in environments]
            words = changed(words, print_frequency=1) if "--print_frequency" in words else words
        run = steady(words, environments, int(cell.partition(":")[2]), seconds)
        missing.remove((cell, contender))
        results.append({"cell": cell, "contender": contender, "run": asdict(run)})
        with kept.open("a") as file:
            file.write(json.dumps(results[-1]) + "\n")
        say(f"{cell} {contender}: {run.failed or f'{run.images_per_second:.0f} images/s'}")
    print(page(results, profiled(folder, cells[0], photos), gpu, len(missing)))
    print(f"* Command: `python benchmarks/gpu.py FOLDER {minutes:g}`; {gpus()} GPUs; driver {driver()}.")
    print(conditions(("torch", "torchvision", "timm")))


def driver() -> str:
    query = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader", "--id=0"]
    return subprocess.run(query, capture_output=True, text=True).stdout.strip() if shutil.which(query[0]) else "unknown"


if __name__ == "__main__":
    main(Path(sys.argv[1]), float(sys.argv[2]), "--dry" in sys.argv[3:])
