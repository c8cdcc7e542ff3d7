"""The routes of a running service, over HTTP."""

from __future__ import annotations

import hashlib
from pathlib import Path

import httpx
import pytest

import changeling
from changeling.server.service import DetectionService
from tests.server.helpers import make_files, make_picture


def test_verdicts_are_those_of_detect_in_order(served: tuple[httpx.Client, DetectionService], tmp_path: Path) -> None:
    client, service = served
    pictures = [make_picture(seed, fake=seed % 2 == 0) for seed in range(5)]
    answer = client.post("/v1/detect", files=make_files(*pictures))
    assert answer.status_code == 200
    results = answer.json()["results"]
    assert [result["sha256"] for result in results] == [hashlib.sha256(picture).hexdigest() for picture in pictures]
    assert [result["bytes"] for result in results] == [len(picture) for picture in pictures]
    paths = [tmp_path / result["name"] for result in results]
    for path, picture in zip(paths, pictures, strict=True):
        path.write_bytes(picture)
    verdicts = list(service.detector.detect(paths))
    assert [result["label"] for result in results] == [verdict.label for verdict in verdicts]
    assert {result["label"] for result in results} == {"real", "fake"}
    for result, verdict in zip(results, verdicts, strict=True):
        assert result["probability"] == pytest.approx(verdict.probability, abs=1e-6)
        assert (result["status"], result["error"], result["lowest"]) == ("ok", None, None)
        assert "evidence" not in result


def test_an_answer_names_the_model(client: httpx.Client) -> None:
    model = client.post("/v1/detect", files=make_files(make_picture())).json()["model"]
    assert model["name"] == "tiny"
    assert model["version"] == changeling.__version__
    assert model["thresholds"] == {"real": 0.4, "fake": 0.6}
    assert model["prior"] == 0.5


def test_ranges_and_evidence_come_if_asked_for(served: tuple[httpx.Client, DetectionService], tmp_path: Path) -> None:
    client, service = served
    (tmp_path / "x.png").write_bytes(make_picture(1))
    (verdict,) = service.detector.detect_stable([tmp_path / "x.png"])
    answer = client.post("/v1/detect?stable=true&evidence=true", files=make_files(make_picture(1)))
    (result,) = answer.json()["results"]
    assert (result["lowest"], result["highest"]) == pytest.approx((verdict.lowest, verdict.highest), abs=1e-6)
    assert {item["kind"] for item in result["evidence"]} >= {"content credentials", "camera data"}


def test_an_unreadable_file_among_others_is_a_row(client: httpx.Client) -> None:
    answer = client.post("/v1/detect", files=make_files(make_picture(), b"text", make_picture(1)))
    assert answer.status_code == 200
    results = answer.json()["results"]
    assert [result["status"] for result in results] == ["ok", "unsupported", "ok"]
    assert (results[1]["label"], results[1]["probability"]) == (None, None)
    assert "format" in results[1]["error"]


def test_an_explanation_adds_up(client: httpx.Client) -> None:
    answer = client.post("/v1/explain", files=make_files(make_picture()))
    assert answer.status_code == 200
    result = answer.json()["result"]
    assert len(result["cells"]) == result["rows"] ** 2
    total = sum(cell["contribution"] for cell in result["cells"])
    assert result["blurred_score"] + total == pytest.approx(result["score"], abs=1e-6)


def test_the_model_is_described(client: httpx.Client) -> None:
    (model,) = client.get("/v1/models").json()["models"]
    assert model["card"] == "# tiny\n"
    assert model["name"] == "tiny"


@pytest.mark.parametrize("path", ["/", "/healthz", "/readyz", "/version", "/metrics", "/openapi.json"])
def test_the_other_routes_answer_with_security_headers(path: str, client: httpx.Client) -> None:
    answer = client.get(path)
    assert answer.status_code == 200
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "access-control-allow-origin" not in answer.headers
    assert "server" not in answer.headers


def test_other_paths_and_methods_are_errors_of_the_same_shape(client: httpx.Client) -> None:
    for answer, status in ((client.get("/nothing"), 404), (client.get("/v1/detect"), 405)):
        assert answer.status_code == status
        assert set(answer.json()["error"]) == {"code", "message"}
