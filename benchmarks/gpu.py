"""Images a second of training on a GPU, beside its peers, and what a step waits for.

    python benchmarks/gpu.py FOLDER MINUTES PAGE          # make bench-gpu: 25 minutes; again to go on with what is missing
    python benchmarks/gpu.py FOLDER MINUTES PAGE --dry    # the same on a CPU with tiny runs, to see that it works

Every cell (network and batch size) has its contenders, the most telling first, each a process of its own that is ended after some
seconds of steady work. Results go to FOLDER/gpu.jsonl as they come, and a run that stands there is not made again on the same
kind of GPU unless it failed; remove its line to have it anew. PAGE, in Markdown, is written after every run, so that there is one
however it ends.
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
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

os.environ.setdefault("CUDA_DEVICE_ORDER", "PCI_BUS_ID")  # nvidia-smi's
import torch
from gpu_data import TIMES_KEPT, photos_for, times_for, training_for, waiting_in
from gpu_page import CELLS, CONTENDERS, Line, Steady, is_done, kernels_of, order, page, rate, reason_of, runs_of, waiting_of
from measure import descendants, hardware, say
from training import PEERS, prepared, ranks, training_words, untrained

from designer_vision.runtime.machine import available_cpus

MOST_WORKERS, MANY_EPOCHS, IMAGES_A_LINE = 16, 1000, 640
LONGEST_START, LONGEST_TRACE = 300, 300
EPOCH_ENDED, METRICS_SENT = re.compile(r"epoch \d+/\d+ \| "), 3
"""Our line, and how many seconds after it MLflow has the epoch's metrics."""
TRACED, NOT_COMPILED = "traced", "the network is not compiled"


@dataclass(frozen=True)
class Scale:
    """How much is done: photos, seconds of steady work, seconds of an epoch at the speed of the network alone, and the cells."""

    photos: int = 2048
    steady: float = 20
    epoch: float = 20
    images_a_line: int = IMAGES_A_LINE
    cells: tuple[str, ...] = CELLS


DRY = Scale(64, 8, 2, 1, ("resnet18:16",))


def main(folder: Path, minutes: float, target: Path, scale: Scale) -> None:
    end = time.monotonic() + 60 * minutes
    gpu = device_name() if torch.cuda.is_available() else "a CPU (dry run)"
    folder.mkdir(parents=True, exist_ok=True)
    kept = folder / "gpu.jsonl"
    lines = kept.read_text().splitlines() if kept.exists() else []
    results = [result for line in lines if (result := json.loads(line))["gpu"] == gpu]
    contenders = [name for name in CONTENDERS if name != "ours, all GPUs" or torch.cuda.device_count() > 1]
    wanted = order(scale.cells, contenders)
    wanted.insert(len(contenders), (scale.cells[0], TRACED))
    missing = [
        pair for pair in wanted if pair not in {(result["cell"], result["contender"]) for result in results if is_done(result)}
    ]
    for cell, contender in list(missing):
        if time.monotonic() + 2 * scale.steady > end:
            break
        result: dict[str, Any] = {"gpu": gpu, "cell": cell, "contender": contender}
        if contender == TRACED:
            result["said"], result["failed"] = traced(folder, cell, scale)
            say(f"{cell} traced: {result['said'][0]}")
        else:
            alone = runs_of(results, cell).get(CONTENDERS[0], Steady()).images_per_second
            speed = alone * (torch.cuda.device_count() if contender == "ours, all GPUs" else 1)
            run = measured(contender, cell, folder, scale, times_for(speed * scale.epoch / scale.photos))
            result["run"] = asdict(run)
            say(f"{cell} {contender}: {run.failed or f'{run.images_per_second:.0f} images/s'}")
        missing.remove((cell, contender))
        results.append(result)
        with kept.open("a") as file:
            file.write(json.dumps(result) + "\n")
        write_page(target, results, gpu, len(missing))
    write_page(target, results, gpu, len(missing))
    say(f"{target}: {len(missing)} runs are missing" if missing else f"{target}: complete")


def write_page(target: Path, results: Sequence[Mapping[str, Any]], gpu: str, missing: int) -> None:
    said = [result["said"] for result in results if "said" in result]
    text = page(results, said[-1] if said else [], gpu, missing)
    versions = f"driver {driver()}, CUDA {torch.version.cuda}, cuDNN {torch.backends.cudnn.version()}"
    text += f"* GPUs: {torch.cuda.device_count()}; {versions}.\n"
    text += hardware(("torch", "torchvision", "timm", "pillow", "simplejpeg"))
    rows = "\n".join(json.dumps(result) for result in results)
    target.write_text(f"{text}\nRaw lines:\n\n```json\n{rows}\n```\n")


