"""Contributions: they add up, the cell that decides has them all, and cells are where they are said to be."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from changeling.backbones import registry
from changeling.backbones.onnx import OnnxBackbone
from changeling.detect.explanation import contributions
from changeling.detect.explanation.contributions import (
    ORDERS,
    ROWS,
    blur,
    compute_contributions,
    count_passes,
    find_cell_boxes,
    make_cell_masks,
)
from changeling.detect.model import Head, ModelInfo, TrainedModel, load_model
from changeling.images.decode import decode_image, read_file
from changeling.images.transforms import Preprocessing
from tests import helpers

SIDE = 32
PREPROCESSING = Preprocessing(resize=SIDE, crop=SIDE, mean=(0, 0, 0), std=(1, 1, 1))


@dataclass(frozen=True)
class PixelBackbone:
    """A linear backbone: a feature is the red of all pixels."""

    preprocessing: Preprocessing = PREPROCESSING
    name: str = "pixels"
    weights: str = "none"
    dim: int = SIDE * SIDE

    def encode(self, pixels: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the pixels of the first channel."""
        return pixels[:, 0].reshape(len(pixels), -1)


def make_model(weight: NDArray[np.float32]) -> TrainedModel:
    head = Head(weight.ravel().astype(np.float32), 0.25)
    return TrainedModel(
        ModelInfo(
            name="pixels",
            backbone="pixels",
            weights="none",
            preprocessing=PREPROCESSING.hash,
            head=head.hash,
            slope=2.0,
            bias=-1.0,
            real_below=0.4,
            fake_above=0.6,
            trained_on={},
            settings={},
        ),
        head,
    )


@settings(max_examples=10)
@given(deciding=st.integers(0, ROWS**2 - 1))
def test_the_cell_that_decides_has_all_contributions(deciding: int) -> None:
    masks = make_cell_masks(SIDE, SIDE)
    pixels = np.random.default_rng(deciding).random((3, SIDE, SIDE), dtype=np.float32)
    found = compute_contributions(make_model(masks[deciding]), PixelBackbone(), pixels, (SIDE, SIDE))
    expected = 2 * float((pixels - blur(pixels))[0][masks[deciding]].sum())
    for index, cell in enumerate(found.cells):
        assert cell.contribution == pytest.approx(expected if index == deciding else 0, abs=1e-4)
        assert cell.margin == pytest.approx(0, abs=1e-4)
    assert found.score == pytest.approx(2 * (float(pixels[0][masks[deciding]].sum()) + 0.25) - 1, abs=1e-4)


@settings(max_examples=12)
@given(
    width=st.integers(60, 300),
    height=st.integers(60, 300),
    across=st.floats(0.05, 0.95),
    down=st.floats(0.05, 0.95),
    orientation=st.sampled_from([1, 6, 8]),
)
def test_a_bright_patch_lies_in_the_box_of_the_cell_with_the_largest_contribution(
    tmp_path_factory: pytest.TempPathFactory, width: int, height: int, across: float, down: float, orientation: int
) -> None:
    """The patch is drawn in the file's pixels, wherever the backbone sees them; the file may be stored rotated."""
    backbone = PixelBackbone()
    left, top, right, bottom = backbone.preprocessing.find_crop(width, height)
    x, y = left + across * (right - left), top + down * (bottom - top)
    radius = 0.02 * min(width, height) + 1
    upright = np.zeros((height, width, 3), np.uint8)
    upright[int(y - radius) : int(y + radius) + 1, int(x - radius) : int(x + radius) + 1] = 255
    rotation = {1: 0, 6: 1, 8: -1}[orientation]  # quarter turns from upright to stored, counterclockwise
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path_factory.mktemp("patch") / "x.png"
    Image.fromarray(np.ascontiguousarray(np.rot90(upright, rotation))).save(path, exif=exif)

    decoded = decode_image(read_file(path))
    assert (decoded.width, decoded.height) == (width, height)
    pixels = backbone.preprocessing(decoded.image)
    model = make_model(np.ones((SIDE, SIDE), np.float32))
    found = compute_contributions(model, backbone, pixels, (width, height))
    box = max(found.cells, key=lambda cell: cell.contribution).box
    tolerance = radius + (right - left) / SIDE  # the patch may be cut by a border
    assert box[0] - tolerance <= x <= box[2] + tolerance
    assert box[1] - tolerance <= y <= box[3] + tolerance


def test_contributions_of_a_network_add_up(tiny_backbone: OnnxBackbone) -> None:
    trained = helpers.tiny_detector(tiny_backbone)
    pixels = tiny_backbone.preprocessing(helpers.generated(1, 48))
    found = compute_contributions(trained, tiny_backbone, pixels, (48, 48))
    probability = trained.predict_probabilities(tiny_backbone.encode(pixels[None]))[0]
    assert 1 / (1 + math.exp(-found.score)) == pytest.approx(probability, abs=1e-6)
    assert sum(cell.contribution for cell in found.cells) == pytest.approx(found.score - found.blurred_score, abs=1e-6)
    assert len(found.cells) == ROWS**2
    assert 100 < found.passes <= count_passes(ORDERS)
    assert compute_contributions(trained, tiny_backbone, pixels, (48, 48)) == found


@pytest.mark.network
def test_contributions_of_the_bundled_detector_add_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a grid of 2 x 2 cells, which takes fourteen passes at most."""
    monkeypatch.setattr(contributions, "ROWS", 2)
    trained = load_model()
    backbone = registry.load_backbone(trained.model.backbone)
    pixels = backbone.preprocessing(helpers.natural(3, 300))
    found = compute_contributions(trained, backbone, pixels, (300, 300), orders=2)
    (score,) = trained.head.compute_scores(backbone.encode(pixels[None]))
    assert found.score == pytest.approx(trained.model.slope * score + trained.model.bias, abs=1e-3)
    assert sum(cell.contribution for cell in found.cells) == pytest.approx(found.score - found.blurred_score, abs=1e-6)
    assert any(cell.contribution for cell in found.cells)


def test_the_cells_cover_each_pixel_once_and_the_boxes_cover_the_crop() -> None:
    for side in (32, 224, 226, 37):
        masks = make_cell_masks(side, side)
        assert (masks.sum(axis=0) == 1).all()
        sizes = masks.sum(axis=(1, 2))
        assert sizes.max() <= math.ceil(side / ROWS) ** 2
        boxes = find_cell_boxes(masks, (80.0, 0.0, 560.0, 480.0))
        assert boxes[0][:2] == (80, 0)
        assert boxes[-1][2:] == (560, 480)
        assert sum((b[2] - b[0]) * (b[3] - b[1]) for b in boxes) == pytest.approx(480 * 480)
        assert all(box[2] == pytest.approx(other[0]) for box, other in pairwise(boxes[:ROWS]))
