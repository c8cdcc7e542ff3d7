"""The table of exporters: each is a subcommand of `changeling export`."""

from __future__ import annotations

from collections.abc import Mapping

from changeling.datasets.exporters.base import Exporter
from changeling.datasets.exporters.coco import CocoExporter
from changeling.datasets.exporters.huggingface import HuggingFaceExporter
from changeling.datasets.exporters.webdataset import WebDatasetExporter

EXPORTERS: Mapping[str, type[Exporter]] = {
    "huggingface": HuggingFaceExporter,
    "webdataset": WebDatasetExporter,
    "coco": CocoExporter,
}
