"""Expected trouble, and the one list of its codes."""

from __future__ import annotations

from typing import Final

CODES: Final[dict[str, str]] = {
    "config-unknown-key": "A configuration file or variable names a key that does not exist.",
    "config-wrong-type": "A configuration value has the wrong type or is out of range.",
    "config-secret-exposed": "A configuration file that holds a secret can be read by other users.",
    "config-unreadable": "A configuration file cannot be read or is not TOML.",
    "file-unreadable": "A file cannot be opened or read.",
    "file-not-regular": "A path is not a regular file (a folder, FIFO, socket or device).",
    "file-too-large": "A file is larger than what is read of such a file.",
    "state-unwritable": "A state, report or log file cannot be written.",
    "index-damaged": "The database of known files was damaged; it was set aside and begun anew.",
    "lock-held": "Another process holds the lock.",
    "child-timeout": "A child process did not end within its time limit.",
    "child-failed": "A child process could not be started or ended with an error.",
    "http-unreachable": "A server did not answer.",
    "http-status": "A server answered with an error status.",
    "http-body": "A server answered with something else than what was asked for.",
    "service-impossible": "A systemd unit or a crontab line cannot express what was asked for.",
    "comfyui-not-found": "No ComfyUI installation was found.",
    "sample-not-ours": "The folder meant for the sample host holds something else.",
    "comfyui-config-invalid": "ComfyUI's extra_model_paths.yaml cannot be read.",
    "workflow-not-json": "A workflow file is not JSON.",
    "workflow-not-a-workflow": "A file is readable but holds no ComfyUI workflow.",
    "workflow-too-deep": "A workflow file is nested deeper than any real workflow.",
    "workflow-embedded-invalid": "A media file's embedded workflow cannot be read.",
}
"""Every code that a `Failure` may carry, with what it means (docs/reference/failures.md says what to do)."""


class Failure(Exception):
    """Something expected went wrong; the text is fit for a user.

    Args:
        code: A key of `CODES`; stable, for programs.
        message: What happened and why, in one sentence, without secrets.
        hint: The next step for the person, as a command or an instruction.
    """

    def __init__(self, code: str, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        if code not in CODES:
            raise ValueError(f"unregistered failure code {code!r}")
        self.code = code
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message} {self.hint}" if self.hint else self.message
