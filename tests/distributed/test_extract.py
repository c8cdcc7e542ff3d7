"""An extraction on a Ray cluster has the same bytes as one without it."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from changeling.backbones import registry
from changeling.distributed.extract import extract_on_ray
from changeling.errors import FeatureError
from changeling.features.extract import extract
from tests import helpers

pytest.importorskip("ray")
pytestmark = pytest.mark.filterwarnings("ignore")  # Ray's own


def test_features_are_those_of_one_process(
    ray_cluster: Any, tiny_onnx: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Paths are relative to a folder other than that in which the Ray cluster was started."""
    monkeypatch.chdir(tmp_path)
    shutil.copy(tiny_onnx, "tiny.onnx")
    single, distributed = (helpers.tiny_dataset(Path(name), clusters=90) for name in ("single", "distributed"))
    for dataset in (single, distributed):
        dataset.resolve_path(dataset.column("path")[3]).write_bytes(b"no image")
    backbone = registry.load_backbone("onnx:tiny.onnx")
    expected = extract(single, backbone)
    summary = extract_on_ray(distributed, backbone, ray_cluster.address)
    assert summary == expected
    assert summary.encoded == len(distributed) - 1
    assert summary.failed == {"corrupt": 1}
    assert helpers.contents(distributed.path / "features") == helpers.contents(single.path / "features")


@pytest.mark.usefixtures("full_disk_on_workers")
def test_full_disk_on_a_worker_is_raised_as_without_ray(ray_cluster: Any, tiny_onnx: Path, tmp_path: Path) -> None:
    dataset = helpers.tiny_dataset(tmp_path / "dataset")
    backbone = registry.load_backbone(f"onnx:{tiny_onnx}")
    with pytest.raises(FeatureError) as caught:
        extract_on_ray(dataset, backbone, ray_cluster.address)
    assert str(caught.value).startswith(f"{dataset.path}: the disk is full")
    assert "\n" not in str(caught.value)
