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


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only folder where pip looks for packages."""
    folder = tmp_path / "index"
    folder.mkdir()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    return folder
