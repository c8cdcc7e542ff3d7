"""Parts of verdicts: what `detect --output` has finished so far, beside the output, until the output is complete."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeAlias

from pydantic import BaseModel, ConfigDict, ValidationError

from changeling.detect.detector import Verdict
from changeling.detect.evidence.evidence import Evidence
from changeling.detect.evidence.inspect import VerdictWithEvidence
from changeling.detect.runtime_names import Runtime
from changeling.errors import ChangelingError, one_line
from changeling.parts import PartStore

PART_SIZE = 64  # images in a part: as many are lost when a process is killed; a multiple of the batch size


class VerdictHeader(BaseModel):
    """The first line of a part file.

    Attributes:
        made_of: hash of everything that its verdicts depend on.
        runtime: of the detector; parts of older versions do not name it.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    made_of: str
    runtime: Runtime = Runtime.EXACT


class VerdictPartFormat:
    """Part files of verdicts: JSON lines, first the header, then a verdict a line."""

    suffix = ".jsonl"

    def write(self, path: Path, header: VerdictHeader, content: Sequence[Verdict]) -> None:
        """Write a part file."""
        lines = (header.model_dump_json(), *(json.dumps(asdict(verdict)) for verdict in content))
        path.write_bytes("".join(f"{line}\n" for line in lines).encode("ascii"))

    def read_header(self, path: Path) -> VerdictHeader:
        """Return the header of a part file. Raises ChangelingError if the file is not a part of verdicts."""
        try:
            with path.open("rb") as file:
                return VerdictHeader.model_validate_json(file.readline())
        except (ValidationError, OSError) as error:
            raise _invalid_part(path, error) from None

    def read(self, path: Path) -> list[Verdict]:
        """Return the verdicts of a part file. Raises ChangelingError if the file is not a part of verdicts."""
        try:
            return [_parse_verdict(json.loads(line)) for line in path.read_bytes().splitlines()[1:]]
        except (TypeError, ValueError, OSError) as error:
            raise _invalid_part(path, error) from None


VerdictParts: TypeAlias = PartStore[VerdictHeader, Sequence[Verdict]]


def verdict_parts(output: Path, image_count: int, part_size: int = PART_SIZE) -> VerdictParts:
    """The parts of the verdicts in the file `output`, written or not: in the folder `OUTPUT.parts`."""
    return PartStore(output.with_name(f"{output.name}.parts"), VerdictPartFormat(), image_count, part_size)


def read_verdicts(parts: VerdictParts) -> Iterator[Verdict]:
    """Yield the verdicts of all parts in order. Raises ChangelingError if a part is missing or incomplete."""
    for index in parts.indices:
        verdicts = parts.read(index)
        if len(verdicts) != parts.count_rows([index]):
            raise _invalid_part(parts.path(index), ValueError(f"it has {len(verdicts)} verdicts"))
        yield from verdicts


def remove_parts(parts: VerdictParts) -> None:
    """Remove all parts, also those of an earlier run with more images, and their folder unless it has other files."""
    for path in parts.folder.glob(f"{parts.prefix}-*{parts.format.suffix}"):
        path.unlink(missing_ok=True)
    with suppress(OSError):
        parts.folder.rmdir()


def _parse_verdict(record: dict[str, Any]) -> Verdict:
    """The verdict of a line. Raises TypeError if it has other fields."""
    if "evidence" not in record:
        return Verdict(**record)
    return VerdictWithEvidence(**record | {"evidence": tuple(Evidence(**item) for item in record["evidence"])})


def _invalid_part(path: Path, error: Exception) -> ChangelingError:
    return ChangelingError(f"{path} is not a part of verdicts ({one_line(error)}); remove it and start again")
