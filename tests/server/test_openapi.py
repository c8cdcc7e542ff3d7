"""The OpenAPI document, and requests that schemathesis makes from it."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis.checks import positive_data_acceptance
from schemathesis.core.result import Ok

EXAMPLES = int(os.environ.get("CHANGELING_OPENAPI_EXAMPLES", "10"))  # for each route


def test_every_route_that_takes_files_documents_its_errors(client: httpx.Client) -> None:
    document = client.get("/openapi.json").json()
    for path in ("/v1/detect", "/v1/explain"):
        operation = document["paths"][path]["post"]
        assert set(operation["responses"]) == {"200", "401", "408", "413", "415", "422", "429", "503"}
        for status, response in operation["responses"].items():
            schema = response["content"]["application/json"]["schema"]["$ref"]
            assert schema.endswith("/ErrorResponse") == (status != "200")
        files = operation["requestBody"]["content"]["multipart/form-data"]["schema"]["properties"]["images"]
        assert files["items"] == {"type": "string", "format": "binary"}


@pytest.mark.parametrize("mode", list(schemathesis.GenerationMode))
def test_answers_to_made_up_requests_are_as_documented(mode: schemathesis.GenerationMode, client: httpx.Client) -> None:
    document = schemathesis.openapi.from_url(f"{client.base_url}/openapi.json")
    operations: list[Any] = [result.ok() for result in document.get_all_operations() if isinstance(result, Ok)]
    assert {operation.path for operation in operations} >= {"/v1/detect", "/v1/explain", "/v1/models", "/readyz"}
    for operation in operations:

        @settings(max_examples=EXAMPLES, suppress_health_check=list(HealthCheck))
        @given(case=operation.as_strategy(generation_mode=mode))
        def check_answer(case: Any) -> None:
            case.call_and_validate(excluded_checks=[positive_data_acceptance])  # random bytes are no image

        with suppress(Unsatisfiable):  # a route without parameters has no wrong ones
            check_answer()
