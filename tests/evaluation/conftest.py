"""A dataset, a tiny detector and an evaluation of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from changeling.backbones.onnx import OnnxBackbone
from changeling.datasets.dataset import Dataset
from tests import helpers


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """24 clusters of real image files, six of them in the test split."""
    return helpers.tiny_dataset(tmp_path_factory.mktemp("evaluated") / "dataset", clusters=24)


@pytest.fixture(scope="module")
def detector_folder(tmp_path_factory: pytest.TempPathFactory, tiny_backbone: OnnxBackbone) -> Path:
    """The folder of a detector on a tiny backbone."""
    folder = tmp_path_factory.mktemp("detector")
    helpers.tiny_detector(tiny_backbone).save(folder)
    return folder
