"""What a server's answer to a request for a file means. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final, Literal

import orjson

from comfywatchman.base.errors import Failure

OK: Final = 200
PARTIAL: Final = 206
RANGE_REFUSED: Final = 416
_TRANSIENT_STATUSES: Final = frozenset({408, 425, 500, 502, 503, 504, 520, 521, 522, 523, 524, 529})
_RANGE: Final = re.compile(r"bytes (\d{1,18})-(\d{1,18})/(\d{1,18}|\*)")
_NO_RANGE: Final = re.compile(r"bytes \*/(\d{1,18})")
_SHA256: Final = re.compile(r"[0-9a-f]{64}")
_TEXT_TYPES: Final = frozenset({"text/html", "application/xhtml+xml", "application/json", "application/problem+json"})
_TEXT_SUFFIXES: Final = (".json", ".yaml", ".yml", ".txt", ".html", ".md")
_SHOWN_CHARS: Final = 160


class TransientFailure(Failure):
    """Trouble that may be over at the next attempt.

    Args:
        message: What happened.
        wait_seconds: How long the server asks to wait; 0 when it does not say.
        code: A key of `CODES`, for when there is no next attempt.
    """

    def __init__(self, message: str, *, wait_seconds: float = 0.0, code: str = "download-interrupted") -> None:
        super().__init__(code, message)
        self.wait_seconds = wait_seconds


@dataclass(frozen=True, slots=True)
class ResumeDecision:
    """How to take a body.

    Attributes:
        at: `here` continues what is there, `zero` replaces it, `nowhere` says that it is whole already.
        total: Size of the whole file; None when the answer does not say.
    """

    at: Literal["here", "zero", "nowhere"]
    total: int | None


def decide_resume(
    status: int, headers: Mapping[str, str], length: int | None, *, have: int, expected: int | None
) -> ResumeDecision | None:
    """Decide what a 200, 206 or 416 means for a file of which the first bytes are there.

    Args:
        status: The answer's status.
        headers: By lower-case name.
        length: Of the body; None when it is not announced.
        have: How many bytes were asked to be left out.
        expected: Size of the whole file, when known.

    Returns:
        Where its body goes, or None when the answer fits nothing that was asked, so that the file is to be begun anew.
    """
    if status == OK:
        return ResumeDecision("zero", length)
    if status == RANGE_REFUSED:
        found = _NO_RANGE.fullmatch(headers.get("content-range", ""))
        total = int(found[1]) if found else expected
        return ResumeDecision("nowhere", total) if total == have else None
    found = _RANGE.fullmatch(headers.get("content-range", "").strip().lower())
    if status != PARTIAL or found is None:
        return None
    first, last = int(found[1]), int(found[2])
    total = None if found[3] == "*" else int(found[3])
    fits = first == have and first <= last and (total is None or last < total)
    if not fits or (length is not None and length != last - first + 1):
        return None
    if expected is not None and total is not None and total != expected:
        return None
    return ResumeDecision("here", total)


def reason_not_model_response(headers: Mapping[str, str], name: str) -> str | None:
    """Say why a body that comes with status 200 or 206 cannot be the model, by its headers alone; None when it can."""
    packing = headers.get("content-encoding", "identity").strip().lower()
    if packing not in {"", "identity"}:
        return "a packed answer, though none was asked for"
    kind = headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind in _TEXT_TYPES and not name.lower().endswith(_TEXT_SUFFIXES):
        return "a web page" if "html" in kind else "a JSON text"
    return "several parts at once" if kind.startswith("multipart/") else None


def read_strong_etag(headers: Mapping[str, str]) -> str | None:
    """Return the strong entity tag of an answer, the only proof that two pieces belong together."""
    # RFC 9110, section 13.1.5: a weak one must not be used for ranges.
    tag = headers.get("etag", "").strip()
    well_formed = len(tag) > 2 and tag[0] == tag[-1] == '"' and '"' not in tag[1:-1]  # noqa: PLR2004 - two quotes
    return tag if well_formed and tag.isascii() and tag.isprintable() else None


def read_linked_sha256(headers: Mapping[str, str]) -> str | None:
    """Return the hash that Hugging Face gives before a download (`X-Linked-Etag`); None for small files."""
    tag = headers.get("x-linked-etag", "").strip().removeprefix("W/").strip('"').lower()
    return tag if _SHA256.fullmatch(tag) else None


def build_status_failure(status: int, headers: Mapping[str, str], body: bytes, shown: str, *, now: datetime) -> Failure:
    """Return what an error status means and what to do about it; `Passing` when waiting may help.

    Args:
        status: The answer's status.
        headers: By lower-case name.
        body: The beginning of the answer.
        shown: The address, fit for messages.
        now: For a `Retry-After` that is a date.
    """
    said = _read_error_message(headers, body)
    tail = f": {said}" if said else ""
    wait = parse_retry_after_seconds(headers.get("retry-after", ""), now=now)
    if status == 429:  # noqa: PLR2004 - HTTP
        return TransientFailure(f"{shown} gives no more for now (429){tail}.", wait_seconds=wait, code="download-later")
    if status in _TRANSIENT_STATUSES:
        return TransientFailure(f"{shown} is in trouble ({status}){tail}.", wait_seconds=wait)
    if status in {401, 403}:
        return _build_access_failure(status, headers, body, shown, tail)
    if status in {404, 410, 451}:
        meaning = {404: "is not there", 410: "was taken away", 451: "may not be given out"}[status]
        return Failure(
            "download-gone",
            f"{shown} {meaning} ({status}){tail}.",
            hint="Search again: comfywatchman resolve --refresh",
        )
    return Failure("download-wrong-content", f"{shown} answered with status {status}{tail}.")


def parse_retry_after_seconds(text: str, *, now: datetime) -> float:
    """Return how long a `Retry-After` asks to wait; 0 for none or nonsense."""
    text = text.strip()
    if text.isascii() and text.isdigit():
        return float(text[:9])
    try:
        moment = parsedate_to_datetime(text)
    except ValueError:
        return 0.0
    return max(0.0, ((moment if moment.tzinfo else moment.replace(tzinfo=UTC)) - now).total_seconds())


def _build_access_failure(status: int, headers: Mapping[str, str], body: bytes, shown: str, tail: str) -> Failure:
    payload = _parse_error_object(body)
    deadline = payload.get("deadline")
    if str(payload.get("error", "")).lower() == "early access" or deadline is not None:
        until = f" until {_to_one_line(str(deadline))}" if deadline else ""
        return Failure(
            "download-early-access",
            f"{shown} is in early access{until}.",
            hint="Buy access on its page, or wait until then.",
        )
    code = headers.get("x-error-code", "")
    if code == "GatedRepo":
        hint = "Accept the conditions on the repository's page, and give a token of that account as HF_TOKEN."
    elif code == "RepoNotFound":
        hint = "The repository does not exist or is private; a token that may read it goes into HF_TOKEN."
    elif status == 401:  # noqa: PLR2004 - HTTP
        hint = "Give a valid key of your account: CIVITAI_API_KEY for Civitai, HF_TOKEN for Hugging Face."
    else:
        hint = "Open its page in a browser: the owner may ask for conditions, payment or an age check."
    return Failure("download-no-access", f"{shown} is not given to this account ({status}){tail}.", hint=hint)


def _read_error_message(headers: Mapping[str, str], body: bytes) -> str:
    payload = _parse_error_object(body)
    texts = (payload.get("message"), payload.get("error"), headers.get("x-error-message"))
    return next((_to_one_line(text) for text in texts if isinstance(text, str) and text.strip()), "").rstrip(".")


def _parse_error_object(body: bytes) -> Mapping[str, object]:
    try:
        payload = orjson.loads(body)
    except orjson.JSONDecodeError:
        return {}
    return payload if isinstance(payload, dict) else {}


def _to_one_line(text: str) -> str:
    return " ".join("".join(c if c.isprintable() else " " for c in text[: 2 * _SHOWN_CHARS]).split())[:_SHOWN_CHARS]
