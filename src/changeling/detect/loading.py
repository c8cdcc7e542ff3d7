"""Load an image for a detector: its preprocessed pixels, and whether it can be judged. Needs no backbone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from changeling.images.decode import DecodedImage, ImageFile
from changeling.images.deliveries import deliver_in_all_ways
from changeling.images.photographs import is_photograph
from changeling.images.transforms import Preprocessing

UnfitReason = Literal["too small", "flat", "not a photograph"]
# A smaller or a flatter image is unsure, whatever its probability.
MIN_SHORT_SIDE = 32  # pixels
MIN_PIXEL_STD = 0.02  # of the preprocessed pixels, in the channel that varies most


@dataclass(frozen=True, slots=True)
class LoadedImage:
    """A decoded and preprocessed image.

    Attributes:
        pixels: (V, 3, H, W): of the image as it is, and after each delivery if they were loaded.
        width, height: of the file, upright, in pixels.
        reason: why the image cannot be judged; None if it can.
    """

    pixels: NDArray[np.float32]
    width: int
    height: int
    reason: UnfitReason | None


def load_image(file: ImageFile, preprocessing: Preprocessing) -> LoadedImage:
    """Decode and preprocess an image as it is. Raises ImageError."""
    return _preprocess(preprocessing.decode(file), preprocessing, with_deliveries=False)


def load_deliveries(file: ImageFile, preprocessing: Preprocessing) -> LoadedImage:
    """Decode an image once, and preprocess it as it is and after each of `deliveries.DELIVERIES`. Raises ImageError."""
    return _preprocess(preprocessing.decode(file), preprocessing, with_deliveries=True)


def _preprocess(decoded: DecodedImage, preprocessing: Preprocessing, *, with_deliveries: bool) -> LoadedImage:
    pixels = preprocessing(decoded.image)
    reason = _find_reason(decoded, pixels)
    views = [pixels]
    if with_deliveries:
        views += [preprocessing(delivered) for delivered in deliver_in_all_ways(decoded.image)]
    return LoadedImage(np.stack(views), decoded.width, decoded.height, reason)


def _find_reason(decoded: DecodedImage, pixels: NDArray[np.float32]) -> UnfitReason | None:
    """Return why an image with these preprocessed pixels (3, H, W) cannot be judged, or None."""
    if min(decoded.width, decoded.height) < MIN_SHORT_SIDE:
        return "too small"
    if float(pixels.std(axis=(1, 2)).max()) < MIN_PIXEL_STD:
        return "flat"
    return None if is_photograph(decoded.image) else "not a photograph"
