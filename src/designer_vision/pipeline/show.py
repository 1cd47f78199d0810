"""`designer-vision show`: what a folder holds, in a few lines or as JSON."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, Never

import click
import msgspec

from designer_vision.formats.left_out import in_words
from designer_vision.formats.manifest import MANIFEST, UNFINISHED
from designer_vision.pipeline.run_folder import MARK
from designer_vision.pipeline.runner import RECORD
from designer_vision.report.summary import Images, Network, Scores, Sizes, Summary, Training, Transformation, summarize
from designer_vision.runtime.console import printable
from designer_vision.runtime.errors import DesignerError, FileSystemError, InvalidDatasetError, PipelineError

MOST, LONGEST = 10, 60
"""Of a list, and letters of each of its items."""
OUTPUTS, WEIGHTS = "outputs", "model"
EVALUATION = ("metrics.json", "confusion_matrix.png")
NOT_RECORDED = "not recorded"

Lines = list[tuple[str, str]]
"""A heading and a text each."""


@click.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="All of it as one JSON object, for programs.")
def show(folder: Path, as_json: bool) -> None:
    """Describe a folder that a component wrote, or a folder of images.

    Its files are checked on the way: what is damaged is an error.
    """
    try:
        refuse_others(folder)
        summary = summarize(folder)
    except OSError as error:
        end(FileSystemError(f"{error}; check that file or disk and run the same command again"))
    except DesignerError as error:
        end(error)
    if as_json:
        click.echo(json.dumps(msgspec.to_builtins(summary)))
        return
    lines = describe(summary)
    width = max(len(heading) for heading, _ in lines)
    for heading, text in lines:
        click.echo(printable(f"{heading:{width}}  {text}"))


def end(error: DesignerError) -> Never:
    """Say what is wrong in one line and end the command."""
    click.echo(error.line(), err=True)
    sys.exit(error.exit_code)


def refuse_others(folder: Path) -> None:
    """Refuse a whole run, a step and an evaluation, which would pass for plain folders of whatever images are in them.

    Raises:
        PipelineError: with the folders to show instead.
        InvalidDatasetError: with the file that has the evaluation's figures.
    """
    if _is_ours(folder):
        return
    if all((folder / name).is_file() for name in EVALUATION):
        raise InvalidDatasetError(f"{folder} is what Evaluate Model writes; its figures are in {folder / EVALUATION[0]}")
    outputs: Iterator[Path]
    if (folder / MARK).is_file():
        kind, outputs = "a whole run", folder.glob(f"*/{OUTPUTS}/*")
    elif (folder / RECORD).is_file():
        kind, outputs = "a step", chain(folder.glob(f"{OUTPUTS}/*"), folder.glob(f"trial_*/{OUTPUTS}/*"))
    elif folder.absolute().name == OUTPUTS and (folder.absolute().parent / RECORD).is_file():
        kind, outputs = "a step's outputs", folder.glob("*")
    else:
        return
    found = sorted(filter(_is_ours, outputs))
    advice = "show one of these:" if found else "no component has written to it yet"
    raise PipelineError(f"{folder} is the folder of {kind}; {advice}", *(f"  {path}" for path in found))


def _is_ours(folder: Path) -> bool:
    return (folder / MANIFEST).exists() or (folder / UNFINISHED).exists()


def describe(summary: Summary) -> Lines:
    """A summary in words, for people; names in it are as they are on the disk."""
    lines = [_state(summary)]
    match summary.content:
        case Images() as images:
            lines += _images(images)
        case Network() as network:
            lines += _network(network, summary.hashes)
        case Transformation() as transformation:
            lines += [
                ("operations", _operations(transformation.operations)),
                ("random", _operations(transformation.random_operations)),
            ]
        case Scores() as scores:
            lines += _scores(scores)
        case Training() as training:
            lines += _training(training)
        case None if summary.type is not None:
            lines.append(("checkpoint", "none yet"))
    if summary.finished and summary.origin != "plain folder":
        names = _some([_short(name) for name in summary.hashes])
        lines.append(("hashes", f"of {names}: all right" if names else NOT_RECORDED))
    return lines + [("note", note) for note in summary.notes]


def _state(summary: Summary) -> tuple[str, str]:
    if not summary.finished:
        return summary.type or "unfinished", "not finished: it is being written, or the job that wrote it was stopped"
    if summary.origin == "plain folder":
        return "plain folder", "images, not converted"
    writer = "a classic module" if summary.record_version is None else f"designer_vision, record version {summary.record_version}"
    return str(summary.type), f"finished, written by {writer}"


def _images(images: Images) -> Lines:
    labels = "not labelled"
    if images.labeled:
        source = f" by {images.labels_from}" if images.labels_from else ""
        labels = f"labelled{source}" + (f", {images.without_label:,} without a label" if images.without_label else "")
    lines = [("images", f"{images.images:,}, {labels}")]
    if images.classes:
        lines.append(("classes", _counts(images.classes)))
    lines.append(("sizes", _sizes(images.sizes, images.images) if images.sizes else NOT_RECORDED))
    lines.append(("transformation", _operations(images.transformation)))
    if images.weighting != "none":
        lines.append(("weighting", f"{images.weighting}, by Balance Classes"))
    if images.random_operations:
        lines.append(("in training", f"{_operations(images.random_operations)}, redrawn every epoch"))
    lines.append(("content hashes", _content_hashes(images)))
    if images.left_out:
        lines.append(("left out", in_words(images.left_out)))
    return [*lines, ("fingerprint", images.fingerprint)]


def _sizes(sizes: Sizes, images: int) -> str:
    text = f"{_size(sizes.smallest)} pixels"
    if sizes.different > 1:
        text = (
            f"{_size(sizes.smallest)} to {_size(sizes.largest)} pixels, {sizes.different:,} different ones, most often "
            f"{_size(sizes.most_frequent)} ({sizes.with_most_frequent:,} of them)"
        )
    return text if sizes.images == images else f"{text}; {NOT_RECORDED} for {images - sizes.images:,} of {images:,}"


def _size(size: tuple[int, int]) -> str:
    return f"{size[0]} x {size[1]}"


def _content_hashes(images: Images) -> str:
    if not images.with_content_hash:
        return NOT_RECORDED
    number = "all" if images.with_content_hash == images.images else f"{images.with_content_hash:,}"
    copies = f"copies of an earlier one: {images.repeated:,}" if images.repeated else "no two the same"
    return f"recorded for {number} images, {copies}"


def _network(network: Network, hashes: Mapping[str, str]) -> Lines:
    lines = [("network", f"{network.network}, {network.state}, {network.network_parameters:,} parameters")]
    if network.classes:
        lines.append(("classes", _names(network.classes)))
    size = f"{_size(network.input_size)} pixels" if network.input_size else f"size {NOT_RECORDED}"
    mean, std = (" ".join(f"{value:g}" for value in values) for values in (network.mean, network.std))
    lines.append(("input", f"{size}, mean {mean}, std {std}"))
    if network.input_size:
        lines.append(("transformation", _operations(network.transformation)))
    for heading, values in (("trained with", network.training_parameters), ("kept epoch", network.best_epoch)):
        if values:
            lines.append((heading, _values(values)))
    if network.temperature != 1:
        lines.append(("temperature", f"{network.temperature:g}, by which logits are divided"))
    return [*lines, ("weights", f"BLAKE2b {hashes[WEIGHTS]}")] if WEIGHTS in hashes else lines


def _scores(scores: Scores) -> Lines:
    lines = [("images", f"{scores.images:,}, {'labelled' if scores.labeled else 'not labelled'}")]
    lines.append(("predicted", _counts(scores.predicted)))
    if scores.accuracy is not None:
        lines.append(("accuracy", f"{100 * scores.accuracy:.1f} % of {scores.with_label:,} images"))
    return lines


def _training(training: Training) -> Lines:
    reached = f"{training.images:,} images of epoch {training.finished_epochs + 1} of {training.epochs}"
    if training.validated:
        reached += f" and {training.validated:,} batches of its validation"
    if training.finished_epochs >= training.epochs:
        reached = f"all {training.epochs} epochs, the model is not written yet"
    return [
        ("network", _short(training.network)),
        ("classes", _names(training.classes)),
        ("checkpoint", f"after {reached}; the same job, started again, continues from there"),
    ]


def _names(names: Sequence[str]) -> str:
    return f"{len(names):,}: {_some([_short(name) for name in names])}"


def _counts(counts: Mapping[str, int]) -> str:
    """Classes and how many images each has."""
    return f"{len(counts):,}: {_some([f'{_short(name)} ({count:,})' for name, count in counts.items()])}"


def _operations(operations: Sequence[Sequence[Any]]) -> str:
    """Resize 256, CenterCrop 224, RandomHorizontalFlip."""
    texts = [str(name) if argument in ({}, [], None) else f"{name} {argument}" for name, argument in operations]
    return _some([_short(text) for text in texts]) or "none"


def _values(values: Mapping[str, Any]) -> str:
    """Names and values; the whole of a number is in the JSON."""
    texts = {name: f"{value:.4g}" if isinstance(value, float) else str(value) for name, value in values.items()}
    return _some([f"{_short(name)} {_short(text)}" for name, text in texts.items()])


def _some(texts: Sequence[str]) -> str:
    """The first of some texts, and how many more there are."""
    more = f" and {len(texts) - MOST:,} more" if len(texts) > MOST else ""
    return ", ".join(texts[:MOST]) + more


def _short(text: str) -> str:
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"
