"""What a backbone wants done to an image before it: a typed, hashable recipe."""

from __future__ import annotations

import hashlib
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydantic import BaseModel, ConfigDict

from changeling.images.decode import Picture, read_image

_FILTERS = {"bicubic": Image.Resampling.BICUBIC, "bilinear": Image.Resampling.BILINEAR}
_DRAFT = 2  # a JPEG may be decoded smaller, down to this many times `resize`
_ASPECT = 4  # a longer image is first cropped to this aspect: one pixel by a million must not grow with `resize`


class Preprocessing(BaseModel):
    """Resize the short side, crop the centre, scale to [0, 1], subtract the mean, divide by the deviation.

    Resizing is Pillow's, with antialias. Files are read upright, alpha on white, first frame; a JPEG whose
    short side is at least twice `2 * resize` is decoded at a fraction of its size. The long side becomes the nearest
    whole number of pixels; in version 2 it is rounded down, as torchvision does and hence open_clip and timm.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    version: Literal[1, 2] = 1  # of the code that does it; another way of doing it is another version
    resize: int
    crop: int
    interpolation: Literal["bicubic", "bilinear"] = "bicubic"
    mean: tuple[float, float, float]
    std: tuple[float, float, float]

    @property
    def hash(self) -> str:
        """Twelve hexadecimal digits: equal where images are treated equally."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()[:12]

    def read(self, path: str, sha256: str | None = None) -> Picture:
        """Read an image file, the one with this hash, at a size that is enough for this recipe. Raises ImageError."""
        return read_image(path, short_side=_DRAFT * self.resize, sha256=sha256)

    def __call__(self, image: Image.Image) -> NDArray[np.float32]:
        """RGB image of any size -> float32 (3, crop, crop)."""
        small = self._resized(_at_most(image, _ASPECT))
        square = centre_crop(small, self.crop)
        pixels = np.asarray(square, dtype=np.float32) / np.float32(255)
        normal = (pixels - np.array(self.mean, np.float32)) / np.array(self.std, np.float32)
        return np.ascontiguousarray(normal.transpose(2, 0, 1))

    def _resized(self, image: Image.Image) -> Image.Image:
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


def _at_most(image: Image.Image, aspect: int) -> Image.Image:
    """Crop the middle of an image that is more than `aspect` times as long as wide."""
    longest = aspect * min(image.size)
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
