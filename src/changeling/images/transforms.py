"""Preprocessing of images for a backbone, and the resizing and cropping that it is made of."""

from __future__ import annotations

import hashlib
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydantic import BaseModel, ConfigDict

from changeling.images.decode import DecodedImage, ImageFile, decode_image

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

    def _resize(self, image: Image.Image) -> Image.Image:
        if self.version == 1:
            return resize_short(image, self.resize, _FILTERS[self.interpolation])
        short = min(image.size)
        size = (self.resize * image.width // short, self.resize * image.height // short)
        return image.resize(size, _FILTERS[self.interpolation])


def resize_short(image: Image.Image, side: int, resample: Image.Resampling = Image.Resampling.BICUBIC) -> Image.Image:
    """Resize so that the short side is `side` pixels, keeping the aspect as nearly as whole pixels allow."""
    width, height = image.size
    scale = side / min(width, height)
    size = (max(side, round(width * scale)), max(side, round(height * scale)))
    return image if size == image.size else image.resize(size, resample)


def resize_square(image: Image.Image, side: int) -> Image.Image:
    """Crop the central square and resize it to `side` x `side` pixels."""
    return centre_crop(image, min(image.size)).resize((side, side), Image.Resampling.LANCZOS)


def limit_aspect(image: Image.Image) -> Image.Image:
    """Crop the centre of an image that is more than `MAX_ASPECT` times as long as wide."""
    longest = MAX_ASPECT * min(image.size)
    if max(image.size) <= longest:
        return image
    width, height = min(image.width, longest), min(image.height, longest)
    left, top = (image.width - width) // 2, (image.height - height) // 2
    return image.crop((left, top, left + width, top + height))


def centre_crop(image: Image.Image, side: int) -> Image.Image:
    """Crop the central `side` x `side` pixels; an image that is smaller is padded with black."""
    left, top = round((image.width - side) / 2), round((image.height - side) / 2)
    return image.crop((left, top, left + side, top + side))


CLIP = Preprocessing(
    resize=224,
    crop=224,
    mean=(0.48145466, 0.4578275, 0.40821073),
    std=(0.26862954, 0.26130258, 0.27577711),
)
IMAGENET = Preprocessing(resize=256, crop=224, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
