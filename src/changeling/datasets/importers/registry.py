"""The table of importers: each is a subcommand of `changeling import`."""

from __future__ import annotations

from collections.abc import Mapping

from changeling.datasets.importers.base import Importer
from changeling.datasets.importers.benchmark import BenchmarkImporter
from changeling.datasets.importers.coco import CocoImporter
from changeling.datasets.importers.cocofake import CocoFakeImporter
from changeling.datasets.importers.folder import FolderImporter
from changeling.datasets.importers.huggingface import HuggingFaceImporter
from changeling.datasets.importers.join import JoinImporter
from changeling.datasets.importers.webdataset import WebDatasetImporter

IMPORTERS: Mapping[str, type[Importer]] = {
    "folder": FolderImporter,
    "benchmark": BenchmarkImporter,
    "coco": CocoImporter,
    "cocofake": CocoFakeImporter,
    "huggingface": HuggingFaceImporter,
    "webdataset": WebDatasetImporter,
    "join": JoinImporter,
}
