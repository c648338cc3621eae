"""A test pack for a real ComfyUI: a route that validates prompts and runs none of them."""

from __future__ import annotations

import http.client
import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from scripts.real_comfyui import Server

_ROUTE: Final = "/truth_of_prompts"
_SOURCE: Final = """\
import inspect

from aiohttp import web

import execution
from server import PromptServer

NODE_CLASS_MAPPINGS = {}


async def judge(prompt):
    replacements = getattr(PromptServer.instance, "node_replace_manager", None)
    if replacements is not None:
        replacements.apply_replacements(prompt)
    takes = len(inspect.signature(execution.validate_prompt).parameters)
    arguments = (prompt,) if takes == 1 else ("truth", prompt, None)
    # The server answers 500 and runs nothing when validation itself raises.
    try:
        answer = await execution.validate_prompt(*arguments)
    except Exception as error:
        return [False, {"type": "exception", "message": repr(error)}, [], {}]
    return list(answer)


@PromptServer.instance.routes.post("/truth_of_prompts")
async def judge_all(request):
    prompts = await request.json()
    answers = {}
    for name, prompt in prompts.items():
        answers[name] = await judge(prompt)
    return web.json_response(answers, dumps=lambda value: __import__("json").dumps(value, default=repr))
"""
_BATCH: Final = 100
_MISSING_CLASS: Final = re.compile(
    r"Cannot execute because (node .* does not exist|a node is missing the class_type)|Node .* not found", re.DOTALL
)


@dataclass(frozen=True)
class Refusal:
    """One reason of a server.

    Attributes:
        type: The server's name for it (`value_not_in_list`); `missing_node_type` in every version for an unknown class.
        text: What the server says.
        class_type: Class of the node; empty for a reason of the whole prompt.
        input: The input, where the server names it.
    """

    type: str
    text: str
    class_type: str = ""
    input: str = ""


@dataclass(frozen=True)
class Answer:
    """What a server says of one prompt: why it would not run all of it; nothing when it would."""

    refusals: tuple[Refusal, ...] = ()

    @property
    def is_accepted(self) -> bool:
        return not self.refusals


def write_validation_pack(base: Path) -> None:
    """Write the pack below a base folder, before its server starts."""
    folder = base / "custom_nodes" / "truth_of_prompts"
    folder.mkdir(parents=True)
    (folder / "__init__.py").write_text(_SOURCE)


def ask_server(server: Server, prompts: Mapping[str, Any]) -> dict[str, Answer]:
    """Return what a server with the pack says of each prompt."""
    answers: dict[str, Answer] = {}
    names = sorted(prompts)
    for first in range(0, len(names), _BATCH):
        part = {name: prompts[name] for name in names[first : first + _BATCH]}
        answers |= {name: _parse(raw) for name, raw in _post(server, part).items()}
    return answers


def _post(server: Server, prompts: Mapping[str, Any]) -> dict[str, Any]:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=300)
    try:
        connection.request("POST", _ROUTE, json.dumps(prompts), {"Content-Type": "application/json"})
        answer = connection.getresponse()
        body = answer.read()
    finally:
        connection.close()
    assert answer.status == http.client.OK, body[:500]
    decoded: dict[str, Any] = json.loads(body)
    return decoded


def _parse(raw: list[Any]) -> Answer:
    is_valid, error, _, node_errors = raw[:4]
    refusals: list[Refusal] = []
    for path, node in sorted(node_errors.items()):
        # A server drops an output with errors and runs the others: that is no whole acceptance either.
        for one in node["errors"]:
            text = f"{path} {one['message']}: {one['details']}"
            name = str(one["extra_info"].get("input_name", ""))
            refusals.append(Refusal(one["type"], text, node["class_type"], name))
    if not is_valid and not refusals:
        kind = "missing_node_type" if _MISSING_CLASS.search(error["message"]) else error["type"]
        refusals.append(Refusal(kind, error["message"]))
    return Answer(tuple(refusals))
