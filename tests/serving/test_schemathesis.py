"""The service against its own OpenAPI document: made-up requests, each answer as described."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis.strategies import SearchStrategy
from schemathesis import Case
from schemathesis.checks import not_a_server_error
from schemathesis.generation import GenerationMode
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from serving.openapi import openapi_document

StartClient = Callable[..., Any]
FieldHome = Any
EXAMPLES = 8
"""Requests an operation, mode and existence; more found nothing further."""
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
NOT_OURS = "/predict"
"""BentoML's own route, which only its server mounts (tests/serving/test_service.py)."""


def operations(mode: GenerationMode) -> list[tuple[str, str]]:
    """(method, path) of all our operations; a body is needed to break the document."""
    return [
        (method, path)
        for path, methods in openapi_document()["paths"].items()
        for method, operation in methods.items()
        if path != NOT_OURS and (mode == GenerationMode.POSITIVE or "requestBody" in operation)
    ]


def ask(cases: SearchStrategy[Case[Any]], names: dict[str, str] | None) -> set[int]:
    """Send made-up requests, to what exists where there are `names`; the statuses that came."""
    answered: set[int] = set()

    @seed(0)
    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=cases)
    def one(case: Case[Any]) -> None:
        if names and case.path_parameters:
            case.path_parameters = {name: names[name] for name in case.path_parameters}
        answered.add(case.call_and_validate(checks=CHECKS).status_code)

    one()
    return answered


@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE])
def test_answers_are_what_the_document_says(
    start: StartClient, home: FieldHome, mode: GenerationMode
) -> None:
    client, worker = start()
    names = {"model": "default", "version": home.one}
    schema = schemathesis.openapi.from_asgi("/openapi.json", client.app)
    answered = {
        (method, path): ask(cases, None) | ask(cases, names)
        for method, path in operations(mode)
        for cases in [schema[path][method.upper()].as_strategy(generation_mode=mode)]
    }
    assert worker.ready
    wrong = mode == GenerationMode.NEGATIVE
    assert answered["post", "/v2/models/{model}/infer"] >= ({400} if wrong else {400, 404})
    assert answered["post", "/v1/predict"] & {400, 415, 422}
    assert wrong or answered["get", "/v2/models/{model}/versions/{version}"] == {200, 404}
