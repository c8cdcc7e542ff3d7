"""The encoding policy: how parents and children are saved, so that a file gives nothing away."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from changeling.build.settings import BuildSettings
from changeling.files import atomic_write
from changeling.images.decode import decode_image, read_file
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
class File:
    """An image file that is about to be written; `format` is Pillow's name for it."""

    data: bytes
    width: int
    height: int
    format: str
    suffix: str


class Encoder:
    """Writes image files by the policy of a build."""

    def __init__(self, settings: BuildSettings) -> None:
        self._settings = settings
        self._fixed = jpeg_encoding(settings.quality)

    @property
    def record(self) -> dict[str, object]:
        """All that decides how an image is saved."""
        settings = self._settings
        told: dict[str, object] = {"encoding": settings.encoding, "size": settings.size}
        return told | ({"quality": settings.quality} if settings.encoding == "fixed" else {})

    def form(self, parent: Path) -> Encoding:
        """The form that a child of `parent` is written in. Raises ImageError if the parent cannot be read."""
        match self._settings.encoding:
            case "matched":
                return read_encoding(read_file(parent))
            case "fixed":
                return self._fixed
            case "off":
                return PNG_ENCODING

    def child(self, image: Image.Image, parent: Path) -> File:
        """RGB image -> its file, in the form that the policy gives a child of `parent`. Raises ImageError."""
        return self._file(image, self.form(parent))

    def parent(self, path: Path) -> File:
        """A parent's file as it is saved. Raises ImageError if it cannot be read."""
        file = read_file(path)
        picture = decode_image(file)
        if self._settings.encoding == "off" and not self._settings.size:
            return File(file.data, picture.width, picture.height, picture.format, path.suffix.lower())
        form = read_encoding(file) if self._settings.encoding == "off" else self.form(path)
        return self._file(picture.image, form)

    def _file(self, image: Image.Image, form: Encoding) -> File:
        fitted = resize_square(image, self._settings.size) if self._settings.size else image
        return File(encode_image(fitted, form), *fitted.size, form.format, FORMAT_SUFFIXES[form.format])


def save(path: Path, data: bytes) -> str:
    """Write an image file, whole: another process may have finished its part meanwhile. Return its sha256."""
    with atomic_write(path) as temporary:
        temporary.write_bytes(data)
    return hashlib.sha256(data).hexdigest()
