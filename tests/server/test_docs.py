"""The client of docs/serve.md, on a running service."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest

from tests import helpers
from tests.test_docs import ROOT, read_blocks


def test_the_client_of_the_page_prints_verdicts(
    client: httpx.Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    helpers.natural(0).save("photo.jpg")
    helpers.generated(1).save("painting.webp")
    (code,) = read_blocks(ROOT / "docs" / "serve.md", "python")
    assert "http://127.0.0.1:8000" in code
    exec(code.replace("http://127.0.0.1:8000", str(client.base_url).rstrip("/")), {})  # noqa: S102
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["photo.jpg", "painting.webp"]
    assert all(line.split()[1] in ("real", "fake", "unsure") for line in lines)
