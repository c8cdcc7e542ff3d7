"""The encoding policy: how the files of parents and children are encoded, so that a file does not reveal its class."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from changeling.build.settings import BuildSettings
from changeling.files import atomic_write
from changeling.images.decode import ImageFile, decode_image
from changeling.images.encode import (
    FORMAT_SUFFIXES,
    PNG_ENCODING,
    Encoding,
    encode_image,
    jpeg_encoding,
    read_encoding,
)
from changeling.images.transforms import resize_square


@dataclass(frozen=True, slots=True)
class EncodedImage:
    """The content of an image file that is to be written; `format` is Pillow's name of the file format."""

    data: bytes
    width: int
    height: int
    format: str
    suffix: str


class Encoder:
    """Encodes parents and children by the policy of a build."""

    def __init__(self, settings: BuildSettings) -> None:
        self._settings = settings
        self._fixed_encoding = jpeg_encoding(settings.quality)

    @property
    def record(self) -> dict[str, object]:
        """Everything that determines how an image is encoded."""
        record: dict[str, object] = {"encoding": self._settings.encoding, "size": self._settings.size}
        if self._settings.encoding == "fixed":
            record["quality"] = self._settings.quality
        return record

    def child_encoding(self, parent: ImageFile) -> Encoding:
        """The encoding of a child of `parent`. Raises ImageError if the encoding of the parent cannot be read."""
        match self._settings.encoding:
            case "matched":
                return read_encoding(parent)
            case "fixed":
                return self._fixed_encoding
            case "off":
                return PNG_ENCODING

    def encode_child(self, image: Image.Image, parent: ImageFile) -> EncodedImage:
        """Encode the RGB image of a child of `parent`. Raises ImageError."""
        return self._encode(image, self.child_encoding(parent))

    def encode_parent(self, file: ImageFile) -> EncodedImage:
        """Encode a parent, or return it as it is if the policy is "off". Raises ImageError if it cannot be decoded."""
        decoded = decode_image(file)
        if self._settings.encoding != "off":
            return self._encode(decoded.image, self.child_encoding(file))
        if self._settings.size:
            return self._encode(decoded.image, read_encoding(file))
        return EncodedImage(file.data, decoded.width, decoded.height, decoded.format, Path(file.path).suffix.lower())

    def _encode(self, image: Image.Image, encoding: Encoding) -> EncodedImage:
        resized = resize_square(image, self._settings.size) if self._settings.size else image
        data = encode_image(resized, encoding)
        return EncodedImage(data, resized.width, resized.height, encoding.format, FORMAT_SUFFIXES[encoding.format])


def write_image(path: Path, data: bytes) -> str:
    """Write an image file atomically, as another process may write it as well. Returns its SHA-256."""
    with atomic_write(path) as temporary:
        temporary.write_bytes(data)
    return hashlib.sha256(data).hexdigest()
