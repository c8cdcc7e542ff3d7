"""What these tests import from: small image files, caption files, and Karpathy's file in its full size."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from PIL import Image

from changeling.datasets.dataset import Dataset

IMAGES = 123_287


def picture(path: Path, size: tuple[int, int] = (8, 6)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (200, 30, 30)).save(path)
    return path


def rows(dataset: Dataset) -> dict[str, dict[str, object]]:
    return {row["image_id"]: row for row in dataset.images.to_pylist()}


def entry(number: int, split: str = "train", captions: int = 5) -> dict[str, Any]:
    """One image of Karpathy's file."""
    made: dict[str, Any] = json.loads(entry_text(number, split, captions))
    return made


def entry_text(number: int, split: str, captions: int = 5) -> str:
    """The same as text, which is faster to make; the numbers of captions lie beyond those of images."""
    part = "train2014" if split == "train" else "val2014"
    numbers = range(900_000 + 10 * number, 900_000 + 10 * number + captions)
    said = ", ".join(
        f'{{"tokens": ["a"], "raw": " caption {index}\\n of {number} ", "imgid": 0, "sentid": {sentid}}}'
        for index, sentid in enumerate(numbers)
    )
    return (
        f'{{"filepath": "{part}", "filename": "COCO_{part}_{number:012d}.jpg", "split": "{split}", "cocoid": {number}, '
        f'"imgid": 0, "sentids": {list(numbers)}, "sentences": [{said}]}}'
    )


def split_of(number: int) -> str:
    """How the generated file is split: images are numbered from 1; 82,783 train, 30,504 restval, val, test."""
    return "train" if number <= 82_783 else "restval" if number <= 113_287 else "val" if number <= 118_287 else "test"


def write_karpathy(path: Path, entries: Iterable[str | dict[str, Any] | None]) -> Path:
    texts = (some if isinstance(some, str) else json.dumps(some) for some in entries)
    path.write_text(f'{{"images": [{", ".join(texts)}], "dataset": "coco"}}', encoding="utf-8")
    return path
