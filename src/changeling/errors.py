"""What can go wrong, said to a user: one line that says what, where, and what to do."""

from typing import Literal

Status = Literal[
    "ok",
    "missing",  # no such file, or a link to nowhere
    "folder",  # a folder where a file is wanted
    "special",  # a pipe, socket or device
    "denied",  # the system does not let us read it
    "empty",  # zero bytes
    "unsupported",  # not an image, or of a kind that is not read
    "truncated",  # begins like an image and ends too early
    "corrupt",  # breaks its own format
    "oversized",  # more pixels than are decoded, or than fit where they shall go
    "flagged",  # a child that the safety checker let pass on no try
]


def one_line(error: Exception, limit: int = 200) -> str:
    """What an error of somebody else's says, as one line of at most `limit` characters, cut between words."""
    said = " ".join(str(error).split())
    if len(said) <= limit:
        return said
    start = said[: limit - 3]
    return f"{start.rpartition(' ')[0] or start}..."


class ChangelingError(Exception):
    """Base of all errors that a user can mend; the command line prints it and exits with code 2."""


class ImageError(ChangelingError):
    """One image cannot be read; `status` is the word that its row carries."""

    def __init__(self, status: Status, message: str) -> None:
        super().__init__(message)
        self.status: Status = status


class DatasetError(ChangelingError):
    """A dataset folder, or what it is imported from, is not what it should be."""


class WeightsError(ChangelingError):
    """Weights cannot be fetched, or are not the ones they should be."""


class BackboneError(ChangelingError):
    """A backbone's name is unknown, or its graph does not fit."""


class FeatureError(ChangelingError):
    """Features are missing, or were made by something else."""


class ModelError(ChangelingError):
    """A detector's files are broken, or it is asked to run on features that it was not made for."""


class StudyError(ChangelingError):
    """A study file is not what it should be, or asks for what is not there."""


class ReportError(ChangelingError):
    """Results cannot be read or a report cannot be written."""


class BuildError(ChangelingError):
    """A generator cannot be loaded, or a build cannot begin or go on; what is done is kept."""


class ScaleError(ChangelingError):
    """A cluster cannot be reached, or keeps losing its work; what is done is kept."""
