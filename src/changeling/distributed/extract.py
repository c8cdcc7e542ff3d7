"""Extraction on a Ray cluster: tasks decode the images of a part, actors encode them and write the part."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from changeling.backbones import registry
from changeling.backbones.registry import Backbone
from changeling.datasets.dataset import Dataset
from changeling.distributed.pipeline import Pipeline, Shared, run_until_complete
from changeling.distributed.session import connect_to_ray
from changeling.errors import ImageError, Status
from changeling.features.extract import Extraction, Summary, encode_part, extract, image_loader
from changeling.features.parts import feature_parts
from changeling.images.transforms import Preprocessing
from changeling.progress import Progress, silent

DecodedRow = NDArray[np.float32] | tuple[Status, str]  # pixels (3, H, W), or why there are none


def extract_on_ray(dataset: Dataset, backbone: Backbone, address: str, progress: Progress = silent) -> Summary:
    """Extract the missing features of `dataset` on the Ray cluster at `address`.

    Raises:
        DistributedError: there is no such Ray cluster, or parts are lost repeatedly.
        FeatureError: as `extract` does. Finished parts are kept.
    """
    parts = Extraction(dataset, backbone).parts
    missing_at_start = parts.missing
    done = len(dataset) - parts.count_rows(missing_at_start)
    with connect_to_ray(address) as ray:
        make_pipeline = partial(_decode_and_encode, ray, dataset, backbone)
        with closing(run_until_complete(parts, make_pipeline)) as image_counts:
            for image_count in image_counts:
                done += image_count
                progress(backbone.name, done, len(dataset))
    checked = extract(dataset, backbone, progress=progress)  # all parts exist: it only checks and counts them
    new = parts.count_rows(missing_at_start)
    failed = sum(len(parts.read_header(index).errors) for index in missing_at_start)
    return Summary(new - failed, checked.existing - new, checked.failed)


def _decode_and_encode(ray: Any, dataset: Dataset, backbone: Backbone, indices: Sequence[int]) -> Pipeline:
    shared = Shared.pack(dataset)
    pipeline = Pipeline(ray, dict.fromkeys(indices))
    pipeline.add_tasks(DecodeStage(shared, backbone.name, backbone.preprocessing))
    pipeline.add_actors(EncodeStage(shared, backbone.name))
    return pipeline


@dataclass(frozen=True)
class DecodeStage:
    """Decode the images of a part."""

    dataset: Shared[Dataset]
    backbone_name: str
    preprocessing: Preprocessing

    def __call__(self, index: int, _: None) -> list[DecodedRow]:
        """Return the pixels of each row, or why there are none."""
        dataset = self.dataset.unpack()
        load = image_loader(dataset, self.preprocessing)

        def decode(row: int) -> DecodedRow:
            try:
                return load(row)
            except ImageError as error:
                return error.status, str(error)

        start, stop = feature_parts(dataset, self.backbone_name).row_range(index)
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
        extraction = Extraction(self.dataset.unpack(), self.backbone)
        start, _ = extraction.parts.row_range(index)

        def load(row: int) -> NDArray[np.float32]:
            pixels = decoded[row - start]
            if isinstance(pixels, tuple):
                raise ImageError(*pixels)
            return pixels

        encode_part(extraction, index, load)
        return len(decoded)
