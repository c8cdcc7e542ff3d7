from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.backbones import hub


@pytest.fixture(scope="module")
def tiny_hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder of a hub's cache with tiny weights for the paper's six backbones."""
    folder = tmp_path_factory.mktemp("hub")
    with hub.tiny_hub(folder):
        yield folder
