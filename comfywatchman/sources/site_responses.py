"""Interpret responses of model sites: content, "not found" by the site itself, or a failure."""

from __future__ import annotations

import functools
import logging
from collections.abc import Mapping
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
UNREADABLE_FIELD: Final = "unreadable"
"""Field of a struct that names the fields of its entry that could not be read; not part of any response."""

_GONE: Final = 410
_TOO_MANY_REQUESTS: Final = 429
_SERVER_ERRORS: Final = range(500, 600)
_MAX_LINE_CHARS: Final = 200
_KEY_VARIABLES: Final = {"Civitai": "CIVITAI_API_KEY", "Hugging Face": "HF_TOKEN", "Tavily": "TAVILY_API_KEY"}

_log = logging.getLogger(__name__)


def read_content(response: HttpResponse, site: str) -> Any | None:
    """Return the JSON of a response, or None when the site itself reports that it has no such thing.

    Args:
        response: With any status.
        site: The site's name for messages.

    Raises:
        Failure: See `build_api_failure`; `http-body` for a body that is not JSON, or holds nothing but `null`.
    """
    # A 404 counts only with a JSON object: the page of a proxy or of another server proves nothing.
    if response.status in {NOT_FOUND, _GONE} and _parse_object(response.body) is not None:
        return None
    if response.status != OK:
        raise build_api_failure(response, site)
    content = response.parse_json()
    if content is None:
        raise Failure("http-body", f"{response.url} responded with an empty answer.")
    return content


def build_api_failure(response: HttpResponse, site: str, *, reason: str = "") -> Failure:
    """Return the failure for a response without content, by its status.

    Args:
        response: The response.
        site: The site's name.
        reason: The site's explanation; its JSON `message` or `error` when empty.

    Returns:
        `source-unauthorized`, `source-forbidden`, `source-rate-limited`, `source-unavailable`, or `http-status`.
    """
    reason = to_one_line(reason or _read_error_message(response.body))
    tail = f": {reason}" if reason else f" (status {response.status})."
    if response.status == UNAUTHORIZED:
        variable = _KEY_VARIABLES.get(site)
        hint = f"Set {variable} to a valid key of your account." if variable else f"Check the key for {site}."
        return Failure("source-unauthorized", f"{site} requires a valid key{tail}", hint=hint)
    if response.status == FORBIDDEN:
        hint = "Open it in a browser with the same account: it may require a licence, payment or an age check."
        return Failure("source-forbidden", f"{site} denies access{tail}", hint=hint)
    if response.status == _TOO_MANY_REQUESTS:
        wait = response.headers.get("retry-after", "")
        is_seconds = wait.isascii() and wait.isdigit()
        hint = f"Try again in {wait} seconds." if is_seconds else "Try again later."
        return Failure("source-rate-limited", f"{site} limits the number of requests{tail}", hint=hint)
    if response.status in _SERVER_ERRORS:
        return Failure("source-unavailable", f"{site} has a server error{tail}", hint="Try again later.")
    return Failure("http-status", f"{response.url} responded with status {response.status}.")


def convert_fields(payload: object, struct: type[T]) -> T | None:
    """Return a mapping as a struct, field by field, so that an unreadable field does not hide the others.

    Numbers written as text are read. A field that cannot be read takes its default, and its name is added to the
    struct's `unreadable`, if it has one; the site's own field of that name is ignored.

    Args:
        payload: The entry.
        struct: All its fields have defaults, except those without which it is of no use.

    Returns:
        None for anything but a mapping, and for one without a readable value of a field that has no default.
    """
    if not isinstance(payload, Mapping):
        return None
    if UNREADABLE_FIELD not in payload:
        try:
            # Nearly every entry can be read as a whole, which is a hundred times faster.
            return msgspec.convert(payload, struct, strict=False)
        except (msgspec.ValidationError, RecursionError):
            pass
    return _convert_each_field(payload, struct)


def _convert_each_field(payload: Mapping[str, Any], struct: type[T]) -> T | None:
    values: dict[str, Any] = {}
    unreadable = []
    own_fields = _list_fields(struct)
    for field in own_fields:
        if field.name == UNREADABLE_FIELD or field.encode_name not in payload:
            continue
        try:
            values[field.name] = msgspec.convert(payload[field.encode_name], field.type, strict=False)
        except (msgspec.ValidationError, RecursionError):
            unreadable.append(field.encode_name)
    if any(field.required and field.name not in values for field in own_fields):
        return None
    if unreadable:
        _log.debug("response entry has unreadable fields", extra={"struct": struct.__name__, "fields": unreadable})
        # Versions and models count their unreadable files in a field of this name.
        if any(field.name == UNREADABLE_FIELD and field.type == tuple[str, ...] for field in own_fields):
            values[UNREADABLE_FIELD] = tuple(unreadable)
    return struct(**values)


@functools.cache
def _list_fields(struct: type[msgspec.Struct]) -> tuple[msgspec.structs.FieldInfo, ...]:
    return msgspec.structs.fields(struct)


def to_one_line(text: str) -> str:
    """Return a text from a site as one printable line of at most 200 characters, for messages."""
    printable = "".join(char if char.isprintable() else " " for char in text)
    line = " ".join(printable.split())
    if len(line) > _MAX_LINE_CHARS:
        return f"{line[:_MAX_LINE_CHARS]}…"
    return line


def _read_error_message(body: bytes) -> str:
    content = _parse_object(body) or {}
    for name in ("message", "error"):
        text = content.get(name)
        if isinstance(text, str) and text:
            return text
    return ""


def _parse_object(body: bytes) -> Mapping[str, Any] | None:
    try:
        content = orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
    return content if isinstance(content, dict) else None
