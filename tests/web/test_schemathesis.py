"""Generated requests to the API: no answer of 5xx, and none that its description does not name."""

from __future__ import annotations

from typing import Any

import hypothesis
import pytest
import schemathesis
from schemathesis.checks import not_a_server_error
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import response_schema_conformance, status_code_conformance

from comfywatchman.jobs.records import AttemptOutcome
from tests.jobs.jobs import add_jobs, build_name, lease, start_worker
from tests.web.chromium import serve_site
from tests.web.site import Site

pytestmark = pytest.mark.slow

EXAMPLES = 30


def test_generated_requests_are_answered_as_described(site: Site) -> None:
    add_jobs(site.store, [1, 2, 3], retry_limit=0)
    failed = AttemptOutcome(False, "node-error", "boom", retryable=False)
    site.store.complete(lease(site.store, start_worker(site.store)), failed)
    token = site.secrets.create_token()
    with serve_site(site) as url:
        schema = schemathesis.openapi.from_url(f"{url}/api/openapi.json")
        count = 0
        for result in schema.get_all_operations():
            assert isinstance(result, Ok)
            operation = result.ok()

            @hypothesis.settings(max_examples=EXAMPLES, deadline=None, database=None, derandomize=True)
            @hypothesis.given(case=operation.as_strategy())
            def ask(case: schemathesis.Case[Any]) -> None:
                nonlocal count
                count += 1
                response = case.call(headers={"Authorization": f"Bearer {token}"})
                checks = [not_a_server_error, status_code_conformance, response_schema_conformance]
                case.validate_response(response, checks=checks)

            ask()
    assert count > EXAMPLES
    assert site.store.get(build_name(1)).config_name == build_name(1)
