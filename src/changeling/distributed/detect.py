"""Detection on a Ray cluster: actors detect the images of a part and write the part."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass

from changeling.detect.detection import DESCRIPTION, Detection
from changeling.detect.verdict_parts import VerdictParts
from changeling.distributed.pipeline import Pipeline, Shared, run_until_complete
from changeling.distributed.session import connect_to_ray
from changeling.errors import DistributedError
from changeling.progress import Progress, silent


def detect_on_ray(
    detection: Detection, paths: Sequence[str], parts: VerdictParts, address: str, progress: Progress = silent
) -> None:
    """Detect the images of the missing parts on the Ray cluster at `address`, and write these parts.

    Raises:
        DistributedError: there is no such Ray cluster, a machine does not have the folder of the parts, or parts are
            lost repeatedly. Finished parts are kept.
        ChangelingError: as `detect_missing_parts` does.
    """
    shared = Shared.pack((detection, parts))

    def make_pipeline(indices: Sequence[int]) -> Pipeline:
        pipeline = Pipeline(ray, {index: paths[slice(*parts.row_range(index))] for index in indices})
        pipeline.add_actors(DetectStage(shared))
        return pipeline

    done = parts.row_count - parts.count_rows(parts.missing)
    with connect_to_ray(address) as ray:
        parts.folder.mkdir(parents=True, exist_ok=True)
        with closing(run_until_complete(parts, make_pipeline)) as image_counts:
            for image_count in image_counts:
                done += image_count
                progress(DESCRIPTION, done, parts.row_count)


@dataclass(frozen=True)
class DetectStage:
    """Detect the images of a part and write the part; the detector is loaded with the first part."""

    shared: Shared[tuple[Detection, VerdictParts]]

    def __call__(self, index: int, paths: Sequence[str]) -> int:
        """Return how many images the part has. Raises DistributedError if this machine has other folders."""
        detection, parts = self.shared.unpack()
        if not parts.folder.is_dir():  # its images would be missing, too
            raise DistributedError(
                f"{parts.folder} does not exist on {socket.gethostname()}; all machines need the same folders"
            )
        detection.write_part(parts, index, paths)
        return len(paths)
