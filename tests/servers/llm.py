"""An OpenAI-compatible server whose model says what a test wrote down, good or hostile."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from http.server import BaseHTTPRequestHandler
from typing import Any

from tests.servers.base import Asked, LocalServer, Reply

Question = dict[str, Any]
"""The JSON that the program asks with: file, folder, queries_so_far, results."""

Script = str | Reply | Callable[[Question], str | Reply | None]
"""An answer's text, a whole reply, or a function of the question; None leaves the caller without any answer."""

CHAT = "/v1/chat/completions"


def picks(*ids: object, queries: Iterable[str] = (), why: str = "the name is equal") -> str:
    """Return a well-formed answer."""
    return json.dumps({"picks": [{"id": one, "why": why} for one in ids], "queries": list(queries)})


class ChatServer(LocalServer):
    """Answers each chat completion with the next script; the last one stays.

    Attributes:
        chats: The requests, parsed.
        questions: The JSON questions in them.
        unknown_forms: Kinds of `response_format` that this server refuses with 400.
    """

    def __init__(self, *scripts: Script, unknown_forms: frozenset[str] = frozenset()) -> None:
        super().__init__({CHAT: self._chat})
        self.scripts = list(scripts)
        self.unknown_forms = unknown_forms
        self.chats: list[dict[str, Any]] = []

    @property
    def base_url(self) -> str:
        return f"{self.url}/v1"

    @property
    def questions(self) -> list[Question]:
        return [question_of(chat) for chat in self.chats]

    def _chat(self, asked: Asked, handler: BaseHTTPRequestHandler) -> Reply | None:
        chat = json.loads(asked.body)
        self.chats.append(chat)
        if chat.get("response_format", {}).get("type") in self.unknown_forms:
            return Reply(b'{"error": {"message": "response_format is not supported"}}', 400)
        script = self.scripts.pop(0) if len(self.scripts) > 1 else self.scripts[0]
        said = script(question_of(chat)) if callable(script) else script
        if said is None:
            self.leave.wait(30)
            return None
        if isinstance(said, Reply):
            return said
        if not chat.get("stream"):
            return Reply(_completion(chat, said))
        _stream(handler, chat, said)
        return None


def question_of(chat: dict[str, Any]) -> Question:
    """Return the question within a chat, wherever the messages hold it."""
    for message in chat["messages"]:
        content = message["content"]
        text = content if isinstance(content, str) else "".join(part.get("text", "") for part in content or ())
        start = text.find('{"file":')
        if message["role"] == "user" and start >= 0:
            found: Question = json.JSONDecoder().raw_decode(text, start)[0]
            return found
    return {}


def tool_call(name: str, arguments: str) -> Reply:
    """Return a completion in which the model wants to use a tool and says nothing else."""
    call = {"id": "call-1", "type": "function", "function": {"name": name, "arguments": arguments}}
    message = {"role": "assistant", "content": None, "tool_calls": [call] * 50}
    return Reply(json.dumps({"choices": [{"index": 0, "message": message, "finish_reason": "tool_calls"}]}).encode())


def _message(chat: dict[str, Any], said: str) -> dict[str, Any]:
    tools = {tool["function"]["name"] for tool in chat.get("tools") or ()}
    if "structured_output" not in tools or not said.startswith("{"):
        return {"role": "assistant", "content": said}
    function = {"name": "structured_output", "arguments": said}
    return {
        "role": "assistant",
        "content": None,
        "tool_calls": [{"index": 0, "id": "call-1", "type": "function", "function": function}],
    }


def _completion(chat: dict[str, Any], said: str) -> bytes:
    choice = {"index": 0, "message": _message(chat, said), "finish_reason": "stop"}
    return json.dumps({"id": "x", "object": "chat.completion", "model": chat["model"], "choices": [choice]}).encode()


def _stream(handler: BaseHTTPRequestHandler, chat: dict[str, Any], said: str) -> None:
    message = _message(chat, said)
    ended = "tool_calls" if message.get("tool_calls") else "stop"
    frame = {"id": "x", "object": "chat.completion.chunk", "created": 1, "model": chat["model"]}
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n")
    for delta, reason in ((message, None), ({}, ended)):
        choice = {"index": 0, "delta": delta, "finish_reason": reason}
        handler.wfile.write(b"data: " + json.dumps({**frame, "choices": [choice]}).encode() + b"\n\n")
    handler.wfile.write(b"data: [DONE]\n\n")
