"""Preprocessing of images for a backbone, and the resizing and cropping that it is made of."""

from __future__ import annotations

import hashlib
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydantic import BaseModel, ConfigDict

from changeling.images.decode import DecodedImage, ImageFile, decode_image

Size = tuple[int, int]  # width and height
Box = tuple[float, float, float, float]  # left, top, right, bottom

_FILTERS = {"bicubic": Image.Resampling.BICUBIC, "bilinear": Image.Resampling.BILINEAR}
_DRAFT = 2  # a JPEG may be decoded at a reduced size of at least this many times `resize`
# longer images are cropped to this aspect ratio first, or resizing 1 x 1,000,000 pixels would fill the memory
MAX_ASPECT = 4


class Preprocessing(BaseModel):
    """Resize the short side, crop the centre, scale to [0, 1], subtract the mean, divide by the deviation.

    Resizing is Pillow's, with antialiasing. Files are decoded upright, with transparency composited on white, and the
    first frame of an animation; a JPEG whose short side is at least `4 * resize` is decoded at a fraction of its size.
    The long side is rounded to the nearest pixel in version 1, and rounded down in version 2, as torchvision does,
    and so open_clip and timm.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    version: Literal[1, 2] = 1  # of this code: increased when its output changes
    resize: int
    crop: int
    interpolation: Literal["bicubic", "bilinear"] = "bicubic"
    mean: tuple[float, float, float]
    std: tuple[float, float, float]

    @property
    def hash(self) -> str:
        """Twelve hexadecimal digits that identify the preprocessing."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()[:12]

    def decode(self, file: ImageFile) -> DecodedImage:
        """Decode an image file at a size that is large enough for this preprocessing. Raises ImageError."""
        return decode_image(file, short_side=_DRAFT * self.resize)

    def __call__(self, image: Image.Image) -> NDArray[np.float32]:
        """RGB image of any size -> float32 (3, crop, crop)."""
        small = self._resize(limit_aspect(image))
        square = centre_crop(small, self.crop)
        pixels = np.asarray(square, dtype=np.float32) / np.float32(255)
        normalised = (pixels - np.array(self.mean, np.float32)) / np.array(self.std, np.float32)
        return np.ascontiguousarray(normalised.transpose(2, 0, 1))

    def find_crop(self, width: int, height: int) -> Box:
        """Return the part of an image of this size that the backbone sees, in pixels of the image."""
        left, top, right, bottom = _find_limited_box((width, height))
        limited = (right - left, bottom - top)
        resized = self._find_resized_size(limited)
        crop_left, crop_top = find_centre(resized, self.crop)
        scale_x, scale_y = limited[0] / resized[0], limited[1] / resized[1]
        return (
            left + crop_left * scale_x,
            top + crop_top * scale_y,
            left + (crop_left + self.crop) * scale_x,
            top + (crop_top + self.crop) * scale_y,
        )

    def _resize(self, image: Image.Image) -> Image.Image:
        size = self._find_resized_size(image.size)
        return image if size == image.size else image.resize(size, _FILTERS[self.interpolation])

    def _find_resized_size(self, size: Size) -> Size:
        if self.version == 1:
            return find_resized_size(size, self.resize)
        short = min(size)
        return self.resize * size[0] // short, self.resize * size[1] // short


def resize_short(image: Image.Image, side: int, resample: Image.Resampling = Image.Resampling.BICUBIC) -> Image.Image:
    """Resize so that the short side is `side` pixels, keeping the aspect as nearly as whole pixels allow."""
    size = find_resized_size(image.size, side)
    return image if size == image.size else image.resize(size, resample)


def find_resized_size(size: Size, side: int) -> Size:
    """Return the width and the height after `resize_short`."""
    width, height = size
    scale = side / min(width, height)
    return max(side, round(width * scale)), max(side, round(height * scale))


def resize_square(image: Image.Image, side: int) -> Image.Image:
    """Crop the central square and resize it to `side` x `side` pixels."""
    return centre_crop(image, min(image.size)).resize((side, side), Image.Resampling.LANCZOS)


def limit_aspect(image: Image.Image) -> Image.Image:
    """Crop the centre of an image that is more than `MAX_ASPECT` times as long as wide."""
    box = _find_limited_box(image.size)
    return image if box == (0, 0, *image.size) else image.crop(box)


def _find_limited_box(size: Size) -> tuple[int, int, int, int]:
    """Return the central box, of an image of this size, that is at most `MAX_ASPECT` times as long as wide."""
    longest = MAX_ASPECT * min(size)
    width, height = min(size[0], longest), min(size[1], longest)
    left, top = (size[0] - width) // 2, (size[1] - height) // 2
    return left, top, left + width, top + height


def centre_crop(image: Image.Image, side: int) -> Image.Image:
    """Crop the central `side` x `side` pixels; an image that is smaller is padded with black."""
    left, top = find_centre(image.size, side)
    return image.crop((left, top, left + side, top + side))


def find_centre(size: Size, side: int) -> tuple[int, int]:
    """Return the left and the top of the central `side` x `side` pixels; negative where the image is smaller."""
    return round((size[0] - side) / 2), round((size[1] - side) / 2)


CLIP = Preprocessing(
    resize=224,
    crop=224,
    mean=(0.48145466, 0.4578275, 0.40821073),
    std=(0.26862954, 0.26130258, 0.27577711),
)
IMAGENET = Preprocessing(resize=256, crop=224, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
