"""Verdicts on labelled pictures, evaluated over HTTP."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

import httpx
import pytest

from changeling.detect.labelled import evaluate_verdicts
from changeling.server.api.evaluation import LabelledRow
from changeling.server.service import DetectionService

ROWS: list[dict[str, Any]] = [
    {"truth": "real", "label": "real", "probability": 0.1},
    {"truth": "real", "label": "fake", "probability": 0.9},
    {"truth": "fake", "label": "unsure", "probability": 0.5},
    {"truth": "fake", "label": None, "probability": None},
]


def test_the_answer_is_that_of_detect(client: httpx.Client) -> None:
    answer = client.post("/v1/evaluate", json={"verdicts": ROWS})
    assert answer.status_code == 200
    expected = evaluate_verdicts([LabelledRow(**row) for row in ROWS])
    assert answer.json() == {"schema_version": 1, "evaluation": json.loads(json.dumps(asdict(expected)))}
    assert answer.json()["evaluation"]["mistakes"] == [1]


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 422),
        (b"[]", 422),
        (b'{"verdicts": []}', 422),
        (b'{"verdicts": [{"truth": "real", "label": "real", "probability": NaN}]}', 422),
        (b'{"verdicts": [{"truth": "real", "label": "real", "probability": 2}]}', 422),
        (b'{"verdicts": [{"truth": "maybe", "label": "real", "probability": 0.5}]}', 422),
        (b"[" * 100_000, 422),
        (b" " * (5 << 20), 413),
    ],
)
def test_other_bodies_are_refused(body: bytes, status: int, client: httpx.Client) -> None:
    answer = client.post("/v1/evaluate", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == status
    assert answer.json()["error"]["message"].endswith(".")


def test_the_body_must_be_json(client: httpx.Client) -> None:
    assert client.post("/v1/evaluate", data={"verdicts": "x"}).status_code == 415


def test_verdicts_count_as_held_while_they_are_evaluated(served: tuple[httpx.Client, DetectionService]) -> None:
    client, service = served
    free = service.settings.max_held_bytes
    service.uploads.held_bytes += free
    try:
        answer = client.post("/v1/evaluate", json={"verdicts": ROWS})
    finally:
        service.uploads.held_bytes -= free
    assert (answer.status_code, answer.json()["error"]["code"]) == (429, "busy")
    client.post("/v1/evaluate", json={"verdicts": ROWS})
    client.post("/v1/evaluate", content=b" " * (5 << 20), headers={"Content-Type": "application/json"})
    assert service.uploads.held_bytes == 0
