"""Extraction on a Ray cluster: tasks decode the images of a part, actors encode them and write the part."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from changeling.backbones import registry
from changeling.backbones.registry import Backbone
from changeling.datasets.dataset import Dataset
from changeling.distributed.pipeline import MAX_PASSES, Pipeline, Shared
from changeling.distributed.session import connect_to_ray
from changeling.errors import DistributedError, ImageError, Status
from changeling.features.extract import Summary, extract, loader, make_part
from changeling.features.store import part_path, part_rows, read_header
from changeling.images.transforms import Preprocessing
from changeling.progress import Progress, silent

DecodedRow = NDArray[np.float32] | tuple[Status, str]  # pixels (3, H, W), or why there are none


def extract_on_ray(dataset: Dataset, backbone: Backbone, address: str, progress: Progress = silent) -> Summary:
    """Extract the missing features of `dataset` on the Ray cluster at `address`.

    Raises:
        DistributedError: there is no such Ray cluster, or parts are lost repeatedly.
        FeatureError: as `extract` does. Finished parts are kept.
    """
    missing_at_start = missing = _find_missing(dataset, backbone)
    with connect_to_ray(address) as ray:
        for _ in range(MAX_PASSES):
            if not missing:
                break
            done = len(dataset) - _count_rows(dataset, missing)
            with closing(_decode_and_encode(ray, dataset, backbone, missing).run()) as image_counts:
                for image_count in image_counts:
                    done += image_count
                    progress(backbone.name, done, len(dataset))
            missing = _find_missing(dataset, backbone)
    if missing:
        raise DistributedError(
            f"{dataset.path}: parts are missing after {MAX_PASSES} passes; finished parts are kept, start again to "
            "continue"
        )
    checked = extract(dataset, backbone, progress=progress)  # all parts exist: it only checks and counts them
    new = _count_rows(dataset, missing_at_start)
    headers = [read_header(part_path(dataset, backbone.name, index)) for index in missing_at_start]
    failed = sum(len(header.errors) for header in headers)
    return Summary(new - failed, checked.found - new, checked.failed)


def _find_missing(dataset: Dataset, backbone: Backbone) -> list[int]:
    indices = range(len(part_rows(len(dataset))))
    return [index for index in indices if not part_path(dataset, backbone.name, index).exists()]


def _count_rows(dataset: Dataset, indices: Sequence[int]) -> int:
    ranges = part_rows(len(dataset))
    return sum(ranges[index][1] - ranges[index][0] for index in indices)


def _decode_and_encode(ray: Any, dataset: Dataset, backbone: Backbone, indices: Sequence[int]) -> Pipeline:
    shared = Shared.pack(dataset)
    pipeline = Pipeline(ray, indices)
    pipeline.add_tasks(DecodeStage(shared, backbone.preprocessing))
    pipeline.add_actors(EncodeStage(shared, backbone.name))
    return pipeline


@dataclass(frozen=True)
class DecodeStage:
    """Decode the images of a part."""

    dataset: Shared[Dataset]
    preprocessing: Preprocessing

    def __call__(self, index: int, _: None) -> list[DecodedRow]:
        """Return the pixels of each row, or why there are none."""
        dataset = self.dataset.unpack()
        load = loader(dataset, self.preprocessing)

        def decode(row: int) -> DecodedRow:
            try:
                return load(row)
            except ImageError as error:
                return error.status, str(error)

        start, stop = part_rows(len(dataset))[index]
        return [decode(row) for row in range(start, stop)]


@dataclass(frozen=True)
class EncodeStage:
    """Encode the images of a part and write the part; the backbone is loaded with the first part."""

    dataset: Shared[Dataset]
    backbone_name: str

    @cached_property
    def backbone(self) -> Backbone:
        """The backbone."""
        return registry.load_backbone(self.backbone_name)

    def __call__(self, index: int, decoded: list[DecodedRow]) -> int:
        """Return how many rows the part has."""
        dataset = self.dataset.unpack()
        start, _ = part_rows(len(dataset))[index]

        def load(row: int) -> NDArray[np.float32]:
            pixels = decoded[row - start]
            if isinstance(pixels, tuple):
                raise ImageError(*pixels)
            return pixels

        make_part(dataset, self.backbone, index, load)
        return len(decoded)
