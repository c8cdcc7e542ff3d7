"""Requests to generators: children to draw, and settings that are refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from changeling.errors import BuildError
from changeling.generators.base import Child, ParentFile
from changeling.generators.families import load_generator
from changeling.generators.settings import GeneratorSettings

RECONSTRUCTION = GeneratorSettings(model="vae", kind="reconstruction")


def make_child(number: int, parent: Path = Path("none.png")) -> Child:
    """A child with a caption and a seed of its own."""
    return Child(
        image_id=f"sd/{number}/0",
        number=number,
        cluster_id=f"c{number}",
        split="train",
        source="",
        caption_index=0,
        prompt=f"a picture of {number} things",
        seed=1000 * number + 2**61,
        parent=ParentFile(parent, ""),
    )


def check_refused(settings: GeneratorSettings, root: Path, message: str) -> None:
    """Check that a generator is not loaded, and that the error is one line."""
    with pytest.raises(BuildError, match=message) as caught:
        load_generator(settings, root)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 500
