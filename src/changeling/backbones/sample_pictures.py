"""Pictures of installed packages, on which backbones are measured and compared."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from changeling.images.decode import read_image
from changeling.images.transforms import Preprocessing

_PICTURES = (  # of packages that this one needs
    ("matplotlib", "mpl-data/sample_data/grace_hopper.jpg"),
    ("sklearn", "datasets/images/china.jpg"),
    ("sklearn", "datasets/images/flower.jpg"),
)


def load_pictures(preprocessing: Preprocessing) -> NDArray[np.float32]:
    """Return the preprocessed pixels (N, 3, H, W) of the pictures."""
    pixels = []
    for package, name in _PICTURES:
        spec = importlib.util.find_spec(package)
        path = Path(spec.origin).parent / name if spec and spec.origin else None
        if path and path.is_file():
            pixels.append(preprocessing(read_image(path).image))
    return np.stack(pixels or [draw_noise(preprocessing)])


def draw_noise(preprocessing: Preprocessing) -> NDArray[np.float32]:
    """Return the preprocessed pixels (3, H, W) of noise, always the same."""
    noise = np.random.default_rng(0).integers(0, 256, (256, 256, 3), dtype=np.uint8)
    return preprocessing(Image.fromarray(noise))
