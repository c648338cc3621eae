"""A request for the handler: its fields are read and bounded here. Pure; nothing is fetched or run.

The format is that of RunPod's worker-comfyui (`workflow`, `images`), so that its clients can send the same requests.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

import orjson

from comfywatchman.base.errors import Failure
from comfywatchman.base.parsing.json_limits import MAX_JSON_VALUES, has_too_many_values
from comfywatchman.comfyui.server.prompts import Prompt

MAX_REQUEST_BYTES: Final = 128 << 20
MAX_INPUT_BYTES: Final = 64 << 20
"""The largest input, decoded; ComfyUI itself accepts uploads of 100 MB by default."""

MAX_INPUTS: Final = 64
MAX_NODES: Final = 10_000
_MAX_NAME_BYTES: Final = 200
_MAX_URL_CHARS: Final = 4_096
_MAX_API_KEY_CHARS: Final = 1_000
KEY_PATTERN: Final = re.compile(r"[A-Za-z0-9._:-]{1,128}")
_SHA256: Final = re.compile(r"[0-9a-f]{64}")
_DATA_URI: Final = re.compile(r"data:[^,]{0,200};base64,")
_SHOWN_CHARS: Final = 80
_FIELDS: Final = frozenset({"workflow", "images", "inputs", "output", "idempotency_key", "comfy_org_api_key"})


class OutputMode(StrEnum):
    """How outputs are returned.

    Attributes:
        AUTO: In the result while they are small, else as files.
        BASE64: In the result.
        FILE: As files in the folder of the handler; the result holds their paths.
        GCS: As objects in Google Cloud Storage; the result holds their links.
    """

    AUTO = "auto"
    BASE64 = "base64"
    FILE = "file"
    GCS = "gcs"


@dataclass(frozen=True, slots=True)
class RequestInput:
    """An input file that a request brings.

    Attributes:
        name: The name that the workflow uses for it.
        content: Its content; None when it is fetched from an address.
        url: Its address; None when the request holds the content.
        sha256: The hash that it must have; always known for an address.
    """

    name: str
    content: bytes | None = field(default=None, repr=False)
    url: str | None = field(default=None, repr=False)
    sha256: str | None = None


@dataclass(frozen=True, slots=True)
class HandlerRequest:
    """A request with correct fields.

    Attributes:
        workflow: The workflow in API format.
        inputs: Its input files.
        output: How outputs are returned.
        key: The idempotency key; None without one.
        fingerprint: A hash of everything that the request asks for, to recognize another request with the same key.
        api_key: The key of the account that pays for API nodes.
    """

    workflow: Prompt = field(repr=False)
    inputs: tuple[RequestInput, ...] = ()
    output: OutputMode = OutputMode.AUTO
    key: str | None = None
    fingerprint: str = ""
    api_key: str | None = field(default=None, repr=False)


def parse_request(body: bytes) -> HandlerRequest:
    """Read a request: a JSON object with its fields, or with all of them in `input`.

    Raises:
        Failure: `handler-request-invalid`, `handler-input-invalid`, `handler-input-too-large` or
            `handler-workflow-invalid`.
    """
    if len(body) > MAX_REQUEST_BYTES or has_too_many_values(body):
        limits = f"{MAX_REQUEST_BYTES >> 20} MiB or {MAX_JSON_VALUES} values"
        raise _invalid(f"The request is larger than {limits}.")
    try:
        content = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise _invalid(f"The request is not JSON: {error}.") from error
    fields = content.get("input", content) if isinstance(content, dict) else None
    if not isinstance(fields, dict):
        raise _invalid("The request is not a JSON object with an object `input`.")
    unknown = sorted(set(fields) - _FIELDS)
    if unknown:
        raise _invalid(f"The request has an unknown field {_show(unknown[0])}.")
    canonical = orjson.dumps(fields, option=orjson.OPT_SORT_KEYS)
    return HandlerRequest(
        workflow=_parse_workflow(fields.get("workflow")),
        inputs=_parse_inputs(fields),
        output=_parse_output(fields.get("output")),
        key=_parse_text(fields, "idempotency_key", KEY_PATTERN),
        fingerprint=hashlib.sha256(canonical).hexdigest(),
        api_key=_parse_api_key(fields.get("comfy_org_api_key")),
    )


def _parse_workflow(value: object) -> Prompt:
    if not isinstance(value, dict) or not value:
        raise _bad_workflow("The request has no workflow.")
    if "nodes" in value and "links" in value:
        raise _bad_workflow("The workflow is in the format of the editor, not in API format.")
    if len(value) > MAX_NODES:
        raise _bad_workflow(f"The workflow has {len(value)} nodes; at most {MAX_NODES} are accepted.")
    for node_id, node in value.items():
        is_node = (
            isinstance(node, dict)
            and isinstance(node.get("class_type"), str)
            and isinstance(node.get("inputs", {}), dict)
        )
        if not is_node:
            raise _bad_workflow(
                f"The node {_show(node_id)} of the workflow has no class_type, or inputs of a wrong form."
            )
    return {node_id: {"inputs": {}, **node} for node_id, node in value.items()}


def _parse_inputs(fields: Mapping[str, object]) -> tuple[RequestInput, ...]:
    values: list[object] = []
    for name in ("images", "inputs"):
        listed = fields.get(name)
        if listed is None:
            continue
        if not isinstance(listed, list):
            raise _invalid(f"The field {name} is not a list.")
        values += listed
    if len(values) > MAX_INPUTS:
        raise _invalid(f"The request has {len(values)} inputs; at most {MAX_INPUTS} are accepted.")
    inputs = tuple(_parse_input(value) for value in values)
    names = {item.name for item in inputs}
    if len(names) < len(inputs):
        raise _bad_input("Two inputs have the same name.")
    return inputs


def _parse_input(value: object) -> RequestInput:
    if not isinstance(value, dict):
        raise _bad_input("An input is not an object with `name` and `image`, or `name`, `url` and `sha256`.")
    name = check_input_name(value.get("name"))
    sha256 = value.get("sha256")
    if sha256 is not None and not (isinstance(sha256, str) and _SHA256.fullmatch(sha256)):
        raise _bad_input(f"The sha256 of the input {_show(name)} is not 64 hexadecimal digits in lower case.")
    url = value.get("url")
    if url is None:
        return RequestInput(name, content=_decode_content(name, value.get("image"), sha256), sha256=sha256)
    if "image" in value or not isinstance(url, str) or len(url) > _MAX_URL_CHARS:
        raise _bad_input(f"The input {_show(name)} has both an address and a content, or an address of a wrong form.")
    if sha256 is None:
        raise _bad_input(f"The input {_show(name)} has an address and no sha256, so its content cannot be checked.")
    return RequestInput(name, url=url, sha256=sha256)


def check_input_name(value: object) -> str:
    """Return the name of an input when it is a plain file name.

    Raises:
        Failure: `handler-input-invalid`.
    """
    is_plain = (
        isinstance(value, str)
        and 0 < len(value.encode(errors="replace")) <= _MAX_NAME_BYTES
        and value.isprintable()
        and not value.startswith(".")
        and not set(value) & set("/\\:")
    )
    if not is_plain:
        raise _bad_input(f"{_show(value)} is not a plain file name, so it cannot be the name of an input.")
    return str(value)


def _decode_content(name: str, value: object, sha256: str | None) -> bytes:
    if not isinstance(value, str):
        raise _bad_input(f"The input {_show(name)} has neither `image` (base64) nor `url`.")
    # Base64 makes four characters of three bytes; checked before the copy is made.
    if len(value) * 3 // 4 > MAX_INPUT_BYTES + 256:
        raise too_large_failure(name)
    prefix = _DATA_URI.match(value)
    try:
        content = base64.b64decode(value[prefix.end() :] if prefix else value, validate=True)
    except (binascii.Error, ValueError) as error:
        raise _bad_input(f"The content of the input {_show(name)} is not base64.") from error
    if not content:
        raise _bad_input(f"The input {_show(name)} is empty.")
    if len(content) > MAX_INPUT_BYTES:
        raise too_large_failure(name)
    if sha256 is not None and hashlib.sha256(content).hexdigest() != sha256:
        raise wrong_hash_failure(name)
    return content


def too_large_failure(name: str) -> Failure:
    """Return the failure for an input that is larger than the limit."""
    message = f"The input {_show(name)} is larger than {MAX_INPUT_BYTES >> 20} MiB."
    return Failure("handler-input-too-large", message, hint="Send a smaller file.")


def wrong_hash_failure(name: str) -> Failure:
    """Return the failure for an input with another hash than the request states."""
    return _bad_input(f"The input {_show(name)} has another sha256 than the request states.")


def _parse_output(value: object) -> OutputMode:
    mode = value.get("mode") if isinstance(value, dict) else value
    if mode is None:
        return OutputMode.AUTO
    if not isinstance(mode, str) or mode not in set(OutputMode):
        raise _invalid(f"The output mode {_show(mode)} is not one of {', '.join(OutputMode)}.")
    return OutputMode(mode)


def _parse_text(fields: Mapping[str, object], name: str, pattern: re.Pattern[str]) -> str | None:
    value = fields.get(name)
    if value is None:
        return None
    if not isinstance(value, str) or not pattern.fullmatch(value):
        raise _invalid(f"The field {name} is not a text of up to 128 letters, digits, dots, colons, - and _.")
    return value


def _parse_api_key(value: object) -> str | None:
    if value is None:
        return None
    if not isinstance(value, str) or not 0 < len(value) <= _MAX_API_KEY_CHARS:
        raise _invalid("The field comfy_org_api_key is not a text.")
    return value


def _show(value: object) -> str:
    """Return a value of a request for a message: cut, and without control characters."""
    text = ascii(value)
    return text if len(text) <= _SHOWN_CHARS else f"{text[:_SHOWN_CHARS]}…"


def _invalid(message: str) -> Failure:
    return Failure("handler-request-invalid", message, hint="See docs/reference/handler.md for the form of a request.")


def _bad_input(message: str) -> Failure:
    return Failure("handler-input-invalid", message, hint="Correct the input, and send the request again.")


def _bad_workflow(message: str) -> Failure:
    return Failure("handler-workflow-invalid", message, hint="Export it with ComfyUI's menu: Workflow, Export (API).")
