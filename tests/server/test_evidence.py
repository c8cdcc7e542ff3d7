"""The evidence in the answers of the service is that of `detect --evidence`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from typer.testing import CliRunner

from changeling.cli import app
from tests.detect.evidence.signing import CREATED, MIME_TYPES, Signer, encode, make_signer
from tests.detect.evidence.test_generator_parameters import WEB_UI, save
from tests.server.helpers import QUICK, run_service


@pytest.fixture(scope="module")
def signer() -> Signer:
    return make_signer("Camera Maker")


@pytest.fixture(scope="module")
def trusting(signer: Signer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[httpx.Client, Path]]:
    """A client of a service that trusts the signer, and the folder with its detector and its trust list."""
    folder = tmp_path_factory.mktemp("trusting")
    (folder / "list.pem").write_text(signer.authority)
    with run_service(folder, replace(QUICK, trust_list=folder / "list.pem")) as (client, _):
        yield client, folder


@pytest.fixture
def files(signer: Signer, tmp_path: Path) -> dict[str, bytes]:
    """Signed files, one that was changed after it was signed, and one with a prompt; also stored in the folder."""
    contents = {f"{name}.bin": signer.sign(encode(name), mime, CREATED) for name, mime in MIME_TYPES.items()}
    contents["changed.bin"] = contents["JPEG.bin"] + b"more"
    contents["prompt.bin"] = save({"parameters": WEB_UI})
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    return contents


def ask(client: httpx.Client, files: dict[str, bytes]) -> list[dict[str, Any]]:
    answer = client.post("/v1/detect?evidence=true", files=[("images", file) for file in files.items()])
    assert answer.status_code == 200
    results: list[dict[str, Any]] = answer.json()["results"]
    return results


def test_evidence_is_that_of_detect(
    trusting: tuple[httpx.Client, Path], files: dict[str, bytes], tmp_path: Path
) -> None:
    client, folder = trusting
    options = ["--evidence", "--trust-list", str(folder / "list.pem"), "--model", str(folder / "model")]
    command = ["detect", *options, "--format", "json", *(str(tmp_path / name) for name in files)]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 0, result.output
    expected = json.loads(result.stdout)
    answered = ask(client, files)
    assert [row["evidence"] for row in answered] == [row["evidence"] for row in expected]
    assert [row["label"] for row in answered] == [row["label"] for row in expected]
    assert [row["evidence"][0]["state"] for row in answered] == [*["trusted signer"] * 3, "invalid", "absent"]
    assert answered[-1]["evidence"][-1]["suggests"] == "generated"


def test_nobody_is_trusted_without_a_trust_list(client: httpx.Client, files: dict[str, bytes]) -> None:
    states = [row["evidence"][0]["state"] for row in ask(client, files)]
    assert states == [*["unknown signer"] * 3, "invalid", "absent"]
