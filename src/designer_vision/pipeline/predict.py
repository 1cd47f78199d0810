"""`designer-vision predict`: the most probable labels of some photos."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout
from pathlib import Path

import click

from designer_vision.formats.manifest import MANIFEST, UNFINISHED
from designer_vision.pipeline.show import end
from designer_vision.runtime.console import cell, printable
from designer_vision.runtime.errors import DesignerError, FileSystemError, InvalidDatasetError, PipelineError
from designer_vision.runtime.without_compiler import leave_compiler_out

Answer = Sequence[tuple[str, float]]
"""Labels with their probabilities, the most probable one first."""
Tell = Callable[[str, Answer, str | None], None]
"""Prints the name of a photo with its answer; where a threshold is given, with the label that it leaves."""


@click.command()
@click.argument("model", type=click.Path(path_type=Path))
@click.argument("photos", type=click.Path(path_type=Path), nargs=-1, required=True)
@click.option("--csv", "as_csv", is_flag=True, help="A table: file, then label and probability of each.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
@click.option("--threshold", type=float, default=0.0, help="Call a photo unknown that no class of this probability fits.")
def predict(model: Path, photos: tuple[Path, ...], as_csv: bool, as_json: bool, threshold: float) -> None:
    """Print the five most probable labels of each photo; PHOTOS are files or folders of them.

    MODEL is the folder that Train PyTorch Model wrote.
    """
    if as_csv and as_json:
        raise click.UsageError("--csv and --json are two formats; choose one")
    sys.stdout.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]  # a terminal may lack a label's letters
    try:
        refuse_others(model)
        _predict(model, photos, threshold, _csv if as_csv else _json if as_json else _plain)
    except BrokenPipeError:
        raise  # whoever read the answers has enough of them
    except OSError as error:
        end(FileSystemError(f"{error}; check that file or disk and run the same command again"))
    except DesignerError as error:
        end(error)


def refuse_others(folder: Path) -> None:
    """Refuse a run's or a step's folder that has a model in it.

    Raises:
        PipelineError: with the model to give instead.
    """
    if (folder / MANIFEST).exists():
        return
    places = ("trained_model", "outputs/trained_model", "*/outputs/trained_model")
    below = sorted(path for place in places for path in folder.glob(place))
    found = [str(path) for path in below if (path / MANIFEST).exists() or (path / UNFINISHED).exists()]
    if found:
        raise PipelineError(f"{folder} is not a model, but there is one in it; give {' or '.join(found)}")


def _predict(folder: Path, paths: Sequence[Path], threshold: float, start: Callable[[int, bool], Tell]) -> None:
    leave_compiler_out()

    from designer_vision.formats.data_frame_directory import UNKNOWN, check_threshold
    from designer_vision.inference.prediction import MOST_LABELS, find_photos
    from designer_vision.inference.prediction import predict as predictions
    from designer_vision.inference.scoring import read_trained_model

    with redirect_stdout(sys.stderr):  # what a reader has to say is no answer
        model = read_trained_model(folder)
    check_threshold(threshold, model.labels)
    found = [find_photos(path) for path in paths]
    photos = [photo for some, _ in found for photo in some]
    others, hidden, predicted = 0, sum(count for _, count in found), 0
    tell = start(min(MOST_LABELS, len(model.labels)), threshold > 0)
    for photo, answer in predictions(model, photos):
        if isinstance(answer, list):
            label, probability = answer[0]
            tell(photo.called, answer, None if threshold == 0 else label if probability >= threshold else UNKNOWN)
            predicted += 1
        elif answer is None:
            others += 1
        else:
            click.echo(printable(f"warning: {answer}; it is left out"), err=True)
    if others or hidden:
        click.echo(f"skipped: {others} not images, {hidden} hidden", err=True)
    if not predicted:
        raise InvalidDatasetError(f"there is no image that can be read in {', '.join(map(str, paths))}")


def _plain(labels: int, has_threshold: bool) -> Tell:
    def tell(name: str, answer: Answer, label: str | None) -> None:
        texts = ", ".join(f"{label} {100 * probability:.1f} %" for label, probability in answer)
        _print(printable(f"{name}: {texts}" if label is None else f"{name}: {label} ({texts})"))

    return tell


def _csv(labels: int, has_threshold: bool) -> Tell:
    writer = csv.writer(sys.stdout, lineterminator="\n")
    columns = [f"{name}_{number}" for number in range(1, labels + 1) for name in ("label", "probability")]
    writer.writerow(["file", *(["label"] if has_threshold else []), *columns])

    def tell(name: str, answer: Answer, label: str | None) -> None:
        values = [value for label, probability in answer for value in (cell(label), f"{probability:.6f}")]
        writer.writerow([cell(name), *([] if label is None else [cell(label)]), *values])
        sys.stdout.flush()

    return tell


def _json(labels: int, has_threshold: bool) -> Tell:
    def tell(name: str, answer: Answer, label: str | None) -> None:
        predictions = [{"label": label, "probability": probability} for label, probability in answer]
        _print(json.dumps({"file": name} | ({} if label is None else {"label": label}) | {"predictions": predictions}))

    return tell


def _print(line: str) -> None:
    print(line, flush=True)
