"""The interface of generators: the children that are requested, and what draws them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from PIL import Image

from changeling.datasets.schema import Split
from changeling.images.decode import ImageFile, read_file

if TYPE_CHECKING:
    from changeling.generators.settings import GeneratorSettings

Record = dict[str, Any]


class OutOfMemoryError(Exception):
    """The device's memory is too small for the children that are drawn at once."""


@dataclass(frozen=True)
class ParentFile:
    """The image file of a parent, which its children share. It is read once, when `file` is first asked for.

    Attributes:
        sha256: the hash that the file must have; empty if it is not known.
    """

    path: Path
    sha256: str

    @cached_property
    def file(self) -> ImageFile:
        """The content of the file. Raises ImageError if it cannot be read, or has another hash."""
        return read_file(self.path, self.sha256)


@dataclass(frozen=True, slots=True)
class Child:
    """A request for one child.

    Attributes:
        image_id: the generator's name, the parent's image_id and, if it is drawn from a caption, the caption's index.
        number: its position among the generator's children, from 0; its file is named after it.
        seed: the seed of the first attempt; each further attempt takes the next integer.
    """

    image_id: str
    number: int
    cluster_id: str
    split: Split
    source: str
    caption_index: int | None
    prompt: str
    seed: int
    parent: ParentFile


class Generator(Protocol):
    """A loaded model that draws children.

    Attributes:
        record: everything that determines the images, as it is written to generators.json.
        device: the name of the hardware that it runs on.
    """

    record: Record
    device: str

    def draw(self, children: Sequence[Child], seeds: Sequence[int]) -> list[Image.Image | None]:
        """Draw each child from its seed: an RGB image, or None where the safety checker flags it.

        Raises:
            OutOfMemoryError: the memory is too small for so many children at once.
            ImageError: a parent's image is needed and cannot be read.
            BuildError: the model fails.
        """
        ...


class GeneratorFamily(Protocol):
    """The class of a family: called with settings it loads a generator."""

    def __call__(self, settings: GeneratorSettings, root: Path) -> Generator:
        """Load a generator. Raises BuildError."""
        ...

    def fetch_files(self, settings: GeneratorSettings, root: Path) -> None:
        """Fetch a generator's files and check that they fit the settings, without loading it. Raises BuildError."""
        ...
