"""What a model site's answer means: content, its own "not here", or a refusal that says nothing of what exists."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from typing import Any, Final, TypeVar

import msgspec
import orjson

from comfywatchman.base.errors import Failure
from comfywatchman.base.http import HttpResponse

T = TypeVar("T", bound=msgspec.Struct)

OK: Final = 200
UNAUTHORIZED: Final = 401
FORBIDDEN: Final = 403
NOT_FOUND: Final = 404
_GONE: Final = 410
_TOO_MANY: Final = 429
_SERVER_ERRORS: Final = range(500, 600)
_MOST_CHARS_SHOWN: Final = 200
_KEYS: Final = {"Civitai": "CIVITAI_API_KEY", "Hugging Face": "HF_TOKEN", "Tavily": "TAVILY_API_KEY"}

_log = logging.getLogger(__name__)


def read_content(answer: HttpResponse, site: str) -> Any | None:
    """Return the JSON of an answer, or None when the site itself says that it does not have what was asked.

    A 404 counts only with a JSON object: the page of a proxy or of a strange server says nothing.

    Args:
        answer: Of any status.
        site: The site's name for messages.

    Raises:
        Failure: See `refusal`; `http-body` for a page where JSON belongs.
    """
    if answer.status in {NOT_FOUND, _GONE} and _parse_object(answer.body) is not None:
        return None
    if answer.status != OK:
        raise build_api_failure(answer, site)
    return answer.parse_json()


def build_api_failure(answer: HttpResponse, site: str, *, said: str = "") -> Failure:
    """Return what an answer that gives nothing means, told apart by its status.

    Args:
        answer: The answer.
        site: The site's name.
        said: What it gave as its reason; its JSON `message` or `error` when empty.

    Returns:
        `source-unauthorized`, `source-forbidden`, `source-rate-limited`, `source-unavailable`, or `http-status`.
    """
    said = to_one_line(said or _read_error_message(answer.body))
    because = f": {said}" if said else f" (status {answer.status})."
    if answer.status == UNAUTHORIZED:
        variable = _KEYS.get(site)
        hint = f"Give a valid key of your account as {variable}." if variable else f"Check the key for {site}."
        return Failure("source-unauthorized", f"{site} wants a valid key{because}", hint=hint)
    if answer.status == FORBIDDEN:
        hint = "Open it in a browser with the same account: it may ask for a licence, payment or an age check."
        return Failure("source-forbidden", f"{site} does not allow it{because}", hint=hint)
    if answer.status == _TOO_MANY:
        wait = answer.headers.get("retry-after", "")
        hint = f"It asks to wait {wait} seconds." if wait.isascii() and wait.isdigit() else "Try again later."
        return Failure("source-rate-limited", f"{site} was asked too often{because}", hint=hint)
    if answer.status in _SERVER_ERRORS:
        return Failure("source-unavailable", f"{site} has trouble of its own{because}", hint="Try again later.")
    return Failure("http-status", f"{answer.url} answered with status {answer.status}.")


def convert_or_none(payload: object, wanted: type[T]) -> T | None:
    """Return a mapping as the fields that we read of it, or None when one of them has a wrong type.

    Unknown fields are ignored, missing ones take their default.
    """
    try:
        return msgspec.convert(payload, wanted)
    except (msgspec.ValidationError, RecursionError):
        _log.debug("a part of an answer has another form", extra={"wanted": wanted.__name__})
        return None


def convert_entries(payload: object, wanted: type[T]) -> tuple[T, ...]:
    """Return the entries of a list that have the form wanted; one damaged entry hides no other."""
    entries: Iterable[object] = payload if isinstance(payload, list) else ()
    found = (convert_or_none(entry, wanted) for entry in entries)
    return tuple(one for one in found if one is not None)


def to_one_line(text: str) -> str:
    """Return a foreign text fit for a message: one line, printable, not long."""
    line = " ".join("".join(char if char.isprintable() else " " for char in text).split())
    return line if len(line) <= _MOST_CHARS_SHOWN else f"{line[:_MOST_CHARS_SHOWN]}…"


def _read_error_message(body: bytes) -> str:
    texts = ((_parse_object(body) or {}).get(name) for name in ("message", "error"))
    return next((text for text in texts if isinstance(text, str) and text), "")


def _parse_object(body: bytes) -> Mapping[str, Any] | None:
    try:
        content = orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
    return content if isinstance(content, dict) else None