def device_name() -> str:
    """What torch calls its first GPU, asked in a process of its own: who asks may hold some of its memory from then on."""
    question = "import torch; print(torch.cuda.get_device_name(0))"
    return subprocess.run([sys.executable, "-c", question], capture_output=True, text=True, check=True).stdout.strip()


def driver() -> str:
    query = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader", f"--id={first_gpu()}"]
    return subprocess.run(query, capture_output=True, text=True).stdout.strip() if shutil.which(query[0]) else "unknown"


def first_gpu() -> str:
    """nvidia-smi's name of torch's first GPU."""
    return os.environ.get("CUDA_VISIBLE_DEVICES", "").partition(",")[0] or "0"


# One run


def measured(contender: str, cell: str, folder: Path, scale: Scale, times: int) -> Steady:
    """One run of a contender."""
    batch, database = int(cell.partition(":")[2]), folder / "mlflow.db"
    database.unlink(missing_ok=True)
    is_kept, is_ours = "kept" in contender, contender.startswith("ours")
    words, environments = command(contender, cell, folder, scale, min(times, TIMES_KEPT) if is_kept else times)
    begins = 1 if is_kept else 0  # decoded images are there when the first epoch is over
    lines, run = watched(words, environments, scale.steady, begins + 1 if is_ours else 0)
    if run.failed:
        return run
    ends = [place for place, (_, line) in enumerate(lines) if EPOCH_ENDED.match(line)]
    counted = lines if not is_kept else lines[ends[0] + 1 :] if ends else []
    if told := [line for _, line in lines if NOT_COMPILED in line]:
        return Steady(failed=told[0].replace("|", "/")[:200])
    images_per_second = rate(counted, batch * len(environments))
    if not images_per_second:
        return Steady(failed="too few steps")
    waiting = waiting_in(database, begins) if is_ours else waiting_of(counted)
    return replace(run, images_per_second=images_per_second, waiting=waiting)


