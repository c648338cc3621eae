"""Language models behind an OpenAI-compatible server: DashScope, Ollama, vLLM, LM Studio, llama.cpp."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from comfywatchman.base.errors import Failure
from comfywatchman.base.http import HttpResponse, HttpSession
from comfywatchman.sources.llm.ranking import (
    SCHEMA,
    LlmPrompt,
    LlmProposal,
    LlmQuestion,
    build_prompt,
    parse_proposal,
)

_MAX_TOKENS: Final = 2000
_UNSUPPORTED_FORMAT: Final = frozenset({400, 415, 422, 501})
_ACCESS_DENIED: Final = frozenset({401, 403})

_RESPONSE_FORMATS: Final[tuple[dict[str, Any], ...]] = (
    {"type": "json_schema", "json_schema": {"name": "proposal", "strict": True, "schema": SCHEMA}},
    {"type": "json_object"},
    {},
)
"""Values of `response_format`, the strictest first: older models and servers support only the later ones."""


class _ChatMessage(msgspec.Struct, frozen=True):
    content: str | None = None


class _ChatChoice(msgspec.Struct, frozen=True):
    message: _ChatMessage


class _ChatCompletion(msgspec.Struct, frozen=True):
    choices: list[_ChatChoice]


class ChatCompletions:
    """A model behind `POST {base_url}/chat/completions`, without tools.

    Args:
        session: Its timeout limits each attempt, its size limit the response.
        base_url: Up to and including `/v1`.
        model: The server's name of the model.
        key: Sent as Bearer to this server only; may be empty.
    """

    def __init__(self, session: HttpSession, *, base_url: str, model: str, key: str = "") -> None:
        self._session = session
        self._url = f"{base_url.rstrip('/')}/chat/completions"
        self._model = model
        self._key = key
        self._first_format = 0

    @property
    def name(self) -> str:
        """Return the name of the model."""
        return self._model

    def propose(self, question: LlmQuestion) -> LlmProposal:
        """Ask about one file.

        Raises:
            Failure: `llm-answer`, `http-unreachable`, `http-status` or `http-body`.
        """
        response = self._complete(build_prompt(question))
        if response.status in _ACCESS_DENIED:
            raise Failure(
                "http-status",
                f"The server of the language model denied access with status {response.status}.",
                hint="Set COMFYWATCHMAN_SECRETS__LLM_API_KEY to a key that it accepts.",
            )
        return parse_proposal(_read_completion_text(response), results=len(question.results))

    def _complete(self, prompt: LlmPrompt) -> HttpResponse:
        """Send the prompt with the strictest response format that the server supports."""
        last = len(_RESPONSE_FORMATS) - 1
        for number in range(self._first_format, last):
            response = self._send(prompt, _RESPONSE_FORMATS[number])
            if response.status not in _UNSUPPORTED_FORMAT:
                # Not locked: threads that find this out at the same time find the same.
                self._first_format = number
                return response
        response = self._send(prompt, _RESPONSE_FORMATS[last])
        if response.status not in _UNSUPPORTED_FORMAT:
            self._first_format = last
        return response

    def _send(self, prompt: LlmPrompt, response_format: dict[str, Any]) -> HttpResponse:
        body: dict[str, Any] = {
            "model": self._model,
            "messages": [{"role": "system", "content": prompt.system}, {"role": "user", "content": prompt.user}],
            # The most likely answer: choosing among results needs no variety.
            "temperature": 0,
            "max_tokens": _MAX_TOKENS,
            "stream": False,
        }
        if response_format:
            body["response_format"] = response_format
        return self._session.post_json(self._url, body, token=self._key or None)


def _read_completion_text(response: HttpResponse) -> str:
    try:
        completion = msgspec.convert(response.parse_json(), _ChatCompletion)
    except msgspec.ValidationError as error:
        raise Failure("llm-answer", f"{response.url} did not respond with a chat completion.") from error
    text = completion.choices[0].message.content if completion.choices else None
    if not text:
        raise Failure("llm-answer", "The language model answered without text.")
    return text
