"""A service that many tests share."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from changeling.server.service import DetectionService
from tests.server.helpers import run_service

Served = tuple[httpx.Client, DetectionService]


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A client of a running service, and the service."""
    with run_service(tmp_path_factory.mktemp("service")) as pair:
        yield pair


@pytest.fixture(scope="session")
def client(served: Served) -> httpx.Client:
    """A client of a running service."""
    return served[0]
