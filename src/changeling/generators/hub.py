"""The files of generators: a folder as it is, or what the Hugging Face Hub has, at a commit that is kept to."""

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


@dataclass(frozen=True, slots=True)
class Source:
    """Where a model's files are, and which they are: a commit of the Hub, or a hash over a folder's files."""

    folder: Path
    revision: str


def fetch(model: str, revision: str, root: Path, files: Sequence[str] = ()) -> Source:
    """Find a model: the folder `model` below `root` if there is one, else the Hub's repository (owner/name[@commit]).

    Of a repository the pipeline's own files are fetched, or those that the patterns `files` name; never pickles, and
    nothing of it is run.

    Raises:
        BuildError: neither is there, or the Hub cannot be reached or refuses.
    """
    folder = root / model
    if folder.is_dir():
        return Source(folder, f"files {_files_hash(folder)}")
    name, _, commit = model.partition("@")
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", name):
        raise BuildError(f"{folder}: no such folder, and {model!r} is no id of the Hugging Face Hub (owner/name)")
    options: dict[str, Any] = {"revision": revision or commit or None}
    with loading(model):
        if files:
            found = snapshot_download(name, allow_patterns=list(files), **options)
        else:
            found = diffusers.DiffusionPipeline.download(name, use_safetensors=True, **options)
    return Source(Path(found), Path(found).name)


@contextmanager
def loading(model: str) -> Iterator[None]:
    """Say in one line why a model cannot be had."""
    try:
        yield
    except BuildError:
        raise
    except Exception as error:  # the libraries raise whatever they like
        cause = error.__cause__  # what the Hub has said, which diffusers may make something else of
        said = cause if isinstance(cause, HfHubHTTPError) and not isinstance(error, HfHubHTTPError) else error
        if isinstance(said, GatedRepoError):
            raise BuildError(
                f"{model} is behind a licence: accept it on the Hugging Face Hub, and log in (`hf auth login`)"
            ) from None
        if network := _unreachable(error):
            raise BuildError(f"there is no folder {model}, and no way to the Hub: {one_line(network)}") from None
        reason = one_line(said) or type(said).__name__
        raise BuildError(f"{model} cannot be loaded, neither as a folder nor from the Hub: {reason}") from None


def _unreachable(error: BaseException | None) -> Exception | None:
    """What a network that is not there has raised, whatever the library makes of it."""
    while error:
        network = isinstance(error, ConnectionError) or type(error).__name__ in ("ConnectError", "ConnectTimeout")
        if network and isinstance(error, Exception):
            return error
        error = error.__cause__
    return None


def quiet() -> None:
    """Keep the libraries' own progress bars and advice off the terminal."""
    for library in (diffusers, transformers):
        library.utils.logging.set_verbosity_error()
        library.utils.logging.disable_progress_bar()


def _files_hash(folder: Path) -> str:
    """Twelve hexadecimal digits over the names and contents of a folder's files."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    return _hash(folder, tuple((path, path.stat().st_size, path.stat().st_mtime_ns) for path in paths))


@lru_cache
def _hash(folder: Path, files: tuple[tuple[Path, int, int], ...]) -> str:
    """Of gigabytes, read once while they do not change: a model is looked at before it is loaded."""
    whole = hashlib.sha256()
    for path, _, _ in files:
        with path.open("rb") as file:
            content = hashlib.file_digest(file, "sha256").hexdigest()
        whole.update(f"{path.relative_to(folder).as_posix()} {content}\n".encode())
    return whole.hexdigest()[:12]
