"""The `qwen` command line as a language model: no shell, no tools, its own home folder, limited time and output."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Final

import msgspec

from comfywatchman.base.errors import Failure
from comfywatchman.base.json_values import decode_json
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

# Exit status of the program when `--max-wall-time` or `--max-session-turns` is exceeded.
_BUDGET_EXCEEDED: Final = 55
_MAX_OUTPUT_BYTES: Final = 2 << 20
_MAX_TURNS: Final = 4
_MAX_REASON_CHARS: Final = 200
_TIMEOUT_HINT: Final = "Raise [llm] timeout_seconds, or use a faster model."

EXCLUDED_TOOLS: Final = (
    *("run_shell_command", "edit", "write_file", "read_file", "read_many_files", "notebook_edit", "list_directory"),
    *("glob", "grep_search", "search_file_content", "web_fetch", "web_search", "save_memory", "todo_write", "task"),
    *("agent", "skill", "worktree", "get_goal", "update_goal", "exit_plan_mode", "lsp", "cron_create"),
)
"""Tools that the program gives its model; each is excluded by name, since `--bare` alone leaves some of them."""


class _QwenResult(msgspec.Struct, frozen=True):
    is_error: bool = False
    result: str | None = None
    structured_result: dict[str, object] | None = None


class QwenCommand:
    """A model behind the `qwen` command line, which talks to an OpenAI-compatible server.

    The key is passed in the child's environment, which only this user can read, never as an argument.

    Args:
        command: The program: a name in PATH, or a path.
        base_url: The server's address, up to and including `/v1`.
        model: The server's name of the model.
        key: The server's key; may be empty.
        timeout_seconds: Time limit for one question, which the program enforces itself.
        grace_seconds: Time after that limit until the program is killed.
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
        """Return the name of the model, followed by the program."""
        return f"{self._model} (qwen command line)"

    def propose(self, question: LlmQuestion) -> LlmProposal:
        """Ask about one file.

        Raises:
            Failure: `llm-answer`, `child-failed` or `child-timeout`.
        """
        status, output, errors = self._run(build_prompt(question))
        if status == _BUDGET_EXCEEDED:
            message = "The qwen command line reached its limit of time or turns."
            raise Failure("child-timeout", message, hint=_TIMEOUT_HINT)
        result = _parse_result(output)
        if result is None or result.is_error or status != 0:
            reason = result.result if result is not None else None
            raise self._build_failure(status, reason or errors.decode("utf-8", "replace"))
        answer = result.result or ""
        if result.structured_result is not None:
            answer = json.dumps(result.structured_result)
        return parse_proposal(answer, results=len(question.results))

    def _run(self, prompt: LlmPrompt) -> tuple[int, bytes, bytes]:
        """Run the program, and return its exit status, output and error output."""
        with tempfile.TemporaryDirectory(prefix="comfywatchman-qwen-", ignore_cleanup_errors=True) as home:
            working_folder = Path(home, "empty")
            # Started in an empty folder, the program finds no files to read.
            working_folder.mkdir()
            with self._start(prompt, home, working_folder) as child:
                status = child.wait(self._timeout_seconds + self._grace_seconds)
                if status is None:
                    message = f"The qwen command line did not end within {self._timeout_seconds:g} seconds."
                    raise Failure("child-timeout", message, hint=_TIMEOUT_HINT)
                output = child.output_tail(max_bytes=_MAX_OUTPUT_BYTES + 1)
                if len(output) > _MAX_OUTPUT_BYTES:
                    limit = format_size(_MAX_OUTPUT_BYTES)
                    raise Failure("llm-answer", f"The qwen command line printed more than {limit}.")
                return status, output, child.errors_tail()

    def _start(self, prompt: LlmPrompt, home: str, working_folder: Path) -> ChildProcess:
        variables = {
            "HOME": home,
            "TMPDIR": home,
            "XDG_RUNTIME_DIR": home,
            # The program requires a key, even for a local server that needs none.
            "OPENAI_API_KEY": self._key or "none",
            "NO_COLOR": "1",
        }
        try:
            return ChildProcess(self._build_arguments(prompt), extra_environment=variables, folder=working_folder)
        except Failure as failure:
            failure.hint = "Install the qwen command line, or set [llm] command to its path."
            raise

    def _build_arguments(self, prompt: LlmPrompt) -> list[str]:
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
            # The answer itself, which is delivered like a tool call, does not count.
            *("--max-tool-calls", "0"),
            *("--max-session-turns", str(_MAX_TURNS)),
            *("--system-prompt", prompt.system),
            prompt.user,
        ]

    def _build_failure(self, status: int, reason: str) -> Failure:
        if self._key:
            reason = reason.replace(self._key, "…")
        shown = to_plain_text(reason, _MAX_REASON_CHARS) or "no reason given"
        return Failure("child-failed", f"The qwen command line failed with status {status}: {shown}.")


def _parse_result(output: bytes) -> _QwenResult | None:
    """Return the last result in the program's output, which is a list of events or a single object."""
    try:
        printed = decode_json(output, object)
    except (msgspec.MsgspecError, RecursionError):
        return None
    result: dict[str, object] | None = None
    if isinstance(printed, list):
        for event in printed:
            if isinstance(event, dict) and event.get("type") == "result" and _has_result(event):
                result = event
    elif isinstance(printed, dict) and _has_result(printed):
        result = printed
    if result is None:
        return None
    try:
        return msgspec.convert(result, _QwenResult)
    except msgspec.ValidationError:
        return None


def _has_result(event: dict[str, object]) -> bool:
    return "result" in event or "structured_result" in event
