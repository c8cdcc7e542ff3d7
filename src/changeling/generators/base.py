"""The interface of generators: what they are asked for, and what they do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from PIL import Image

from changeling.datasets.schema import Split

Record = dict[str, Any]


class OutOfMemoryError(Exception):
    """So many children at once do not fit."""


@dataclass(frozen=True, slots=True)
class Child:
    """One child to be made.

    Attributes:
        image_id: the generator's name, the parent's image_id and, if it is drawn from one, the caption's index.
        number: its place among the generator's children, from 0; names its file.
        seed: of the first try; each further one takes the next.
        parent: the parent's file, and `parent_hash` its sha256.
    """

    image_id: str
    number: int
    cluster_id: str
    split: Split
    source: str
    caption_index: int | None
    prompt: str
    seed: int
    parent: Path
    parent_hash: str


class Generator(Protocol):
    """What draws children.

    Attributes:
        record: all that decides what is drawn: what generators.json holds.
        device: what it runs on, by its maker's name.
    """

    record: Record
    device: str

    def draw(self, children: Sequence[Child], seeds: Sequence[int]) -> list[Image.Image | None]:
        """Draw each child from its seed: an RGB image, or None where the safety checker flags it.

        Raises:
            OutOfMemoryError: there are too many of them.
            ImageError: a parent that is needed cannot be read.
            BuildError: the model fails.
        """
        ...