def command(contender: str, cell: str, folder: Path, scale: Scale, times: int) -> tuple[list[object], list[dict[str, str]]]:
    """The command of a contender, and the variables of each of its processes."""
    network, _, batch = cell.partition(":")
    data, every = prepared(folder, scale.photos), max(1, scale.images_a_line // int(batch))
    if not contender.startswith("ours"):
        script = {"plain": "plain.py", "timm,": "timm_loop.py", "network": "network_alone.py"}[contender.split()[0]]
        last = {"timm, best flags": ["best"], "timm, compiled": ["compiled"], "network alone": [10**9],
                "network alone, compiled": [10**9, "compiled"]}.get(contender, [])  # fmt: skip
        workers = str(min(MOST_WORKERS, available_cpus()) if torch.cuda.is_available() else 1)
        environment = {"WORKERS": workers, "EPOCHS": str(MANY_EPOCHS), "PRINT_EVERY": str(every)}
        photos = "-" if script == "network_alone.py" else photos_for(data, times)
        return [sys.executable, PEERS / script, photos, network, batch, *last], [environment]
    output = folder / "trained"
    shutil.rmtree(output, ignore_errors=True)
    words = training_words(untrained(folder, network), training_for(data, times), data / "validation", output, batch)
    words = changed(words, epochs=MANY_EPOCHS, print_frequency=every, patience=MANY_EPOCHS)
    own = {"MLFLOW_TRACKING_URI": f"sqlite:///{(folder / 'mlflow.db').absolute()}"}
    own |= {"DESIGNER_VISION_CACHE_MB": "0"} if "kept" not in contender else {}
    own |= {"DESIGNER_VISION_COMPILE": "1"} if "compiled" in contender else {}
    return words, [place | own for place in ranks(torch.cuda.device_count() if "all GPUs" in contender else 1)]


def changed(words: Sequence[object], **flags: object) -> list[object]:
    """A command with other values for some of its flags."""
    found = list(words)
    for name, value in flags.items():
        found[found.index(f"--{name}") + 1] = value
    return found


def watched(
    words: Sequence[object], environments: Sequence[Mapping[str, str]], seconds: float, epochs: int
) -> tuple[list[Line], Steady]:
    """What a command's first process printed, and what it used, or why it failed.

    It is ended some seconds after its first line of steps and when so many of its epochs are over, or after three times as long.
    """
    lines: list[Line] = []
    start, first, epoch_ended, ended_by_us = time.monotonic(), 0.0, 0.0, threading.Event()
    with started(words, environments) as processes, Usage() as usage:

        def end() -> None:
            ended_by_us.set()
            usage.stop()
            end_all(processes)

        timer = timer_of(LONGEST_START, end)
        output = processes[0].stdout
        assert output
        for line in output:
            now = time.monotonic()
            lines.append((now, line.rstrip()))
            if EPOCH_ENDED.match(line):
                epochs, epoch_ended = epochs - 1, now
            if not first and re.search(r"iteration \d+/\d+", line):
                first = now
                usage.begin()
                timer.cancel()
                timer = timer_of(3 * seconds, end)
            if first and now - first > seconds and epochs <= 0 and now - epoch_ended > METRICS_SENT:
                end()
        timer.cancel()
    if not first and ended_by_us.is_set():
        return lines, Steady(failed=f"no step in {LONGEST_START} s; last: {reason_of(lines)}"[:200])
    if not ended_by_us.is_set():
        return lines, Steady(failed=reason_of(lines))
    return lines, Steady(0.0, first - start, *usage.figures())


def timer_of(seconds: float, work: Callable[[], None]) -> threading.Timer:
    """A timer that runs, and holds up nobody's exit."""
    timer = threading.Timer(seconds, work)
    timer.daemon = True
    timer.start()
    return timer


@contextmanager
def started(words: Sequence[object], environments: Sequence[Mapping[str, str]]) -> Iterator[list[subprocess.Popen[str]]]:
    """The processes of a run, of which none is left afterwards, however that comes."""
    processes: list[subprocess.Popen[str]] = []
    try:
        for environment in environments:
            output = subprocess.DEVNULL if processes else subprocess.PIPE
            processes.append(
                subprocess.Popen(
                    [str(word) for word in words],
                    env=os.environ | dict(environment),
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    text=True,
                    errors="replace",
                    start_new_session=True,
                )
            )
        yield processes
    finally:
        end_all(processes)
        for process in processes:
            process.wait()


def end_all(processes: Sequence[subprocess.Popen[str]]) -> None:
    """End processes and those that they started, which may outlive them and hold their output open."""
    for process in processes:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


class Usage:
    """CPUs of what this process started, and memory and busy share of the first GPU, looked at once a second."""

    def __init__(self) -> None:
        self._ended, self._thread = threading.Event(), threading.Thread(target=self._watch)
        self._samples: list[tuple[float, float, float, float]] = []

    def __enter__(self) -> Usage:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        self._thread.join()

    def stop(self) -> None:
        """Look no more: what is looked at is about to end."""
        self._ended.set()

    def begin(self) -> None:
        """Forget what was before."""
        self._samples.clear()

    def figures(self) -> tuple[float, float, float]:
        """CPUs, MB at the peak, and the share of the time."""
        if len(self._samples) < 2:
            return 0.0, 0.0, 0.0
        at, cpu, memory, busy = zip(*self._samples, strict=True)
        return (cpu[-1] - cpu[0]) / (at[-1] - at[0]), max(memory), statistics.fmean(busy) / 100

    def _watch(self) -> None:
        query = ["nvidia-smi", "--query-gpu=memory.used,utilization.gpu", "--format=csv,noheader,nounits", f"--id={first_gpu()}"]
        has_gpu = shutil.which(query[0]) is not None
        while not self._ended.wait(1):
            told = subprocess.run(query, capture_output=True, text=True).stdout.split(",") if has_gpu else []
            numbers = [float(word) if word.strip().isdigit() else 0.0 for word in told]
            memory, busy = numbers if len(numbers) == 2 else (0.0, 0.0)
            cpu = sum(map(cpu_seconds, descendants(os.getpid())))
            if not self._ended.is_set():
                self._samples.append((time.monotonic(), cpu, memory, busy))


def cpu_seconds(process: int) -> float:
    """What a process has used so far; 0 if it is gone."""
    try:
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def traced(folder: Path, cell: str, scale: Scale) -> tuple[list[str], bool]:
    """What a traced training says of its steps: the verdict, the GPU's idle time, the longest kernels; and whether it failed."""
    words, environments = command("ours", cell, folder, scale, 1)
    words, profile = changed(words, epochs=1), folder / "trained/profile"
    environment = os.environ | environments[0] | {"DESIGNER_VISION_PROFILE": "1", "MLFLOW_TRACKING_URI": "sqlite://"}
    try:
        ended = subprocess.run(
            [str(word) for word in words],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            timeout=LONGEST_TRACE,
        )
    except subprocess.TimeoutExpired:
        return [f"The traced training took more than {LONGEST_TRACE} s."], True
    if ended.returncode or not (profile / "verdict.txt").exists():
        return [f"The traced training failed: {reason_of([(0, line) for line in ended.stdout.splitlines()])}"], True
    with gzip.open(profile / "trace.json.gz", "rt") as file:
        events = json.load(file)["traceEvents"]
    return [f"{cell}: {(profile / 'verdict.txt').read_text().strip()}", "", *kernels_of(events)], False


if __name__ == "__main__":
    if not torch.cuda.is_available() and "--dry" not in sys.argv:
        sys.exit("bench-gpu needs a GPU that PyTorch can use, and there is none here")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    main(Path(sys.argv[1]), float(sys.argv[2]), Path(sys.argv[3]), DRY if "--dry" in sys.argv[4:] else Scale())
