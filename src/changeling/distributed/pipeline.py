"""A pipeline of stages over parts, run by Ray: each stage returns a row with its result, or with its error.

A stage is called with the index of a part and the result of the stage before (its input for the first). A user error
that it raises is stored in the row, passes the stages after it, and is raised in the process that runs the pipeline.
"""

from __future__ import annotations

import os
import pickle
from collections import abc
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar, cast

from changeling.errors import ChangelingError, DistributedError
from changeling.parts import PartStore

MAX_PASSES = 3  # runs of a pipeline over the parts that are still missing

Row = dict[str, Any]  # index: int, result: pickled, error: pickled, or empty if there is none
SharedT = TypeVar("SharedT")


class Stage(Protocol):
    """One step of a pipeline, which can be pickled."""

    def __call__(self, index: int, result: Any, /) -> Any:
        """Return the result of this stage for a part. Raises ChangelingError or OSError."""


@dataclass(frozen=True, slots=True)
class Shared(Generic[SharedT]):
    """An object that stages share, pickled, and the folder that its relative paths start from.

    All machines have that folder under the same path.
    """

    folder: Path
    data: bytes

    @classmethod
    def pack(cls, content: SharedT) -> Shared[SharedT]:
        """Pickle `content`, whose relative paths start from the current folder."""
        return cls(Path.cwd(), pickle.dumps(content))

    def unpack(self) -> SharedT:
        """Change to the folder and return the object. A worker process unpickles it only once."""
        os.chdir(self.folder)
        return cast(SharedT, _unpickle_shared(self.data))


@lru_cache(maxsize=1)
def _unpickle_shared(data: bytes) -> Any:
    return pickle.loads(data)  # noqa: S301 (pickled by `Shared.pack`)


def make_row(index: int, result: Any) -> Row:
    """The row of a part with the result of a stage."""
    return {"index": index, "result": pickle.dumps(result), "error": b""}


def apply_stage(row: Row, stage: Stage) -> Row:
    """Return the row of a part after a stage. A row with an error is returned as it is."""
    if row["error"]:
        return row
    index = int(row["index"])
    try:
        return make_row(index, stage(index, pickle.loads(row["result"])))  # noqa: S301 (pickled by `make_row`)
    except (ChangelingError, OSError) as error:
        return {"index": index, "result": b"", "error": pickle.dumps(error)}


def read_result(row: Row) -> Any:
    """Return the result in a row, or raise the error in it."""
    if row["error"]:
        raise pickle.loads(row["error"])  # noqa: S301 (pickled by `apply_stage`)
    return pickle.loads(row["result"])  # noqa: S301 (pickled by `make_row`)


class StageActor:
    """A process that applies one stage to many parts, so that the stage can keep a model in memory."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage

    def __call__(self, row: Row) -> Row:
        """Apply the stage."""
        return apply_stage(row, self._stage)


class Pipeline:
    """Stages over some parts, each part with one row."""

    def __init__(self, ray: Any, inputs: Mapping[int, object]) -> None:
        """Make a row for each index of `inputs`, with the input of the first stage."""
        self._ray = ray
        rows = [make_row(index, first) for index, first in inputs.items()]
        self._rows = ray.data.from_items(rows, override_num_blocks=len(rows))

    def add_tasks(self, stage: Stage) -> None:
        """Add a stage that runs on one CPU, for many parts at once."""
        self._rows = self._rows.map(apply_stage, fn_args=(stage,), num_cpus=1)

    def add_actors(self, stage: Stage) -> None:
        """Add a stage that holds a model: one process per GPU or, without GPUs, one per machine."""
        gpus = int(self._ray.cluster_resources().get("GPU", 0))
        machines = sum(node["Alive"] for node in self._ray.nodes())
        pool = self._ray.data.ActorPoolStrategy(size=gpus or machines)
        resources = {"num_gpus": 1} if gpus else {"num_cpus": 0.5}  # half a CPU, so that tasks fit beside it
        self._rows = self._rows.map(StageActor, fn_constructor_args=(stage,), compute=pool, **resources)

    def run(self) -> abc.Generator[Any, None, None]:
        """Yield the result of each part when it is done. Raises the error of the first part that failed.

        Closed early, the pipeline ends at once.
        """
        with closing(iter(self._rows.iter_rows())) as rows:
            for row in rows:
                yield read_result(row)


def run_until_complete(
    parts: PartStore[Any, Any], make_pipeline: Callable[[Sequence[int]], Pipeline]
) -> abc.Generator[Any, None, None]:
    """Run pipelines over the missing parts, which write them; yield the result of each part when it is done.

    Raises:
        DistributedError: parts are still missing after MAX_PASSES pipelines; and the error of the first part that
            failed. Finished parts are kept.
    """
    for _ in range(MAX_PASSES):
        if not parts.missing:
            return
        with closing(make_pipeline(parts.missing).run()) as results:
            yield from results
    if parts.missing:
        raise DistributedError(
            f"{parts.folder}: parts are missing after {MAX_PASSES} passes; finished parts are kept, start again to "
            "continue"
        )
