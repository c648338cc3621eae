from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from comfywatchman.base.http_retry import RETRYABLE_STATUSES
from comfywatchman.sources.download.responses import (
    BodyPlacement,
    ResumeDecision,
    TransientFailure,
    build_status_failure,
    decide_resume,
    parse_retry_after_seconds,
    read_strong_etag,
    reason_not_model_response,
)

NOW = datetime(2026, 11, 20, 14, 0, tzinfo=UTC)


def begin(
    status: int, content_range: str = "", length: int | None = None, have: int = 100, expected: int | None = 300
) -> ResumeDecision | None:
    return decide_resume(status, {"content-range": content_range}, length, have=have, expected=expected)


@pytest.mark.parametrize(
    ("answer", "wanted"),
    [
        (begin(200, length=300), ResumeDecision(BodyPlacement.REPLACE, 300)),
        (begin(200), ResumeDecision(BodyPlacement.REPLACE, None)),
        (begin(206, "bytes 100-299/300", 200), ResumeDecision(BodyPlacement.APPEND, 300)),
        (begin(206, "bytes 100-299/300"), ResumeDecision(BodyPlacement.APPEND, 300)),
        (begin(206, "Bytes 100-299/*", 200), ResumeDecision(BodyPlacement.APPEND, None)),
        (begin(206, "bytes 100-299/300", 200, expected=None), ResumeDecision(BodyPlacement.APPEND, 300)),
        (begin(416, "bytes */100", expected=None), ResumeDecision(BodyPlacement.NOTHING_LEFT, 100)),
        (begin(416, have=300), ResumeDecision(BodyPlacement.NOTHING_LEFT, 300)),
    ],
)
def test_matching_response_places_its_body(answer: ResumeDecision | None, wanted: ResumeDecision) -> None:
    assert answer == wanted


@pytest.mark.parametrize(
    "answer",
    [
        begin(206, "bytes 99-299/300"),
        begin(206, "bytes 101-299/300"),
        begin(206, "bytes 100-299/301"),
        begin(206, "bytes 100-300/300", expected=None),
        begin(206, "bytes 100-99/300"),
        begin(206, "bytes 100-299/300", 199),
        begin(206, "items 100-299/300"),
        begin(206, "bytes 100-299/300, bytes 0-1/300"),
        begin(206),
        begin(416, "bytes */300"),
        begin(416),
        begin(204),
    ],
)
def test_mismatched_response_starts_again(answer: ResumeDecision | None) -> None:
    assert answer is None


@pytest.mark.parametrize(
    ("headers", "reason"),
    [
        ({}, None),
        ({"content-type": "application/octet-stream", "content-encoding": "identity"}, None),
        ({"content-type": "TEXT/HTML; charset=utf-8"}, "a web page"),
        ({"content-type": "application/json"}, "a JSON document"),
        ({"content-encoding": "gzip"}, "a compressed body, which was not requested,"),
        ({"content-type": "multipart/byteranges; boundary=x"}, "a multipart body"),
    ],
)
def test_headers_that_cannot_belong_to_a_model(headers: dict[str, str], reason: str | None) -> None:
    assert reason_not_model_response(headers, "a.safetensors") == reason


def test_json_file_may_have_a_json_type() -> None:
    assert reason_not_model_response({"content-type": "application/json"}, "config.JSON") is None


@pytest.mark.parametrize("tag", ['W/"a"', "a", '""', '"', "", '"a"b"', '"\x7f"', '"ä"'])
def test_only_strong_well_formed_etags_are_used(tag: str) -> None:
    assert read_strong_etag({"etag": tag}) is None
    assert read_strong_etag({"etag": ' "abc" '}) == '"abc"'


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("7", 7),
        (" 120 ", 120),
        ("-1", 0),
        ("soon", 0),
        ("", 0),
        ("Fri, 20 Nov 2026 14:01:00 GMT", 60),
        ("Fri, 20 Nov 2026 13:00:00 GMT", 0),
        ("Fri, 20 Nov 2026 14:01:00 -0000", 60),
    ],
)
def test_retry_after_is_seconds_or_a_date(text: str, seconds: float) -> None:
    assert parse_retry_after_seconds(text, now=NOW) == seconds


def refused(status: int, headers: dict[str, str] | None = None, body: bytes = b"") -> Any:
    return build_status_failure(status, headers or {}, body, "https://civitai.com/x", now=NOW)


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (429, "download-later"),
        (503, "download-interrupted"),
        (408, "download-interrupted"),
        (524, "download-interrupted"),
    ],
)
def test_retryable_statuses_are_transient_failures(status: int, code: str) -> None:
    failure = refused(status, {"retry-after": "9"}, b'{"message":"unusual amount of downloading"}')
    assert isinstance(failure, TransientFailure)
    assert (failure.code, failure.wait_seconds) == (code, 9)
    assert "unusual amount of downloading" in failure.message


@pytest.mark.parametrize(
    ("failure", "code", "words"),
    [
        (refused(404), "download-gone", "was not found (404)"),
        (refused(410, body=b'{"error":"Archived"}'), "download-gone", "was removed (410): Archived."),
        (refused(451), "download-gone", "is blocked for legal reasons (451)"),
        (refused(400), "download-wrong-content", "status 400"),
        (refused(401), "download-no-access", "CIVITAI_API_KEY"),
        (refused(403), "download-no-access", "Open its page"),
        (refused(401, {"x-error-code": "RepoNotFound"}), "download-no-access", "does not exist or is private"),
        (
            refused(403, {"x-error-code": "GatedRepo", "x-error-message": "gated"}),
            "download-no-access",
            "Accept the terms",
        ),
        (
            refused(403, body=b'{"error":"Early Access","deadline":"2027-01-01"}'),
            "download-early-access",
            "until 2027-01-01",
        ),
        (refused(401, body=b'{"error":"early access"}'), "download-early-access", "Buy early access"),
    ],
)
def test_error_statuses_have_codes_and_hints(failure: Any, code: str, words: str) -> None:
    assert not isinstance(failure, TransientFailure)
    assert failure.code == code
    assert words in str(failure)


def test_server_messages_are_printable_and_short() -> None:
    failure = refused(404, body=b'{"message":"\\u001b[31mhello\\n' + b"x" * 5000 + b'"}')
    assert "\x1b" not in failure.message
    assert len(failure.message) < 300
    assert refused(404, body=b"[1]").message.endswith("(404).")
    assert refused(404, body=b"<html>").message.endswith("(404).")


def test_every_retryable_status_is_a_transient_failure() -> None:
    for status in RETRYABLE_STATUSES:
        assert isinstance(refused(status), TransientFailure), status


def test_transient_failure_waits_only_on_request() -> None:
    assert TransientFailure("cut").wait_seconds == 0
    assert TransientFailure("cut").code == "download-interrupted"
