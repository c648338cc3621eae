"""Parse the bytes of a workflow file as JSON, as leniently as the graph editor does."""

from __future__ import annotations

import json
from typing import Final

import orjson

from comfywatchman.base.errors import Failure
from comfywatchman.base.parsing.lone_surrogates import replace_lone_surrogates
from comfywatchman.comfyui.workflow.budget import ReadingBudget
from comfywatchman.comfyui.workflow.document import WorkflowProblem

_EDITOR_ENCODINGS: Final = frozenset({"utf-8", "utf-8-sig"})
"""Those that a browser's `File.text()` and `Response.json()` decode."""


def parse_json(content: bytes, budget: ReadingBudget | None = None) -> tuple[object, tuple[WorkflowProblem, ...]]:
    """Return the JSON value in a file, and its defects.

    Bare `NaN` and `Infinity`, which Python writes, become null, as in the graph editor. A byte order mark is skipped.
    UTF-16, as PowerShell writes it, and UTF-32 are read and reported; undecodable bytes are replaced and reported.

    Raises:
        Failure: `workflow-not-json`, `workflow-too-deep` or `workflow-too-large`.
    """
    (budget or ReadingBudget()).check_values(content)
    try:
        return orjson.loads(content), ()
    except orjson.JSONDecodeError:
        return _parse_leniently(content)


def _parse_leniently(content: bytes) -> tuple[object, tuple[WorkflowProblem, ...]]:
    text, problems = _decode(content)
    if not text.strip("\ufeff\0 \t\r\n"):
        raise Failure("workflow-not-json", "The file is empty.")
    try:
        value = json.loads(text, parse_constant=_read_constant_as_null)
    except RecursionError:
        raise Failure("workflow-too-deep", "The file nests JSON deeper than any workflow does.") from None
    except json.JSONDecodeError as error:
        message = f"The JSON is damaged or incomplete (line {error.lineno}, column {error.colno})."
        raise Failure("workflow-not-json", message) from error
    except ValueError as error:
        # A number with more digits than Python converts.
        raise Failure("workflow-not-json", "The JSON holds a number that is too long.") from error
    return replace_lone_surrogates(value), problems


def _read_constant_as_null(_name: str) -> None:
    return None


def _decode(content: bytes) -> tuple[str, tuple[WorkflowProblem, ...]]:
    encoding = json.detect_encoding(content)
    if encoding not in _EDITOR_ENCODINGS:
        message = f"The file is {encoding.upper()}: the editor reads UTF-8 only, and cannot open it. Save it as UTF-8."
        return content.decode(encoding, errors="replace"), (WorkflowProblem("editor-cannot-send", message),)
    try:
        return content.decode(encoding), ()
    except UnicodeDecodeError:
        message = f"The file is not valid {encoding}; undecodable bytes were replaced."
        problem = WorkflowProblem("text-not-utf8", message)
        return content.decode(encoding, errors="replace"), (problem,)
