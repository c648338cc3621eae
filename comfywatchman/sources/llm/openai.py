"""Language models behind an OpenAI-compatible server: DashScope, Ollama, vLLM, LM Studio, llama.cpp."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from comfywatchman.base.errors import Failure
from comfywatchman.base.http import HttpResponse, HttpSession
from comfywatchman.sources.llm.ranking import SCHEMA, LlmPrompt, LlmProposal, LlmQuestion, build_prompt, parse_proposal

_MOST_TOKENS: Final = 2000
_WRONG_FORM: Final = frozenset({400, 415, 422, 501})
_NO_ENTRY: Final = frozenset({401, 403})

_RESPONSE_FORMATS: Final[tuple[dict[str, Any], ...]] = (
    {"type": "json_schema", "json_schema": {"name": "proposal", "strict": True, "schema": SCHEMA}},
    {"type": "json_object"},
    {},
)
"""How an answer may be asked for, the strictest first: older models and servers know only the later ones."""


class _ChatMessage(msgspec.Struct, frozen=True):
    content: str | None = None


class _ChatChoice(msgspec.Struct, frozen=True):
    message: _ChatMessage


class _ChatCompletion(msgspec.Struct, frozen=True):
    choices: list[_ChatChoice]


class ChatCompletions:
    """A model asked through `POST {base_url}/chat/completions`, without tools.

    Args:
        session: Its timeout bounds each attempt, its size limit what is read of an answer.
        base_url: Up to and with `/v1`.
        model: The name that the server knows it by.
        key: Sent as Bearer to this server only; may be empty.
    """

    def __init__(self, session: HttpSession, *, base_url: str, model: str, key: str = "") -> None:
        self._session = session
        self._url = f"{base_url.rstrip('/')}/chat/completions"
        self._model = model
        self._key = key
        self._first_form = 0

    @property
    def name(self) -> str:
        """Return the name of the model."""
        return self._model

    def propose(self, question: LlmQuestion) -> LlmProposal:
        """Ask about one file.

        Raises:
            Failure: `llm-answer`, `http-unreachable`, `http-status` or `http-body`.
        """
        answer = self._complete(build_prompt(question))
        if answer.status in _NO_ENTRY:
            raise Failure(
                "http-status",
                f"The language model's server refused with status {answer.status}.",
                hint="Set COMFYWATCHMAN_SECRETS__LLM_API_KEY to a key that it accepts.",
            )
        return parse_proposal(_read_completion_text(answer), results=len(question.results))

    def _complete(self, prompt: LlmPrompt) -> HttpResponse:
        for place in range(self._first_form, len(_RESPONSE_FORMATS)):
            answer = self._session.post_json(
                self._url, self._body(prompt, _RESPONSE_FORMATS[place]), token=self._key or None
            )
            if answer.status not in _WRONG_FORM or place == len(_RESPONSE_FORMATS) - 1:
                # Threads may both find this out; they find the same.
                self._first_form = place if answer.status not in _WRONG_FORM else self._first_form
                break
        return answer

    def _body(self, prompt: LlmPrompt, form: dict[str, Any]) -> dict[str, Any]:
        body = {
            "model": self._model,
            "messages": [{"role": "system", "content": prompt.system}, {"role": "user", "content": prompt.user}],
            "temperature": 0,
            "max_tokens": _MOST_TOKENS,
            "stream": False,
        }
        return body | ({"response_format": form} if form else {})


def _read_completion_text(answer: HttpResponse) -> str:
    try:
        completion = msgspec.convert(answer.parse_json(), _ChatCompletion)
    except msgspec.ValidationError as error:
        raise Failure("llm-answer", f"{answer.url} answered with something else than a chat completion.") from error
    text = completion.choices[0].message.content if completion.choices else None
    if not text:
        raise Failure("llm-answer", "The language model answered without text.")
    return text
