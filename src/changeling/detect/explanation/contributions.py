"""Where in a picture its score comes from: a contribution for each cell of a grid. They add up to the score.

The cells are the players of a game whose value is the score of the picture with the other cells blurred; their
contributions are the Shapley values of that game, estimated from a few sampled orders.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from changeling.backbones.registry import Backbone
from changeling.detect.model import TrainedModel
from changeling.images.transforms import Box
from changeling.progress import Progress, silent
from changeling.stats.metrics import Floats
from changeling.stats.shapley import draw_orders, estimate_shapley_values

ROWS = 4  # and columns of the grid
ORDERS = 4  # in which cells are revealed, each also in reverse; the margins need two
# Standard deviation of the blur, as a share of the picture's side. On six pictures the margins and the scores without
# cells varied less than with twice the blur, or with the mean colour of the picture.
BLUR = 1 / 16
BATCH_SIZE = 8
_SEED = 0

Pixels = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Cell:
    """A cell of the grid.

    Attributes:
        box: left, top, right and bottom, in pixels of the upright picture in the file.
        contribution: to the score, in log-odds: positive toward fake, negative toward real.
        margin: half the width of the 95 % interval of the contribution, over the sampled orders.
    """

    box: Box
    contribution: float
    margin: float

    @property
    def is_noise(self) -> bool:
        """Whether the interval of the contribution contains 0."""
        return abs(self.contribution) <= self.margin


@dataclass(frozen=True, slots=True)
class Contributions:
    """Where the score of a picture comes from.

    Attributes:
        score: log-odds that the picture is generated: the probability is 1 / (1 + exp(-score)).
        blurred_score: of the blurred picture, without any cell revealed.
        rows: of the grid, which has as many columns.
        cells: rows x rows, row by row; `blurred_score` and their contributions add up to `score`.
        passes: how many pictures went through the backbone.
    """

    score: float
    blurred_score: float
    rows: int
    cells: tuple[Cell, ...]
    passes: int


def compute_contributions(
    trained: TrainedModel,
    backbone: Backbone,
    pixels: Pixels,
    size: tuple[int, int],
    orders: int = ORDERS,
    progress: Progress = silent,
) -> Contributions:
    """Return the contributions of the cells of a picture to its score.

    The result is the same each time. It takes at most `count_passes(orders)` passes through the backbone.

    Args:
        trained: a model on features of `backbone`.
        backbone: what encodes the pictures.
        pixels: the preprocessed picture (3, H, W).
        size: width and height of the picture in the file, upright, for the boxes of the cells.
        orders: in which cells are revealed: margins shrink with its square root.
        progress: called with the number of passes.
    """
    masks = make_cell_masks(pixels.shape[1], pixels.shape[2])
    blurred = blur(pixels)

    def score_partial_pictures(coalitions: NDArray[np.bool_]) -> Floats:
        """Return the log-odds (B,) of the picture with the cells of a coalition (B, cells), and the others blurred."""
        scores = []
        for start in range(0, len(coalitions), BATCH_SIZE):
            progress("explaining", start, len(coalitions))
            is_revealed = coalitions[start : start + BATCH_SIZE].astype(np.uint8) @ masks.reshape(len(masks), -1)
            is_pixel_revealed = is_revealed.reshape(-1, 1, *pixels.shape[1:]) > 0
            features = backbone.encode(np.where(is_pixel_revealed, pixels, blurred))
            scores.append(trained.head.compute_scores(features))
        progress("explaining", len(coalitions), len(coalitions))
        return trained.model.slope * np.concatenate(scores) + trained.model.bias

    estimate = estimate_shapley_values(score_partial_pictures, draw_orders(len(masks), orders, _SEED))
    boxes = find_cell_boxes(masks, backbone.preprocessing.find_crop(*size))
    cells = zip(boxes, estimate.values.tolist(), estimate.margins.tolist(), strict=True)
    return Contributions(
        score=estimate.full,
        blurred_score=estimate.empty,
        rows=ROWS,
        cells=tuple(Cell(*cell) for cell in cells),
        passes=estimate.evaluations,
    )


def count_passes(orders: int) -> int:
    """Return the largest number of passes through the backbone that explaining one picture takes."""
    return 2 * orders * (ROWS**2 - 1) + 2


def make_cell_masks(height: int, width: int) -> NDArray[np.bool_]:
    """Return a mask (H, W) for each cell of the grid, row by row; each pixel is in one of them."""
    rows, columns = (np.arange(side) * ROWS // side for side in (height, width))
    return np.stack([(rows == index // ROWS)[:, None] & (columns == index % ROWS) for index in range(ROWS**2)])


def find_cell_boxes(masks: NDArray[np.bool_], crop: Box) -> list[Box]:
    """Return the box of each cell in the picture of which the backbone sees `crop`, in the units of `crop`."""
    left, top, right, bottom = crop
    _, height, width = masks.shape
    boxes = []
    for mask in masks:
        rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
        x = [left + (right - left) * int(place) / width for place in (columns[0], columns[-1] + 1)]
        y = [top + (bottom - top) * int(place) / height for place in (rows[0], rows[-1] + 1)]
        boxes.append((x[0], y[0], x[1], y[1]))
    return boxes


def blur(pixels: Pixels) -> Pixels:
    """Return pixels (3, H, W) without detail: smoothed over a share BLUR of the picture's side."""
    sigma = BLUR * max(pixels.shape[1:])
    return np.asarray(gaussian_filter(pixels, (0, sigma, sigma), mode="reflect"), dtype=np.float32)
