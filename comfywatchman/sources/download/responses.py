"""Interpret a server's response to a request for a file: resume, start again, retry or fail. Pure functions."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from enum import Enum
from typing import Final

import orjson

from comfywatchman.base.errors import Failure
from comfywatchman.base.http_retry import RETRYABLE_STATUSES
from comfywatchman.base.json_values import as_mapping

OK: Final = 200
PARTIAL: Final = 206
RANGE_REFUSED: Final = 416
_UNAUTHORIZED: Final = 401
_FORBIDDEN: Final = 403
_TOO_MANY_REQUESTS: Final = 429
_GONE_TEXTS: Final = {404: "was not found", 410: "was removed", 451: "is blocked for legal reasons"}
_CONTENT_RANGE: Final = re.compile(r"bytes (\d{1,18})-(\d{1,18})/(\d{1,18}|\*)")
_UNSATISFIED_RANGE: Final = re.compile(r"bytes \*/(\d{1,18})")
_ENTITY_TAG: Final = re.compile(r'"[!#-~ ]+"')
_TEXT_TYPES: Final = frozenset({"text/html", "application/xhtml+xml", "application/json", "application/problem+json"})
_TEXT_SUFFIXES: Final = (".json", ".yaml", ".yml", ".txt", ".html", ".md")
_MAX_MESSAGE_CHARS: Final = 160


class TransientFailure(Failure):
    """A failure that the next attempt may not meet.

    Args:
        message: What happened.
        wait_seconds: The wait that the server asks for; 0 for none.
        code: A key of `CODES`, used when no attempt is left.
    """

    def __init__(self, message: str, *, wait_seconds: float = 0.0, code: str = "download-interrupted") -> None:
        super().__init__(code, message)
        self.wait_seconds = wait_seconds


class BodyPlacement(Enum):
    """Where the body of a response goes in the partial file."""

    APPEND = "append"
    REPLACE = "replace"
    NOTHING_LEFT = "nothing left"


@dataclass(frozen=True, slots=True)
class ResumeDecision:
    """How to store the body of a response.

    Attributes:
        placement: Where the body goes.
        total: Size of the whole file; None when the response does not give it.
    """

    placement: BodyPlacement
    total: int | None


def decide_resume(
    status: int, headers: Mapping[str, str], length: int | None, *, have: int, expected: int | None
) -> ResumeDecision | None:
    """Decide what a 200, 206 or 416 means for a partial file.

    Args:
        status: The status of the response.
        headers: By lower-case name.
        length: Length of the body; None when it is not announced.
        have: Size of the partial file, which is where the requested range starts.
        expected: Size of the whole file, when known.

    Returns:
        Where the body goes, or None when the response does not match the requested range and the download must start
        again.
    """
    if status == OK:
        return ResumeDecision(BodyPlacement.REPLACE, length)
    if status == RANGE_REFUSED:
        return _decide_refused_range(headers, have=have, expected=expected)
    if status == PARTIAL:
        return _decide_partial(headers, length, have=have, expected=expected)
    return None


def _decide_refused_range(headers: Mapping[str, str], *, have: int, expected: int | None) -> ResumeDecision | None:
    """Return NOTHING_LEFT for a 416 when the file has exactly the bytes that are there already."""
    total = expected
    content_range = _UNSATISFIED_RANGE.fullmatch(headers.get("content-range", ""))
    if content_range is not None:
        total = int(content_range[1])
    if total != have:
        return None
    return ResumeDecision(BodyPlacement.NOTHING_LEFT, total)


def _decide_partial(
    headers: Mapping[str, str], length: int | None, *, have: int, expected: int | None
) -> ResumeDecision | None:
    """Return APPEND for a 206 that continues exactly at `have` and contradicts neither its length nor `expected`."""
    content_range = _CONTENT_RANGE.fullmatch(headers.get("content-range", "").strip().lower())
    if content_range is None:
        return None
    first, last = int(content_range[1]), int(content_range[2])
    total = None if content_range[3] == "*" else int(content_range[3])
    # RFC 9110, section 14.4: positions are inclusive; `*` is an unknown total.
    if first != have or first > last:
        return None
    if length is not None and length != last - first + 1:
        return None
    if total is not None and last >= total:
        return None
    if total is not None and expected is not None and total != expected:
        return None
    return ResumeDecision(BodyPlacement.APPEND, total)


def is_exact_range(headers: Mapping[str, str], first: int, last: int, total: int) -> bool:
    """Return whether a 206 holds exactly the requested bytes of a file of the expected size."""
    content_range = _CONTENT_RANGE.fullmatch(headers.get("content-range", "").strip().lower())
    return content_range is not None and content_range.groups() == (str(first), str(last), str(total))


def reason_not_model_response(headers: Mapping[str, str], name: str) -> str | None:
    """Return what a successful response holds instead of the model `name`, judged by its headers; None if plausible."""
    encoding = headers.get("content-encoding", "identity").strip().lower()
    if encoding not in {"", "identity"}:
        return "a compressed body, which was not requested,"
    media_type = headers.get("content-type", "").partition(";")[0].strip().lower()
    # Login and error pages often come with status 200.
    if media_type in _TEXT_TYPES and not name.lower().endswith(_TEXT_SUFFIXES):
        return "a web page" if "html" in media_type else "a JSON document"
    if media_type.startswith("multipart/"):
        return "a multipart body"
    return None


def read_strong_etag(headers: Mapping[str, str]) -> str | None:
    """Return the strong entity tag of a response: the only proof that two ranges are of the same file."""
    # RFC 9110, section 13.1.5: a weak tag (`W/"..."`) must not be used for ranges.
    tag = headers.get("etag", "").strip()
    return tag if _ENTITY_TAG.fullmatch(tag) else None


def build_status_failure(status: int, headers: Mapping[str, str], body: bytes, shown: str, *, now: datetime) -> Failure:
    """Return the failure for an error status; a `TransientFailure` when another attempt may succeed.

    Args:
        status: The status of the response.
        headers: By lower-case name.
        body: The beginning of the body.
        shown: The URL, without secrets.
        now: The current time, for a `Retry-After` that is a date.
    """
    reason = _read_error_message(headers, body)
    tail = f": {reason}" if reason else ""
    if status in RETRYABLE_STATUSES:
        wait_seconds = parse_retry_after_seconds(headers.get("retry-after", ""), now=now)
        if status == _TOO_MANY_REQUESTS:
            message = f"{shown} limits the number of requests (429){tail}."
            return TransientFailure(message, wait_seconds=wait_seconds, code="download-later")
        return TransientFailure(f"{shown} is temporarily unavailable ({status}){tail}.", wait_seconds=wait_seconds)
    if status in {_UNAUTHORIZED, _FORBIDDEN}:
        return _build_access_failure(status, headers, body, shown, tail)
    if status in _GONE_TEXTS:
        return Failure(
            "download-gone",
            f"{shown} {_GONE_TEXTS[status]} ({status}){tail}.",
            hint="Search again: comfywatchman resolve --refresh",
        )
    return Failure("download-wrong-content", f"{shown} responded with status {status}{tail}.")


def parse_retry_after_seconds(text: str, *, now: datetime) -> float:
    """Return the wait that a `Retry-After` header asks for (seconds or a date); 0 when it is missing or invalid."""
    text = text.strip()
    if text.isascii() and text.isdigit():
        return float(text[:9])
    try:
        moment = parsedate_to_datetime(text)
    except ValueError:
        return 0.0
    if moment.tzinfo is None:
        # RFC 5322: `-0000` is UTC without a known zone; the library returns a naive time for it.
        moment = moment.replace(tzinfo=UTC)
    return max(0.0, (moment - now).total_seconds())


def _build_access_failure(status: int, headers: Mapping[str, str], body: bytes, shown: str, tail: str) -> Failure:
    content = _parse_error_object(body)
    deadline = content.get("deadline")
    if deadline is not None or str(content.get("error", "")).lower() == "early access":
        until = f" until {_to_one_line(str(deadline))}" if deadline else ""
        return Failure(
            "download-early-access",
            f"{shown} is in early access{until}.",
            hint="Buy early access on its page, or wait until it ends.",
        )
    # `X-Error-Code` is Hugging Face's; other sites give no more than the status.
    error_code = headers.get("x-error-code", "")
    if error_code == "GatedRepo":
        hint = "Accept the terms on the repository's page, and set HF_TOKEN to a token of that account."
    elif error_code == "RepoNotFound":
        hint = "The repository does not exist or is private; set HF_TOKEN to a token that can read it."
    elif status == _UNAUTHORIZED:
        hint = "Set a valid key of your account: CIVITAI_API_KEY for Civitai, HF_TOKEN for Hugging Face."
    else:
        hint = "Open its page in a browser: the owner may require terms, payment or an age check."
    return Failure("download-no-access", f"This account has no access to {shown} ({status}){tail}.", hint=hint)


def _read_error_message(headers: Mapping[str, str], body: bytes) -> str:
    content = _parse_error_object(body)
    for text in (content.get("message"), content.get("error"), headers.get("x-error-message")):
        if isinstance(text, str) and text.strip():
            return _to_one_line(text).rstrip(".")
    return ""


def _parse_error_object(body: bytes) -> Mapping[str, object]:
    try:
        return as_mapping(orjson.loads(body))
    except orjson.JSONDecodeError:
        return {}


def _to_one_line(text: str) -> str:
    """Return a text from a server as one printable line of limited length."""
    beginning = text[: 2 * _MAX_MESSAGE_CHARS]
    printable = "".join(char if char.isprintable() else " " for char in beginning)
    return " ".join(printable.split())[:_MAX_MESSAGE_CHARS]
