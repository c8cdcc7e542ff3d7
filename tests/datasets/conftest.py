"""Karpathy's file in its full size, made once."""

from pathlib import Path

import pytest

from tests.datasets.files import IMAGES, entry_text, split_of, write_karpathy


@pytest.fixture(scope="session")
def karpathy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """113,287 / 5,000 / 5,000 images; image 7 has six captions, image 120,000 has seven."""
    more = {7: 6, 120_000: 7}
    entries = [entry_text(number, split_of(number), more.get(number, 5)) for number in range(1, IMAGES + 1)]
    return write_karpathy(tmp_path_factory.mktemp("karpathy") / "dataset_coco.json", entries)
