"""The exception for expected errors, and the list of their codes."""

from __future__ import annotations

from typing import Final

CODES: Final[dict[str, str]] = {
    "config-unknown-key": "A configuration file or variable names an unknown key.",
    "config-wrong-type": "A configuration value has the wrong type or is out of range.",
    "config-secret-exposed": "A configuration file that holds a secret can be read by other users.",
    "config-unreadable": "A configuration file cannot be read or is not valid TOML.",
    "file-unreadable": "A file cannot be opened or read.",
    "file-not-regular": "A path is not a regular file (a folder, FIFO, socket or device).",
    "file-too-large": "A file is larger than the limit for files of its kind.",
    "state-unwritable": "A state, report or log file cannot be written.",
    "index-damaged": "The index database was corrupt; it was set aside and a new one was started.",
    "lock-held": "Another process holds the lock.",
    "child-timeout": "A child process did not end within its time limit.",
    "child-failed": "A child process could not be started or failed.",
    "http-unreachable": "A server did not answer.",
    "network-settings": "A proxy or certificate variable of the environment cannot be used.",
    "http-status": "A server answered with an error status.",
    "http-body": "A server returned something other than the expected content.",
    "source-unauthorized": "A model site requires a valid key for this request.",
    "source-forbidden": "A model site does not allow this account to see or download a file.",
    "source-rate-limited": "A model site received too many requests.",
    "source-unavailable": "A model site returned a server error.",
    "download-name-unsafe": "A model's name would lead outside its model folder.",
    "download-target-taken": "Another file already has the name of a download.",
    "download-host-refused": "A download address, or one that it redirects to, is not allowed.",
    "download-no-access": "A server does not give a file to this account, or requires an account.",
    "download-early-access": "A file is available to paying users only until a date.",
    "download-gone": "A file does not exist at its address.",
    "download-later": "A server allows no more downloads for now.",
    "download-interrupted": "A download was interrupted too often; the partial file is kept and resumed next time.",
    "download-wrong-content": "The downloaded content is not the requested model and was deleted.",
    "download-pickle-refused": "A file is a pickle, which can run code, and pickles are not allowed.",
    "download-no-space": "A download does not fit on its disk.",
    "download-stopped": "The user stopped a download; it continues where it was.",
    "report-unavailable": "There is no report yet, or it cannot be read.",
    "download-no-plan": "There is no download plan yet.",
    "download-plan-invalid": "A download plan cannot be read, or does not contain the requested model.",
    "search-budget": "The time or request budget of this search is used up; the next search continues.",
    "search-paused": "A server that limited requests, or a model that failed, is skipped for the rest of this search.",
    "choice-impossible": "A candidate cannot be chosen for a model.",
    "llm-answer": "A language model returned something other than the expected content.",
    "service-impossible": "A systemd unit or a crontab line cannot express the requested schedule.",
    "comfyui-not-found": "No ComfyUI installation was found.",
    "sample-not-ours": "The folder for the sample host contains other files.",
    "comfyui-config-invalid": "A file that names ComfyUI's model folders cannot be read, so these are not known.",
    "gov-not-initialised": "A folder is not a governed root yet.",
    "gov-root-misplaced": "The governed root is inside a folder that ComfyUI manages.",
    "gov-uv-missing": "uv was not found.",
    "gov-uv-failed": "uv failed to query an environment.",
    "gov-python-missing": "The Python interpreter for environments is missing or does not run.",
    "gov-truth-damaged": "A truth file of the governed root cannot be read.",
    "gov-lock-failed": "The packages could not be resolved.",
    "gov-environment-failed": "A new environment could not be built, or differs from its lock file.",
    "gov-smoke-failed": "The smoke test failed in a new environment.",
    "gov-snapshot-unknown": "There is no snapshot with that id.",
    "gov-snapshot-damaged": "A snapshot is incomplete or was changed after it was taken.",
    "gov-operation-unknown": "There is no operation with that id.",
    "gov-undo-refused": "An operation cannot be undone.",
    "gov-commit-unfinished": "A change is committed but not completed; the next command completes it.",
    "gov-recovery-impossible": "An interrupted change can neither be completed nor rolled back.",
    "workflow-not-json": "A workflow file is not valid JSON.",
    "workflow-not-a-workflow": "A file is readable but contains no ComfyUI workflow.",
    "workflow-too-deep": "A workflow file is nested more deeply than any real workflow.",
    "workflow-embedded-invalid": "A media file's embedded workflow cannot be read.",
    "git-missing": "git is not installed, or cannot be started.",
    "git-failed": "git could not clone or check out a repository.",
    "gov-bad-id": "A text is not a valid node id.",
    "gov-bad-url": "Nodes cannot be cloned from this address.",
    "gov-bad-ref": "A text is not a valid name of a branch, tag or commit.",
    "gov-denied": "A pack or package is on the deny list.",
    "gov-node-there": "A node's folder or id is already in use.",
    "gov-node-unknown": "No node with that id is registered.",
    "gov-pack-unknown": "The Comfy Registry does not know a pack with that id, or not where its code is.",
    "gov-transaction-unknown": "There is no transaction with that id.",
    "gov-transaction-state": "A transaction's status does not allow the command.",
    "gov-candidate-failed": "A candidate environment could not be built.",
    "gov-candidate-stale": "The state that a candidate was built from has changed.",
    "gov-core-approval": "A promotion would change core packages, which was not approved.",
    "gov-torch-builds": "Packages of the torch family are built for different CUDA versions.",
    "gov-promote-failed": "A promotion failed; production is unchanged.",
    "gov-bad-pin": "A text is not a valid pin (PACKAGE==VERSION).",
    "gov-needs-resolution": "The packages of the nodes conflict.",
}
"""Every code that a `Failure` may carry, and its meaning (next steps: docs/reference/failures.md)."""


class Failure(Exception):
    """An expected error, with a text for the user.

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
        if self.hint:
            return f"{self.message} {self.hint}"
        return self.message
