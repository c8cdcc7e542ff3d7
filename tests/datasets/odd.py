"""Datasets that nobody would make and that must not be lost: any characters, any order, gaps, images of all formats."""

from __future__ import annotations

import hashlib
import io
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import get_args

import numpy as np
from hypothesis import strategies as st
from PIL import Image

from changeling.datasets.dataset import Dataset, write_dataset
from changeling.datasets.schema import SPLITS, CaptionRow, ImageRow
from changeling.errors import Status

FORMATS = {
    **{"JPEG": ".jpg", "PNG": ".png", "WEBP": ".webp", "AVIF": ".avif", "GIF": ".gif"},
    **{"BMP": ".bmp", "TIFF": ".tif", "PPM": ".pnm", "JPEG2000": ".jp2"},
}


@cache
def encoded(image_format: str, seed: int = 0) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(data := io.BytesIO(), image_format)
    return data.getvalue()


@dataclass(frozen=True)
class Odd:
    """Rows, captions, and the bytes of the files that the rows name."""

    rows: list[ImageRow]
    captions: list[CaptionRow]
    files: dict[str, bytes]

    def write(self, folder: Path) -> Dataset:
        (folder / "images").mkdir(parents=True)
        for path, data in self.files.items():
            (folder / path).write_bytes(data)
        return write_dataset(folder, self.rows, self.captions)


@st.composite
def odd_datasets(draw: st.DrawFn) -> Odd:
    words, numbers = st.text(min_size=1), st.integers(-(2**63), 2**63 - 1)
    splits = draw(st.dictionaries(words, st.sampled_from(SPLITS), min_size=1, max_size=4))
    clusters = st.sampled_from(sorted(splits))
    files: dict[str, bytes] = {}
    rows = []
    for image_id in draw(st.lists(words, min_size=1, max_size=8, unique=True)):
        cluster, child = draw(clusters), draw(st.booleans())
        status = draw(st.sampled_from(["ok", "ok", *get_args(Status)]))
        image_format, path, data = draw(st.sampled_from(sorted(FORMATS))), f"images/{len(files)}.dat", None
        if status == "ok":
            data = files[path] = encoded(image_format)
        rows.append(
            ImageRow(
                image_id=image_id,
                cluster_id=cluster,
                role="child" if child else "parent",
                path="" if data is None else path,
                split=splits[cluster],
                source=draw(st.text()),
                caption_index=draw(st.none() | st.integers(0, 3)),
                generator=draw(st.text()) if child else draw(st.none() | st.text()),
                width=draw(st.none() | numbers),
                height=draw(st.none() | numbers),
                format=draw(st.none() | st.just(image_format)),
                sha256=None if data is None else draw(st.sampled_from([None, hashlib.sha256(data).hexdigest()])),
                seed=draw(st.none() | numbers),
                status=status,
                error=draw(st.none() | st.text()),
            )
        )
    captions = draw(st.lists(st.builds(CaptionRow, clusters | words, st.integers(0, 5), st.text()), max_size=8))
    return Odd(rows, captions, files)
