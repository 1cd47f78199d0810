"""Images a second of training, beside a plain script, timm, and the network alone.

    python benchmarks/training.py FOLDER RUNS all|short CELL...        a CELL is NETWORK:BATCH_SIZE, such as resnet18:16

Runs every contender (`short`: all but timm's default) of every cell in turn, RUNS times, each as a process of its own. Results go
to FOLDER/training.jsonl as they come, and a run that stands there is not made again. Prints the table as Markdown. The peers
need timm (`make bench` sees to it).
"""

from __future__ import annotations

import json
import re
import shutil
import statistics
import sys
from pathlib import Path

from measure import Run, conditions, prepare, run, say, summary
from photos import write_photos

PEERS = Path(__file__).parent / "peers"
IMAGES, IMAGES_OF_SLOW_ONES = {"16": 400, "64": 512}, 192
"""How many images a run has, by batch size; fewer for those in float32, which take the longest."""
LEFT_OUT = 0.4
"""Of a run's steps, the first: memory grows, kernels are made, and MLflow is imported beside them."""
EXPLANATION = """\
* Everyone reads the same JPEG photos of about 500 x 375 (`benchmarks/photos.py`), takes a random resized crop of 224 x 224 and
  flips it, and trains from scratch with SGD; batch size is per process. Lines come every step.
* images/s are wall clock, from the end of a run's 40th percent of steps to its end: memory and kernels are settled then, and
  MLflow, which is imported beside the first steps, has been. `first step after s` counts from the start of the process.
* The plain script: float32, PIL, torchvision's transforms, two data workers. timm's package has no training script, so the peer
  is its dataset, loader, network and optimizer in that script's loop; "best flags" are bfloat16 autocast and channels last.
* The network alone: steps on one batch in memory, bfloat16, channels last, freed memory kept, fused optimizer.
* Peak MB: proportional set size of all processes of the run, looked at once a second.
"""
CONTENDERS = ("plain script", "timm, default", "timm, best flags", "network alone", "1 process", "2 processes")


def prepared(folder: Path, count: int) -> Path:
    """Photos, and the same as an ImageDirectory that asks for a random crop and flip; made once."""
    target = folder / f"photos_{count}"
    if not target.exists():
        say(f"making {count} photos")
        scratch = folder / "unfinished"
        shutil.rmtree(scratch, ignore_errors=True)
        write_photos(scratch / "photos", count)
        entry = (sys.executable, "-m")
        choices = {"resize": False, "random_resized_crop": True, "random_resized_crop_size": 224, "random_horizontal_flip": True}
        prepare(*entry, "designer_vision.entry.convert_to_image_directory", "--input_dataset", scratch / "photos",
                "--output_image_directory", scratch / "converted")  # fmt: skip
        prepare(*entry, "designer_vision.entry.init_image_transformation", *transformation_flags(choices),
                "--output_image_transformation", scratch / "transformation")  # fmt: skip
        prepare(*entry, "designer_vision.entry.apply_image_transformation", "--mode", "For training",
                "--input_image_transformation", scratch / "transformation", "--input_image_directory", scratch / "converted",
                "--output_image_directory", scratch / "training")  # fmt: skip
        prepare(*entry, "designer_vision.entry.split_image_directory", "--input_image_directory", scratch / "converted",
                "--fraction", "0.95", "--random_seed", "1", "--output_image_directory1", scratch / "rest",
                "--output_image_directory2", scratch / "validation")  # fmt: skip
        scratch.rename(target)
    return target


def untrained(folder: Path, network: str) -> Path:
    """The ModelDirectory to train; made once."""
    model = folder / f"untrained_{network}"
    if not model.exists():
        prepare(sys.executable, "-m", "designer_vision.entry.image_network", "--model_name", network, "--pretrained", "False",
                "--untrained_model", model)  # fmt: skip
    return model


def transformation_flags(chosen: dict[str, object]) -> list[object]:
    """All flags of Init Image Transformation: the component's defaults, and what is chosen."""
    import yaml

    component = Path(__file__).parents[1] / "component/init_image_transformation.yaml"
    inputs = yaml.safe_load(component.read_text())["inputs"]
    return [word for name, port in inputs.items() for word in (f"--{name}", chosen.get(name, port["default"]))]


def measure(contender: str, cell: str, folder: Path) -> dict[str, float]:
    """One run: images/s of its later steps, seconds to the end of the first one, and memory."""
    network, _, batch_size = cell.partition(":")
    count = IMAGES_OF_SLOW_ONES if contender in ("plain script", "timm, default") else IMAGES[batch_size]
    data, model, output = prepared(folder, count), untrained(folder, network), folder / "trained"
    processes = 1
    if contender.endswith(("process", "processes")):
        processes = int(contender[0])
        words = training_words(model, data / "training", data / "validation", output, batch_size)
        result = run(words, ranks(processes), writes=[output])
    else:
        script = {"plain": "plain.py", "timm,": "timm_loop.py", "network": "network_alone.py"}[contender.split()[0]]
        last = {"timm, default": ["default"], "timm, best flags": ["best"], "network alone": [count]}.get(contender, [])
        result = run([sys.executable, PEERS / script, data / "photos", network, batch_size, *last])
    return {**rate(result, count), "processes": processes, "seconds": result.seconds}


