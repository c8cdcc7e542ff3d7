"""Results of finished experiments, which a later run of the same study takes instead of computing them again.

A result is taken only if everything that it depends on is as it was: the settings, backbones and seeds of the study;
the tables of the dataset, and the sizes and times of its features and images; the code, and the versions of the
packages that compute the numbers.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import changeling
from changeling.datasets.dataset import Dataset
from changeling.experiments.base import Context
from changeling.experiments.reporting import list_versions
from changeling.files import atomic_write
from changeling.results.result import Result

FINISHED = "finished"  # folder of finished results in the output of a study
_TABLES = ("images.parquet", "captions.parquet", "generators.json")
_CODE = {".py", ".json", ".toml"}


@dataclass(frozen=True, slots=True)
class FinishedResults:
    """The finished results in a folder.

    Attributes:
        made_of: hash of everything that the results of the study depend on; others are not taken.
    """

    folder: Path
    made_of: str

    @classmethod
    def open(cls, folder: Path, context: Context) -> FinishedResults:
        """Return the finished results of a study with this context."""
        return cls(folder, _hash_context(context))

    def load(self, experiment: str) -> Result | None:
        """Return the finished result of an experiment; None if there is none, or anything has changed since."""
        try:
            content = json.loads(self._find_file(experiment).read_bytes())
            return Result.model_validate(content["result"]) if content["made_of"] == self.made_of else None
        except (OSError, ValueError, TypeError, KeyError):  # pydantic's errors are ValueErrors
            return None

    def save(self, result: Result) -> None:
        """Write the result of an experiment."""
        with atomic_write(self._find_file(result.experiment)) as temporary:
            content = {"made_of": self.made_of, "result": result.model_dump()}
            temporary.write_text(json.dumps(content), encoding="ascii")  # paths may have bytes that are not UTF-8

    def _find_file(self, experiment: str) -> Path:
        return self.folder / f"{experiment}.json"


def _hash_context(context: Context) -> str:
    """Return a hash of everything that the results of a study depend on."""
    settings = {name: given.model_dump_json() for name, given in sorted(context.settings.items())}
    study = (tuple(context.backbones), context.seed, context.seeds, context.compare_with_paper, settings)
    digest = hashlib.sha256(repr((study, list_versions(), _hash_code())).encode())
    for name in _TABLES:
        path = context.dataset.path / name
        digest.update(path.read_bytes() if path.exists() else b"")
    for path in _list_files(context.dataset):
        digest.update(repr((os.fsencode(path), _read_state(path))).encode())
    return digest.hexdigest()


def _list_files(dataset: Dataset) -> Iterator[Path]:
    """Yield the files of the features of a dataset, and its image files.

    Features of changed images (`BACKBONE+VIEW`) do not count: experiments make them of the images, and write them.
    """
    folder = dataset.path / "features"
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    yield from (path for path in files if "+" not in path.relative_to(folder).parts[0])
    yield from (dataset.resolve_path(path) for path in dataset.column("path") if path)


def _read_state(path: Path) -> tuple[int, int] | None:
    """Return the size and the time of the last change of a file; None if there is none."""
    try:
        status = path.stat()
    except (OSError, ValueError):
        return None
    return status.st_size, status.st_mtime_ns


@cache
def _hash_code() -> str:
    """Return a hash of the package's modules and small tables."""
    root, digest = Path(changeling.__file__).parent, hashlib.sha256()
    for path in sorted(path for path in root.rglob("*") if path.suffix in _CODE):
        digest.update(path.relative_to(root).as_posix().encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()
