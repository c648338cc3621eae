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
    "source-unauthorized": "A model site wants a valid key for what was asked.",
    "source-forbidden": "A model site does not let this account see or have what was asked.",
    "source-rate-limited": "A model site was asked too often.",
    "source-unavailable": "A model site answered with a server error.",
    "download-name-unsafe": "A model's name cannot be a file below its model folder.",
    "download-target-taken": "Another file already has the name that a download would get.",
    "download-host-refused": "An address, or one that it redirects to, is none that a download may come from.",
    "download-no-access": "A server does not give a file to this account, or to nobody without an account.",
    "download-early-access": "A file is only for those who paid until a date.",
    "download-gone": "A file is no longer, or never was, at its address.",
    "download-later": "A server gives no more for now.",
    "download-interrupted": "A download broke off too often; what came is kept and continued next time.",
    "download-wrong-content": "What a server sent is not the model that was asked for; it was thrown away.",
    "download-pickle-refused": "A file is a pickle, which can run code, and pickles were not allowed.",
    "download-no-space": "A download does not fit on its disk.",
    "download-stopped": "A download was stopped by the person; it continues where it was.",
    "report-unavailable": "There is no report yet, or it cannot be read.",
    "download-no-plan": "There is no plan of downloads yet.",
    "download-plan-invalid": "A download plan cannot be read, or does not name what was asked for.",
    "search-budget": "The time or the requests of this search are used up; the rest is asked next time.",
    "search-paused": "A server that asked for patience, or a model that failed, is left alone for this search.",
    "choice-impossible": "A candidate cannot be chosen for a model.",
    "llm-answer": "A language model answered with something else than what was asked for.",
    "service-impossible": "A systemd unit or a crontab line cannot express what was asked for.",
    "comfyui-not-found": "No ComfyUI installation was found.",
    "sample-not-ours": "The folder meant for the sample host holds something else.",
    "comfyui-config-invalid": "ComfyUI's extra_model_paths.yaml cannot be read.",
    "gov-not-initialised": "A folder is no governed root yet.",
    "gov-root-misplaced": "The governed root lies where ComfyUI keeps its own files.",
    "gov-uv-missing": "uv was not found.",
    "gov-uv-failed": "uv did not answer a question about an environment.",
    "gov-python-missing": "The interpreter that environments are to be made with is not there, or does not answer.",
    "gov-truth-damaged": "A truth file of the governed root cannot be read.",
    "gov-lock-failed": "The packages could not be resolved.",
    "gov-environment-failed": "A new environment could not be built, or is not as its lock says.",
    "gov-smoke-failed": "The smoke test failed in a new environment.",
    "gov-snapshot-unknown": "There is no snapshot of that name.",
    "gov-snapshot-damaged": "A snapshot changed since it was taken, or is not whole.",
    "gov-operation-unknown": "There is no operation of that name.",
    "gov-undo-refused": "An operation cannot be undone.",
    "gov-commit-unfinished": "A change is decided, and the next command finishes it.",
    "gov-recovery-impossible": "A change that was cut off can be neither finished nor taken back.",
    "workflow-not-json": "A workflow file is not JSON.",
    "workflow-not-a-workflow": "A file is readable but holds no ComfyUI workflow.",
    "workflow-too-deep": "A workflow file is nested deeper than any real workflow.",
    "workflow-embedded-invalid": "A media file's embedded workflow cannot be read.",
    "git-missing": "git is not installed, or cannot be started.",
    "git-failed": "git could not clone or check out what was asked for.",
    "gov-bad-id": "A text cannot be the id of a node.",
    "gov-bad-url": "A node cannot be cloned from an address.",
    "gov-bad-ref": "A text is not the name of a branch, tag or commit.",
    "gov-denied": "A pack or package is on the deny list.",
    "gov-node-there": "A node's folder or id is taken.",
    "gov-node-unknown": "No node of that id is registered.",
    "gov-pack-unknown": "The Comfy Registry knows no pack of that id, or not where its code is.",
    "gov-transaction-unknown": "There is no transaction of that id.",
    "gov-transaction-state": "A transaction's status does not allow what was asked for.",
    "gov-candidate-failed": "A candidate environment could not be built.",
    "gov-candidate-stale": "What a candidate was built from has changed since.",
    "gov-core-approval": "A promotion would change core packages and was not approved.",
    "gov-torch-builds": "Packages of the torch family are built for different CUDA versions.",
    "gov-promote-failed": "A promotion failed; production is as it was.",
    "gov-bad-pin": "A text is no pin of a package to one version.",
    "gov-needs-resolution": "The packages of the nodes cannot be installed together.",
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
