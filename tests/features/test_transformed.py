"""Features of transformed images are those of the images, are encoded once, and survive an interruption."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from changeling.backbones.onnx import OnnxBackbone
from changeling.datasets.dataset import Dataset
from changeling.errors import BackboneError
from changeling.features import transformed
from changeling.features.extract import extract
from changeling.features.store import list_extracted_backbones, load_features
from changeling.features.transformed import Variant, VariantSet, encode_variants
from changeling.images.decode import read_image
from changeling.images.transformations import TRANSFORMATIONS, transform
from tests import helpers


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory, tiny_backbone: OnnxBackbone) -> Dataset:
    """A dataset with features of the unchanged images."""
    made = helpers.tiny_dataset(tmp_path_factory.mktemp("transformed") / "dataset", clusters=4)
    extract(made, tiny_backbone)
    return made


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch, dataset: Dataset) -> None:
    """Store ten variants in a part, and begin without any."""
    monkeypatch.setattr(transformed, "VARIANTS_PER_PART", 10)
    for folder in (dataset.path / "features").glob("*+transformed-1"):
        shutil.rmtree(folder)


def make_variants(dataset: Dataset, backbone: OnnxBackbone, rows: Sequence[int] = (0, 1, 5)) -> VariantSet:
    chosen = [TRANSFORMATIONS[name] for name in ("JPEG", "noise", "crop", "social media")]
    variants = [Variant(row, item.name, strength) for row in rows for item in chosen for strength in item.strengths[:2]]
    return VariantSet(dataset, load_features(dataset, backbone.name).header, variants, "test", seed=3)


def read_parts(variants: VariantSet) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(variants.parts.folder.iterdir())}


def test_features_are_those_of_the_transformed_pixels(dataset: Dataset, tiny_backbone: OnnxBackbone) -> None:
    variants = make_variants(dataset, tiny_backbone)
    values = encode_variants(variants)
    assert values.shape == (24, tiny_backbone.dim)
    for value, variant in zip(values, variants.variants, strict=True):
        image = read_image(dataset.resolve_path(dataset.column("path")[variant.row])).image
        key = f"3/{dataset.column('image_id')[variant.row]}"
        changed = transform(image, TRANSFORMATIONS[variant.transformation], variant.strength, key)
        expected = tiny_backbone.encode(tiny_backbone.preprocessing(changed)[None])[0]
        np.testing.assert_allclose(value, expected, atol=1e-5)


def test_they_are_encoded_once(dataset: Dataset, tiny_backbone: OnnxBackbone, monkeypatch: pytest.MonkeyPatch) -> None:
    variants = make_variants(dataset, tiny_backbone)
    values = encode_variants(variants)
    monkeypatch.setattr(transformed, "load_backbone", None)  # a call would fail
    np.testing.assert_array_equal(encode_variants(variants), values)
    assert list_extracted_backbones(dataset) == (tiny_backbone.name,)


def test_a_killed_run_is_resumed_with_the_same_bytes(
    dataset: Dataset, tiny_backbone: OnnxBackbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    variants = make_variants(dataset, tiny_backbone)
    encode_variants(variants)
    expected = read_parts(variants)
    shutil.rmtree(variants.parts.folder)

    def interrupt(description: str, done: int, total: int) -> None:
        if done > 15:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        encode_variants(variants, interrupt)
    assert variants.list_missing_parts() == [1, 2]
    first_part = variants.parts.path(0)
    written = first_part.stat().st_mtime_ns
    encode_variants(variants)
    assert read_parts(variants) == expected
    assert first_part.stat().st_mtime_ns == written


def test_a_larger_sample_encodes_only_what_is_new(dataset: Dataset, tiny_backbone: OnnxBackbone) -> None:
    encode_variants(make_variants(dataset, tiny_backbone))
    larger = make_variants(dataset, tiny_backbone, (0, 1, 5, 6))
    assert larger.list_missing_parts() == [2, 3]  # of four
    assert np.isfinite(encode_variants(larger)).all()


@pytest.mark.parametrize("change", ["seed", "weights", "preprocessing", "file"])
def test_parts_of_other_variants_are_written_again(change: str, dataset: Dataset, tiny_backbone: OnnxBackbone) -> None:
    variants = make_variants(dataset, tiny_backbone)
    encode_variants(variants)
    if change == "seed":
        other = replace(variants, seed=4)
    elif change == "file":
        other = variants
        other.parts.path(1).write_bytes(b"broken")
    else:
        other = replace(variants, header=variants.header.model_copy(update={change: "other"}))
    assert other.list_missing_parts() == ([1] if change == "file" else [0, 1, 2])


def test_a_backbone_that_has_changed_is_an_error(dataset: Dataset, tiny_backbone: OnnxBackbone) -> None:
    variants = make_variants(dataset, tiny_backbone)
    other = replace(variants, header=variants.header.model_copy(update={"weights": "other"}))
    with pytest.raises(BackboneError, match=r"has other weights .* extract them again"):
        encode_variants(other)


def test_an_image_that_cannot_be_read_has_no_features(tmp_path: Path, tiny_backbone: OnnxBackbone) -> None:
    dataset = helpers.tiny_dataset(tmp_path / "dataset", clusters=2)
    extract(dataset, tiny_backbone)
    dataset.resolve_path(dataset.column("path")[1]).unlink()
    variants = make_variants(dataset, tiny_backbone)
    values = encode_variants(variants)
    is_missing = np.array([variant.row == 1 for variant in variants.variants])
    assert np.isnan(values[is_missing]).all()
    assert np.isfinite(values[~is_missing]).all()
    assert variants.parts.read_header(1).errors[10][0] == "missing"


def test_a_large_image_is_scaled_down_before_it_is_transformed(
    dataset: Dataset, tiny_backbone: OnnxBackbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = []

    def record_size(image: Image.Image, *_: object) -> Image.Image:
        sizes.append(image.size)
        return image

    monkeypatch.setattr(transformed, "transform", record_size)
    for size in ((4096, 2048), (2047, 1500)):
        monkeypatch.setattr(transformed, "decode_row", lambda *_, size=size: Image.new("RGB", size))
        transformed.variant_loader(dataset, tiny_backbone.preprocessing, 0)(Variant(0, "flip", 1))
    assert sizes == [(2048, 1024), (2047, 1500)]
