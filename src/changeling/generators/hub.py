"""Fetch a model's files: from a local folder, or from the Hugging Face Hub at a commit."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import diffusers
import transformers
from huggingface_hub import snapshot_download
from huggingface_hub.errors import GatedRepoError, HfHubHTTPError

from changeling.errors import BuildError, one_line
from changeling.generators.revision import Revision


@dataclass(frozen=True, slots=True)
class ModelFiles:
    """The folder of a model's files, and their revision."""

    folder: Path
    revision: Revision


def fetch_model(model: str, revision: str, root: Path, files: Sequence[str] = ()) -> ModelFiles:
    """The files of a model: a folder `model` below `root`, or else a repository of the Hub (owner/name[@commit]).

    From a repository the pipeline's files are downloaded, or those that match the patterns `files`. Pickle files are
    never downloaded, and no code from a repository is run.

    Raises:
        BuildError: there is neither, or the Hub cannot be reached or refuses access.
    """
    folder = root / model
    if folder.is_dir():
        return ModelFiles(folder, Revision("files", hash_folder(folder)))
    name, _, commit = model.partition("@")
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", name):
        raise BuildError(f"{folder}: no such folder, and {model!r} is no id of the Hugging Face Hub (owner/name)")
    options: dict[str, Any] = {"revision": revision or commit or None}
    with explain_load_errors(model):
        if files:
            downloaded = snapshot_download(name, allow_patterns=list(files), **options)
        else:
            downloaded = diffusers.DiffusionPipeline.download(name, use_safetensors=True, **options)
    return ModelFiles(Path(downloaded), Revision("commit", Path(downloaded).name))


@contextmanager
def explain_load_errors(model: str) -> Iterator[None]:
    """Turn whatever the libraries raise while a model is loaded into a BuildError of one line."""
    try:
        yield
    except BuildError:
        raise
    except Exception as error:  # diffusers and huggingface_hub raise many kinds
        cause = error.__cause__  # the Hub's answer, which diffusers may wrap in another error
        reported = cause if isinstance(cause, HfHubHTTPError) and not isinstance(error, HfHubHTTPError) else error
        if isinstance(reported, GatedRepoError):
            raise BuildError(
                f"{model} is behind a licence: accept it on the Hugging Face Hub, and log in (`hf auth login`)"
            ) from None
        if network := _find_network_error(error):
            raise BuildError(
                f"there is no folder {model}, and no way to the Hub: {one_line(network)}; connect to it, or let "
                "`model` in the study file name a folder with the model's files"
            ) from None
        reason = one_line(reported) or type(reported).__name__
        raise BuildError(f"{model} cannot be loaded, neither as a folder nor from the Hub: {reason}") from None


def _find_network_error(error: BaseException | None) -> Exception | None:
    """The error of an unreachable network among the causes of an error; None if there is none."""
    while error:
        network = isinstance(error, ConnectionError) or type(error).__name__ in ("ConnectError", "ConnectTimeout")
        if network and isinstance(error, Exception):
            return error
        error = error.__cause__
    return None


def silence_libraries() -> None:
    """Turn off the progress bars and log messages of diffusers and transformers."""
    for library in (diffusers, transformers):
        library.utils.logging.set_verbosity_error()
        library.utils.logging.disable_progress_bar()


def hash_folder(folder: Path) -> str:
    """Twelve hexadecimal digits over the names and contents of a folder's files."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    return _hash_files(folder, tuple((path, path.stat().st_size, path.stat().st_mtime_ns) for path in paths))


@lru_cache
def _hash_files(folder: Path, files: tuple[tuple[Path, int, int], ...]) -> str:
    """Hash the files; the result is cached while sizes and times stay, as a model is checked before it is loaded."""
    folder_hash = hashlib.sha256()
    for path, _, _ in files:
        with path.open("rb") as file:
            content = hashlib.file_digest(file, "sha256").hexdigest()
        folder_hash.update(f"{path.relative_to(folder).as_posix()} {content}\n".encode())
    return folder_hash.hexdigest()[:12]
