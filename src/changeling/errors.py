"""Errors shown to the user in one line: what is wrong, where, and what to do."""

from __future__ import annotations

from typing import Literal

Status = Literal[
    "ok",
    "missing",  # no such file, or a broken link
    "folder",  # a folder instead of a file
    "special",  # a pipe, socket or device
    "denied",  # no permission to read it
    "empty",  # zero bytes
    "unsupported",  # not an image, or an unsupported format
    "truncated",  # the file ends too early
    "corrupt",  # cannot be decoded
    "oversized",  # too many pixels to decode or encode
    "flagged",  # the safety checker rejected every attempt at this child
]


def one_line(error: Exception, limit: int = 200) -> str:
    """Return the message of another library's error as one line of at most `limit` characters, cut between words."""
    message = " ".join(str(error).split())
    if len(message) <= limit:
        return message
    start = message[: limit - 3]
    return f"{start.rpartition(' ')[0] or start}..."


class ChangelingError(Exception):
    """Base class of all errors that a user can fix; the command line prints the message and exits with code 2."""


class ImageError(ChangelingError):
    """One image cannot be read; `status` is stored in the row of the image."""

    def __init__(self, status: Status, message: str) -> None:
        super().__init__(message)
        self.status: Status = status

    def __reduce__(self) -> tuple[type[ImageError], tuple[Status, str]]:
        """Pickle both arguments: `Exception` keeps only the message, and Ray sends errors between processes."""
        return type(self), (self.status, str(self))


class DatasetError(ChangelingError):
    """A dataset folder, or the source of an import, is invalid."""


class WeightsError(ChangelingError):
    """Weights cannot be downloaded, or their hash is wrong."""


class BackboneError(ChangelingError):
    """A backbone is unknown or cannot be loaded or run."""


class FeatureError(ChangelingError):
    """Features are missing, or were extracted with another backbone or from other images."""


class ModelError(ChangelingError):
    """The files of a detector are invalid, or its backbone is not the one it was trained on."""


class StudyError(ChangelingError):
    """A study file is invalid, or names something that does not exist."""


class ReportError(ChangelingError):
    """Results cannot be read or a report cannot be written."""


class BuildError(ChangelingError):
    """A generator cannot be loaded, or a build cannot start or continue; finished parts are kept."""


class DistributedError(ChangelingError):
    """A Ray cluster cannot be reached or keeps losing parts; finished parts are kept."""


class EvaluationError(ChangelingError):
    """An evaluation cannot start: a detector is unknown, or the dataset has nothing to evaluate."""


class DetectorError(ChangelingError):
    """A detector cannot be loaded or gives no valid scores; the evaluation goes on with the others."""
