"""Datasets in the layout of COCO: a folder of images and a caption file for each split."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from changeling.datasets.dataset import Dataset
from changeling.datasets.export_format import ExportedImage
from changeling.datasets.exporters.export_folder import ExportFolder, open_export_folder
from changeling.datasets.exporters.shards import split_into_shards
from changeling.datasets.image_files import detect_suffix
from changeling.datasets.messages import Note, format_count, ignore_note
from changeling.progress import Progress, silent

_ENTRY_COLUMNS = ("image_id", "role", "generator", "cluster_id", "source")


@dataclass(slots=True)
class _CaptionFile:
    """The entries of one captions_SPLIT.json."""

    images: list[dict[str, Any]] = field(default_factory=list)
    annotations: list[dict[str, Any]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class CocoExporter:
    """Write a folder of images and a COCO caption file for each split, as pycocotools reads them.

    `id` and the file name of an image are its row number in the dataset. Its entry also has `image_id`, `role`,
    `generator`, `cluster_id` and `source`. A parent has all captions of its cluster, a child its own. Rows whose
    status is not ok are left out.
    """

    def export(self, dataset: Dataset, output: Path, *, note: Note = ignore_note, progress: Progress = silent) -> None:
        """Write the dataset to the folder `output`; call `note` with the number of rows that are left out.

        Raises:
            DatasetError: `output` is not empty, or a file is not the one in its row. Nothing is left in `output`.
        """
        files: dict[str, _CaptionFile] = {}
        with open_export_folder(dataset, output) as folder:
            for shard in split_into_shards(dataset, dataset.column("split"), progress):
                _add_images(folder, shard.group, shard.images, files.setdefault(shard.group, _CaptionFile()))
            for split, file in files.items():
                with folder.atomic_write(f"annotations/captions_{split}.json") as temporary:
                    content = {"info": {}, "licenses": [], "images": file.images, "annotations": file.annotations}
                    temporary.write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")
        left_out = len(dataset) - sum(len(file.images) for file in files.values())
        if left_out:
            note(f"{format_count(left_out, 'row')} without an image left out")


def _add_images(folder: ExportFolder, split: str, images: Iterator[ExportedImage], file: _CaptionFile) -> None:
    """Write the images of a shard, and add their entries to the caption file of their split."""
    for image in images:
        if image.data is None:
            continue
        name = f"{image.row:012d}{detect_suffix(image.data)}"
        with folder.atomic_write(f"{split}/{name}") as temporary:
            temporary.write_bytes(image.data)
        size = {"width": image.columns["width"], "height": image.columns["height"]}
        columns = {column: image.columns[column] for column in _ENTRY_COLUMNS}
        file.images.append({"id": image.row, "file_name": name} | size | columns)
        captions = image.captions if image.columns["role"] == "parent" else [image.caption]
        for caption in captions:
            if caption is not None:
                file.annotations.append({"id": len(file.annotations) + 1, "image_id": image.row, "caption": caption})