def training_words(model: Path, training: Path, validation: Path, output: Path, batch_size: str) -> list[object]:
    flags = {
        "untrained_model": model, "training_dataset": training, "validation_dataset": validation, "epochs": 1,
        "batch_size": batch_size, "warmup_step_number": 0, "learning_rate": 0.01, "random_seed": 1, "patience": 3,
        "print_frequency": 1, "trained_model": output,
    }  # fmt: skip
    words = [word for name, value in flags.items() for word in (f"--{name}", value)]
    return [sys.executable, "-m", "designer_vision.entry.train_pytorch_model", *words]


def ranks(processes: int) -> list[dict[str, str]]:
    """The variables of each process of one node; metrics go nowhere."""
    common = {"MLFLOW_TRACKING_URI": "sqlite://"}
    if processes == 1:
        return [common]
    node = {"WORLD_SIZE": str(processes), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29517", "NODE_RANK": "0"}
    return [common | node | {"RANK": str(rank), "LOCAL_RANK": str(rank)} for rank in range(processes)]


def rate(result: Run, count: int) -> dict[str, float]:
    """From lines that say `iteration k/n`."""
    steps = [
        (at, int(found[1]), int(found[2])) for at, line in result.lines if (found := re.search(r"iteration (\d+)/(\d+)", line))
    ]
    (start, begin, iterations), (last, end, _) = steps[int(len(steps) * LEFT_OUT)], steps[-1]
    images = count * (end - begin) / iterations
    return {"images/s": images / (last - start), "first step": steps[0][0], "peak MB": result.peak_mb, "others": result.others}


def table(lines: list[dict[str, object]]) -> str:
    """Markdown: a row a contender, with ratios to the medians of the same cell."""
    columns = ("cell", "contender", "images/s", "x plain", "x timm best", "x network alone", "first step after s", "peak MB")
    text = f"| {' | '.join(columns)} |\n{'|---' * len(columns)}|\n"
    for cell in dict.fromkeys(str(line["cell"]) for line in lines):
        runs = {name: [line for line in lines if (line["cell"], line["contender"]) == (cell, name)] for name in CONTENDERS}
        values = {name: {key: [float(str(one[key])) for one in found] for key in ("images/s", "first step", "peak MB")}
                  for name, found in runs.items() if found}  # fmt: skip
        median = {name: statistics.median(found["images/s"]) for name, found in values.items()}
        for name, found in values.items():
            against = ("plain script", "timm, best flags", "network alone")
            ratios = [f"{median[name] / median[other]:.2f}" if other in median else "" for other in against]
            text += f"| {cell} | {name} | {summary(found['images/s'])} | {' | '.join(ratios)} | "
            text += f"{statistics.median(found['first step']):.1f} | {statistics.median(found['peak MB']):.0f} |\n"
    return text


def main(folder: Path, runs: int, contenders: tuple[str, ...], cells: list[str]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    results = folder / "training.jsonl"
    lines = [json.loads(line) for line in results.read_text().splitlines()] if results.exists() else []
    done = {(line["cell"], line["contender"], line["run"]) for line in lines}
    for number in range(runs):
        for cell in cells:
            for contender in contenders:
                if (cell, contender, number) in done:
                    continue
                figures = measure(contender, cell, folder)
                line = {"cell": cell, "contender": contender, "run": number, **figures}
                lines.append(line)
                with results.open("a") as file:
                    file.write(json.dumps(line) + "\n")
                say(f"{cell} {contender}: {figures['images/s']:.1f} images/s, others {figures['others']:.2f}")
    print("# Images a second of training, beside its peers\n")
    print("What is compared is said at the end. Medians, with minimum and maximum, of the runs below.\n")
    print(table([line for line in lines if line["cell"] in cells]))
    print(EXPLANATION)
    print(f"* Images of a run: {IMAGES} by batch size, {IMAGES_OF_SLOW_ONES} in float32.")
    print(f"* Command: `python benchmarks/training.py FOLDER {' '.join(sys.argv[2:])}`")
    print(conditions(("torch", "torchvision", "timm", "pillow", "simplejpeg")))
    print("Raw lines:\n\n```json")
    print("\n".join(json.dumps({key: round(value, 3) if isinstance(value, float) else value for key, value in line.items()})
                    for line in lines if line["cell"] in cells))  # fmt: skip
    print("```")


if __name__ == "__main__":
    who = CONTENDERS if sys.argv[3] == "all" else tuple(name for name in CONTENDERS if name != "timm, default")
    main(Path(sys.argv[1]), int(sys.argv[2]), who, sys.argv[4:])
