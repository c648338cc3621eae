"""The `qwen` command line as a language model: no shell, no tools, a home of its own, bounded in time and size."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Final

import msgspec

from comfywatchman.base.errors import Failure
from comfywatchman.base.process import ChildProcess
from comfywatchman.base.text import format_size
from comfywatchman.sources.llm.ranking import (
    SCHEMA,
    LlmPrompt,
    LlmProposal,
    LlmQuestion,
    build_prompt,
    parse_proposal,
    to_plain_text,
)

_BUDGET_EXCEEDED: Final = 55
_MOST_OUTPUT: Final = 2 << 20
_MOST_TURNS: Final = 4
_LONGER: Final = "Raise [llm] timeout_seconds, or take a faster model."

EXCLUDED_TOOLS: Final = (
    *("run_shell_command", "edit", "write_file", "read_file", "read_many_files", "notebook_edit", "list_directory"),
    *("glob", "grep_search", "search_file_content", "web_fetch", "web_search", "save_memory", "todo_write", "task"),
    *("agent", "skill", "worktree", "get_goal", "update_goal", "exit_plan_mode", "lsp", "cron_create"),
)
"""Tools that the program brings for its model; each is refused by name, since `--bare` alone leaves some of them."""


class _QwenResult(msgspec.Struct, frozen=True):
    is_error: bool = False
    result: str | None = None
    structured_result: dict[str, object] | None = None


class QwenCommand:
    """A model asked through the `qwen` command line, against an OpenAI-compatible server.

    Its key travels in the child's environment, which only this user can read, and in no argument.

    Args:
        command: The program: a name looked up in PATH, or a path.
        base_url: The server's address, up to and with `/v1`.
        model: The name that the server knows the model by.
        key: The server's key; may be empty.
        timeout_seconds: Time for one question, which the program keeps to itself.
        grace_seconds: How much later it is ended if it does not.
    """

    def __init__(
        self,
        *,
        command: str,
        base_url: str,
        model: str,
        key: str = "",
        timeout_seconds: float,
        grace_seconds: float = 10.0,
    ) -> None:
        self._command = command
        self._base_url = base_url
        self._model = model
        self._key = key
        self._timeout_seconds = timeout_seconds
        self._grace_seconds = grace_seconds

    @property
    def name(self) -> str:
        """Return the name of the model and what it is asked through."""
        return f"{self._model} (qwen command line)"

    def propose(self, question: LlmQuestion) -> LlmProposal:
        """Ask about one file.

        Raises:
            Failure: `llm-answer`, `child-failed` or `child-timeout`.
        """
        prompt = build_prompt(question)
        status, output, errors = self._run(prompt)
        if status == _BUDGET_EXCEEDED:
            raise Failure("child-timeout", "The qwen command line used up its time or its turns.", hint=_LONGER)
        answer = _parse_result(output)
        if answer is None or answer.is_error or status != 0:
            said = (answer.result if answer else None) or errors.decode("utf-8", "replace")
            raise Failure("child-failed", f"The qwen command line ended with status {status}: {self._shown(said)}.")
        if answer.structured_result is not None:
            return parse_proposal(json.dumps(answer.structured_result), results=len(question.results))
        return parse_proposal(answer.result or "", results=len(question.results))

    def _run(self, prompt: LlmPrompt) -> tuple[int, bytes, bytes]:
        with tempfile.TemporaryDirectory(prefix="comfywatchman-qwen-", ignore_cleanup_errors=True) as private:
            empty = Path(private, "empty")
            empty.mkdir()
            with self._started(prompt, private, empty) as child:
                status = child.wait(self._timeout_seconds + self._grace_seconds)
                if status is None:
                    message = f"The qwen command line did not end within {self._timeout_seconds:g} seconds."
                    raise Failure("child-timeout", message, hint=_LONGER)
                output = child.output_tail(max_bytes=_MOST_OUTPUT + 1)
                if len(output) > _MOST_OUTPUT:
                    raise Failure("llm-answer", f"The qwen command line printed more than {format_size(_MOST_OUTPUT)}.")
                return status, output, child.errors_tail()

    def _started(self, prompt: LlmPrompt, private: str, empty: Path) -> ChildProcess:
        variables = {
            "HOME": private,
            "TMPDIR": private,
            "XDG_RUNTIME_DIR": private,
            "OPENAI_API_KEY": self._key or "none",
            "NO_COLOR": "1",
        }
        try:
            return ChildProcess(self._arguments(prompt), extra_environment=variables, folder=empty)
        except Failure as failure:
            failure.hint = "Install the qwen command line, or name it in [llm] command."
            raise

    def _arguments(self, prompt: LlmPrompt) -> list[str]:
        return [
            self._command,
            "--bare",
            *("--exclude-tools", ",".join(EXCLUDED_TOOLS)),
            *("--approval-mode", "default"),
            *("--auth-type", "openai"),
            *("--openai-base-url", self._base_url),
            *("--model", self._model),
            *("--output-format", "json"),
            *("--json-schema", json.dumps(SCHEMA)),
            *("--max-wall-time", f"{max(1, int(self._timeout_seconds))}s"),
            # The answer itself, which is delivered like a tool's call, is not counted.
            *("--max-tool-calls", "0"),
            *("--max-session-turns", str(_MOST_TURNS)),
            *("--system-prompt", prompt.system),
            prompt.user,
        ]

    def _shown(self, said: str) -> str:
        text = said.replace(self._key, "…") if self._key else said
        return to_plain_text(text, 200) or "no reason given"


def _parse_result(output: bytes) -> _QwenResult | None:
    """Return what the program printed: the last result of its list of events, or its single object."""
    try:
        printed = msgspec.json.decode(output)
    except (msgspec.MsgspecError, RecursionError):
        return None
    events = printed if isinstance(printed, list) else [printed]
    results = [
        event
        for event in events
        if isinstance(event, dict)
        and (event.get("type") == "result" or not isinstance(printed, list))
        and ("result" in event or "structured_result" in event)
    ]
    try:
        return msgspec.convert(results[-1], _QwenResult) if results else None
    except msgspec.ValidationError:
        return None
