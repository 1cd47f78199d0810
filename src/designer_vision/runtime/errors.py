"""The designer's error names and codes: what a person sees when an input is wrong.

Source of names and codes: "Exceptions and error codes in designer", Microsoft's component reference.
"""

from __future__ import annotations

import re
import traceback
from pathlib import Path
from typing import ClassVar

from designer_vision.runtime.console import printable

LONGEST = 3000
"""Letters of a message: a stranger's name in it could have millions."""


class DesignerError(Exception):
    """A mistake that the user can put right; its message says where, what was found and what to do."""

    code: ClassVar[str] = ""
    exit_code: ClassVar[int] = 1

    def __init__(self, message: str) -> None:
        if len(message) > LONGEST:
            message = f"{message[: LONGEST // 2]} … {message[-LONGEST // 2 :]}"
        self.message = printable(message)
        super().__init__(self.message)

    def line(self) -> str:
        """The one line that ends a log: ``Error 0018: InvalidDatasetError: ...``."""
        return f"Error {self.code}".rstrip() + f": {type(self).__name__}: {self.message}"


class ParameterParsingError(DesignerError):
    """A parameter's text is not a value of its type."""

    code = "0002"


class GreaterThanError(DesignerError):
    """A parameter must be greater than a limit."""

    code = "0004"


class GreaterThanOrEqualToError(DesignerError):
    """A parameter must not be below a limit."""

    code = "0005"


class NotInRangeValueError(DesignerError):
    """A parameter is outside its range or its list of choices."""

    code = "0008"


class InvalidDatasetError(DesignerError):
    """A dataset folder, or an image in it, cannot be used."""

    code = "0018"


class NotLabeledDatasetError(DesignerError):
    """A dataset has no labels where labels are needed."""

    code = "0024"


class InvalidZipFileError(DesignerError):
    """An archive cannot be unpacked."""

    code = "0102"


class InvalidModelDirectoryError(DesignerError):
    """A model folder cannot be used."""

    code = "0159"


class FailedToWriteOutputsError(DesignerError):
    """An output folder cannot be written."""

    code = "0160"


class InvalidTransformationDirectoryError(DesignerError):
    """A transformation folder is not one of image operations that we know."""


class FileSystemError(DesignerError):
    """A file or a disk does not do what it should."""


class UnexpectedError(DesignerError):
    """A defect of this package."""

    @classmethod
    def of(cls, error: Exception) -> UnexpectedError:
        """What is known of it in one line."""
        place = traceback.extract_tb(error.__traceback__)[-1]
        return cls(
            f"{type(error).__name__}: {str(error)[:300]} ({Path(place.filename).name} line {place.lineno}); this is a defect of "
            "designer_vision: start the same command with DESIGNER_VISION_DEBUG=1 and report what it shows"
        )


class ProcessSetupError(DesignerError):
    """The variables, devices or peers of a distributed job do not fit together."""


class LostRankError(DesignerError):
    """Another process of the job failed, ended or does not answer.

    Attributes:
        was_told: whether it said why before it ended.
    """

    was_told = False


class CheckpointError(DesignerError):
    """A checkpoint cannot be gone on from."""


class DataWorkerError(DesignerError):
    """A process that reads images ended or does not answer."""


class ModuleOutOfMemoryError(DesignerError):
    """There is not enough memory."""

    code = "0138"


class JobStoppedError(DesignerError):
    """The job was asked to stop, by a signal, and has saved what it did."""

    exit_code = 143  # as after SIGTERM, whose number is 15


class TrainingDivergedError(DesignerError):
    """The training loss is not finite any more."""


class PretrainedWeightsError(DesignerError):
    """Pretrained weights could not be fetched."""


class RequestError(DesignerError):
    """A request to an endpoint is not what it takes."""


class PipelineError(DesignerError):
    """A pipeline YAML cannot be run here, or one of its steps failed, with some lines of its log."""

    def __init__(self, message: str, *details: str) -> None:
        super().__init__(message)
        self.details = tuple(printable(line) for line in details)

    def line(self) -> str:
        """The error's line, and its details below it."""
        return "\n".join([super().line(), *self.details])


_OUT_OF_MEMORY = re.compile("MemoryError|allocate memory|out of memory|ALLOC_FAILED")
"""What torch says for want of memory, of a GPU or of the machine."""


def chain_of(error: BaseException) -> list[BaseException]:
    """An exception, and those that it came of or struck while they were handled."""
    chain = [error]
    while (before := chain[-1].__cause__ or chain[-1].__context__) is not None and before not in chain:
        chain.append(before)
    return chain


def is_out_of_memory(error: Exception) -> bool:
    """Whether an error of Python's or torch's tells that memory is short."""
    return isinstance(error, (MemoryError, RuntimeError)) and bool(_OUT_OF_MEMORY.search(f"{type(error).__name__} {error}"))
