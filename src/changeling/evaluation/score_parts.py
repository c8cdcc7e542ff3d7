"""Parts of scores: Parquet files, each with the scores of a range of images by one detector."""

from __future__ import annotations

from pathlib import Path
from typing import TypeAlias

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict, ValidationError

from changeling.errors import EvaluationError, one_line
from changeling.parts import METADATA_KEY, PartStore

PART_SIZE = 64  # images: as many are lost when a process is killed, and a program scores as many at once
SCORES_SCHEMA = pa.schema(
    [("image_id", pa.string()), ("score", pa.float64()), ("label", pa.string()), ("error", pa.string())]
)


class ScoreHeader(BaseModel):
    """What the scores of a part are of; stored as JSON in the metadata of its Parquet file."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    detector: str  # its identity
    condition: str  # with its version
    images: str  # hash of the ids and file hashes of the images
    seconds: float = 0.0  # that scoring them took
    missing_files: int = 0  # missing or changed; such a part is scored again
    are_probabilities: bool | None = None  # None: the detector does not say, or there are no scores


class ScorePartFormat:
    """Part files of scores: Parquet, with the columns of `SCORES_SCHEMA`."""

    suffix = ".parquet"

    def write(self, path: Path, header: ScoreHeader, content: pa.Table) -> None:
        """Write a part file."""
        pq.write_table(content.replace_schema_metadata({METADATA_KEY: header.model_dump_json()}), path)

    def read_header(self, path: Path) -> ScoreHeader:
        """Return the header of a part file. Raises EvaluationError if the file is not a part of scores."""
        try:
            return ScoreHeader.model_validate_json((pq.read_schema(path).metadata or {})[METADATA_KEY.encode()])
        except (pa.ArrowException, OSError, KeyError, ValidationError) as error:
            raise _invalid_part(path, error) from None

    def read(self, path: Path) -> pa.Table:
        """Return the rows of a part file. Raises EvaluationError if the file is not a part of scores."""
        try:
            with pq.ParquetFile(path) as file:
                return file.read().select(SCORES_SCHEMA.names).cast(SCORES_SCHEMA)
        except (pa.ArrowException, OSError, KeyError) as error:
            raise _invalid_part(path, error) from None


ScoreParts: TypeAlias = PartStore[ScoreHeader, pa.Table]


def _invalid_part(path: Path, error: Exception) -> EvaluationError:
    return EvaluationError(f"{path} is not a part of scores ({one_line(error)}); remove it and evaluate again")
