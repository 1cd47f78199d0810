"""The output folder of Train PyTorch Model: whose it is, its checkpoints, and what is written there in the end."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from designer_vision.formats.manifest import MANIFEST, UNFINISHED, publishing
from designer_vision.formats.model_directory import Model, read_model_directory, write_model_directory, write_model_files
from designer_vision.inference.evaluation import balanced_accuracy
from designer_vision.report.training_report import TrainingRun, write_training_report
from designer_vision.runtime.console import best_effort, say, within_a_second
from designer_vision.runtime.errors import CheckpointError, FailedToWriteOutputsError, LostRankError
from designer_vision.runtime.tracking import Tracker
from designer_vision.training.checkpoint import CHECKPOINT, Checkpoints, Manifest, Position, differences
from designer_vision.training.optimizer import has_layer_norm
from designer_vision.training.ranks import Ranks
from designer_vision.training.results import EpochResult
from designer_vision.training.stopping import StopRequest

METRICS = "metrics.jsonl"
"""Of every epoch, a line each, whether MLflow took them or not."""
PROFILE = "profile"
CHECKPOINTS = 3
"""At a time: two that are kept, and one that is being written."""


@dataclass(frozen=True)
class TrainingOutput:
    """A folder that holds a training's checkpoints while it runs, and then its model.

    Attributes:
        folder: it may not be there yet.
        configuration: of the training.
        dataset: that is trained on, whose schema goes with the model.
    """

    folder: Path
    configuration: Mapping[str, Any]
    dataset: Path

    @property
    def checkpoints(self) -> Checkpoints:
        return Checkpoints(self.folder / CHECKPOINT)

    def is_finished(self) -> bool:
        """Whether it holds a model of this configuration.

        Raises:
            FailedToWriteOutputsError: it is finished and of another one; with the differences.
        """
        if (self.folder / UNFINISHED).exists() or not (self.folder / MANIFEST).exists():
            return False
        changed = differences(read_model_directory(self.folder).configuration, self.configuration)
        if changed:
            raise FailedToWriteOutputsError(
                f"the output folder {self.folder} holds a model of another training: {'; '.join(changed)}; give an empty or new "
                "folder"
            )
        shutil.rmtree(self.folder / CHECKPOINT, ignore_errors=True)  # where the last attempt was killed after its last line
        say(f"{self.folder} is finished and has this configuration: nothing to do")
        return True

    def check_room(self, network: nn.Module) -> None:
        """Refuse to start where the checkpoints and the model will not fit.

        Raises:
            FailedToWriteOutputsError: with what is needed and what is there.
        """
        with suppress(OSError):
            self.folder.mkdir(parents=True, exist_ok=True)
            room = shutil.disk_usage(self.folder)
            weights = sum(tensor.nbytes for tensor in network.state_dict().values())
            moments = 2 if has_layer_norm(network) else 1
            needed = weights * (CHECKPOINTS * (2 + moments) + 1) + 2**20  # now's and the best ones; and the model
            used = sum(path.stat().st_size for path in (self.folder / CHECKPOINT).glob("*"))
            if room.total > 0 and room.free + used < needed:
                raise FailedToWriteOutputsError(
                    f"{self.folder} needs about {needed / 1e6:.0f} MB for checkpoints and the model and has "
                    f"{room.free / 1e6:.0f} MB; make room or give another output"
                )

    def lock(self, stack: ExitStack) -> bool:
        """Begin to write, until the stack is closed; false where another job, whose lock was waited for, has finished it.

        Raises:
            FailedToWriteOutputsError: it cannot be written.
        """
        try:
            stack.enter_context(publishing(self.folder, kept=(CHECKPOINT,)))
        except FailedToWriteOutputsError:
            if self.is_finished():
                return False
            raise
        return True

    def find_checkpoint(self, other: Path, expected: Manifest) -> bytes | None:
        """The state to go on from: the output's own, else that of the unfinished output connected as untrained_model.

        Raises:
            CheckpointError: what is there is damaged, or of another training.
        """
        for place in (self.checkpoints, Checkpoints(other / CHECKPOINT)):
            found = place.newest()
            if found is None:
                continue
            if changed := differences(found.configuration, expected.configuration):
                raise CheckpointError(
                    f"{place.folder} holds the checkpoints of another training: {'; '.join(changed)}; "
                    "start the training as it was, or give an empty or new folder"
                )
            for difference in differences(found.made_by, expected.made_by):
                say(f"warning: the result will not be bit for bit what it would have been: {difference}")
            if found.made_by.get("processes") != expected.made_by.get("processes"):
                say("the remaining images of the epoch are redistributed; the learning rate follows the new number of processes")
            say(f"resuming after {found.position}, from {place.folder / found.payload}")
            return place.payload(found)
        return None

    @contextmanager
    def started(self, position: Position, ranks: Ranks, stop: StopRequest) -> Iterator[None]:
        """Note a start from a position, until the training ends with a word: only starts that ended without one are counted.

        Where a rank ended without one, the others' word that it is lost is none.

        Raises:
            CheckpointError: too many did.
        """
        checkpoints = self.checkpoints
        checkpoints.note_start(position)

        def note_end(error: BaseException | None = None) -> None:
            if not isinstance(error, LostRankError) or error.was_told:
                within_a_second(checkpoints.note_end)

        others_are_told = stop.before_end

        def hurry() -> None:
            others_are_told()
            note_end()

        stop.before_end = hurry
        if ranks.watcher is not None:
            ranks.watcher.before_end = note_end
        try:
            yield
        except BaseException as error:
            note_end(ranks.loss(error) or error)
            raise

    def write_report(self, run: TrainingRun, tracker: Tracker) -> None:
        """Leave something to look at, here and in MLflow."""
        calibration = run.calibration
        metrics = {"Best epoch": run.result.best.number, "Calibration error": calibration.after.error}
        metrics["Balanced accuracy"] = balanced_accuracy(run.predictions)
        if calibration.refusal:
            say(f"probabilities are left as they are, without a temperature: {calibration.refusal}")
        else:
            metrics |= {"Temperature": calibration.temperature, "Calibration error before": calibration.before.error}
            say(
                f"probabilities: a temperature of {calibration.temperature:.3g} takes their expected calibration error from "
                f"{calibration.before.error:.1%} to {calibration.after.error:.1%} (chance alone: {calibration.after.chance:.1%})"
            )
        tracker.log_metrics(metrics)
        with best_effort("report.html"):
            for path in write_training_report(self.folder, run):
                tracker.log_artifact(path)

    def write_model(self, model: Model, history: Sequence[EpochResult]) -> None:
        """Write the model and the epochs' metrics beside the checkpoints, the manifest last."""
        from designer_vision.inference.serving import write_mlflow_files

        lines = [json.dumps({"step": epoch.number, **logged(epoch, model.training["processes"])}) for epoch in history]
        try:
            (self.folder / METRICS).write_text("".join(f"{line}\n" for line in lines))
            write_mlflow_files(self.folder, model.labels)
            write_model_files(self.folder, model, self.dataset)
        except OSError as error:
            raise FailedToWriteOutputsError(
                f"the model cannot be written to {self.folder}: {error.strerror or error}; the training is kept in its "
                f"{CHECKPOINT}, start the same job again to write it"
            ) from error

    def write_earlier(self, model: Model, epoch: int) -> Path:
        """Write the network of an epoch before the training diverged, as a model of its own."""
        folder = self.folder / f"best_epoch_{epoch}"
        write_model_directory(folder, model, self.dataset)
        return folder

    def clear(self) -> None:
        """Remove the checkpoints of a finished training; what is left of them a rerun removes."""
        shutil.rmtree(self.folder / CHECKPOINT, ignore_errors=True)


def logged(epoch: EpochResult, processes: int) -> dict[str, float]:
    """The metrics of an epoch, for MLflow and `metrics.jsonl`."""
    return epoch.metrics() | epoch.seconds() | {"Train images per second and process": epoch.images_per_second / processes}
