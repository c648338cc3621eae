"""The exception for expected errors, and the list of their codes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

CODES: Final[dict[str, str]] = {
    "config-unknown-key": "A configuration file or variable names an unknown key.",
    "config-wrong-type": "A configuration value has the wrong type or is out of range.",
    "setup-unconfirmed": "Nobody confirmed what setup proposes, or there are several ComfyUIs to choose from.",
    "config-secret-exposed": "A configuration file that holds a secret can be read by other users.",
    "config-unreadable": "A configuration file cannot be read or is not valid TOML.",
    "file-unreadable": "A file cannot be opened or read.",
    "file-not-regular": "A path is not a regular file (a folder, FIFO, socket or device).",
    "file-too-large": "A file is larger than the limit for files of its kind.",
    "state-unwritable": "A state, report or log file cannot be written.",
    "backup-invalid": "A backup cannot be written under that name, or cannot be restored.",
    "state-newer": "A state file was written by a later version of this program, so it is not changed.",
    "index-damaged": "The index database was corrupt; it was set aside and a new one was started.",
    "lock-held": "Another process holds the lock.",
    "child-timeout": "A child process did not end within its time limit.",
    "child-cancelled": "A child process was ended before it was done, as asked.",
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
    "other-comfyui": "The report, the cycles or the workflows on record belong to another ComfyUI.",
    "download-no-plan": "There is no download plan yet.",
    "download-no-source": "No source is known for a model that was named.",
    "download-unconfirmed": "Nothing proves that a file is the right one, and nobody confirmed it.",
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
    "gov-other-comfyui": "A governed root belongs to another ComfyUI than the one that was named.",
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
    "workflow-unknown": "No known workflow has the given name, or several have it.",
    "workflow-too-large": "A workflow file has more nodes, values or parts than any real workflow.",
    "workflow-too-deep": "A workflow file is nested more deeply than any real workflow.",
    "workflow-embedded-invalid": "A media file's embedded workflow cannot be read.",
    "git-missing": "git is not installed, or cannot be started.",
    "git-failed": "git could not clone or check out a repository.",
    "gov-bad-id": "The given id is not valid for a node.",
    "gov-bad-url": "Nodes cannot be cloned from this address.",
    "gov-bad-ref": "The given ref is not a valid name of a branch, tag or commit.",
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
    "gov-bad-pin": "The given pin is not valid (PACKAGE==VERSION).",
    "gov-adoption-unconfirmed": "An adoption was shown and not confirmed.",
    "gov-needs-resolution": "The packages of the nodes conflict.",
    "jobs-file-invalid": "A job file, workflows.yaml or global_config.yaml cannot be used.",
    "jobs-template-invalid": "The workflow template of a job cannot be sent to ComfyUI.",
    "jobs-output-refused": "The place of a job's outputs is outside of the finished folder, or behind a link.",
    "jobs-target-taken": "Another file already has the name that a job file is to be moved to.",
    "supervisor-not-running": "No supervisor runs for a workspace.",
    "supervisor-queue-not-empty": "Prompts run or wait in ComfyUI, which a command would lose.",
    "supervisor-switch-running": "A switch to another environment is under way.",
    "supervisor-no-switch": "There is no switch to abort.",
    "supervisor-needs-reboot": "ComfyUI cannot be killed, so no other one can be started.",
    "supervisor-foreign-comfyui": "The ComfyUI that is watched was started by somebody else.",
    "supervisor-command-replaced": "Another command came while one waited for prompts to end.",
    "supervisor-incident-unknown": "There is no incident of that name.",
    "supervisor-control-unavailable": "The control interface of the supervisor found no free port.",
    "supervisor-environment-unknown": "A workspace has no environment of that name, or it cannot be started.",
    "supervisor-no-workspace": "There is neither a governed root nor a comfygit workspace.",
    "supervisor-port-taken": "Another process listens on the port of ComfyUI.",
    "supervisor-sync-failed": "The packages of an environment could not be installed.",
    "supervisor-workspace-damaged": "The settings file of a workspace cannot be read.",
    "supervisor-panel-taken": "The panel's folder among the node packs holds something else.",
    "supervisor-venv-missing": "The Python environment of the supervisor does not exist.",
    "supervisor-venv-failed": "The Python environment of the supervisor could not be created.",
    "jobs-database-url": "The URL of the job database cannot be read, or names an unsupported database.",
    "jobs-driver-missing": "The job database is a PostgreSQL, and its driver is not installed.",
    "jobs-database-unavailable": "The job database does not answer, or refuses a connection or a statement.",
    "jobs-database-damaged": "The file of the job database is damaged.",
    "jobs-agent-older": "A newer version of the program upgraded the job database.",
    "jobs-worker-unknown": "The job database does not know a worker, which was silent for too long.",
    "jobs-job-unknown": "There is no job of that name.",
    "jobs-job-status": "The status of a job does not allow the command.",
    "jobs-count-changed": "Other jobs match by now than a person confirmed to change.",
    "jobs-priority-range": "A priority is out of range.",
    "version-bad-tag": "The given name is not valid for a version.",
    "version-lock-missing": "There is no lock of that version.",
    "version-lock-invalid": "A version lock is damaged, was edited, or is of another format.",
    "version-code-unknown": "The code of ComfyUI or of a node cannot be recorded.",
    "version-environment-unknown": "The Python environment of a ComfyUI was not found.",
    "version-exists": "A version of that name exists with another content.",
    "version-not-ready": "A workflow of a version is not READY.",
    "version-model-unreadable": "A model of a version cannot be hashed.",
    "version-not-ours": "A folder that is to be removed is not a cloned version.",
    "version-not-clonable": "A version cannot be built from its lock alone.",
    "version-target-taken": "The folder for a clone exists already.",
    "version-clone-running": "Another process builds in the same folder.",
    "version-clone-differs": "A clone is not what its lock says.",
    "version-model-unavailable": "A model of a version is not available.",
    "version-environment-failed": "The Python environment of a ComfyUI could not be built.",
    "version-home-unusable": "A folder cannot hold ComfyUI with its Python environment.",
    "version-home-differs": "The ComfyUI in a folder is not the one that was asked for.",
    "version-bad-torch": "No builds of torch have the given name.",
    "version-bad-source": "An address of a model has a form that is not known.",
    "version-bad-models": "A list of models for a version cannot be read.",
    "version-model-differs": "A model has another hash than the one that was declared.",
    "version-wheelhouse-incomplete": "The wheels of a version cannot be collected.",
    "version-wheelhouse-invalid": "A folder of wheels is damaged, or belongs to another version.",
    "version-bad-references": "Reference outputs cannot be made or read.",
    "version-licence-unaccepted": "A part of a version has a licence that needs consent before it is fetched.",
    "version-unconfirmed": "A command would fetch packages, and was not allowed to.",
    "version-pin-failed": "A requirements file cannot be resolved to exact versions.",
    "version-does-not-start": "ComfyUI does not start.",
    "handler-request-invalid": "A request for the handler has a field that is wrong, unknown or missing.",
    "handler-input-invalid": "An input file of a request has a wrong name, form or hash, or is not used.",
    "handler-input-too-large": "An input file of a request is larger than the limit.",
    "handler-workflow-invalid": "The workflow of a request is not in API format.",
    "handler-nodes-missing": "The workflow of a request uses node classes that ComfyUI does not have.",
    "handler-models-missing": "The workflow of a request uses models that ComfyUI does not list.",
    "handler-prompt-refused": "ComfyUI refused the workflow of a request.",
    "handler-prompt-failed": "A node of a request's workflow failed.",
    "handler-cancelled": "A request was cancelled, or its workflow interrupted by somebody.",
    "handler-timeout": "A request took longer than its time limit.",
    "handler-server-lost": "ComfyUI ended, was restarted, or does not run the workflow of a request.",
    "handler-outputs-missing": "The workflow of a request ran and made no output.",
    "handler-forbidden": "A request for the handler has no valid token, or was sent by a web page.",
    "handler-token-missing": "The handler is to be reachable from other machines, and there is no token.",
    "handler-key-reused": "Another request had the same idempotency key.",
    "handler-busy": "The handler has too many requests, or is stopping.",
    "handler-request-unknown": "No request has the given idempotency key.",
    "handler-runpod-missing": "RunPod's package is not installed.",
    "handler-outputs-too-large": "The outputs of a request are too large for its result.",
    "gcs-extra-missing": "The package for Google Cloud Storage is not installed.",
    "gcs-settings-invalid": "A setting for Google Cloud Storage cannot be used.",
    "gcs-no-access": "The account cannot store outputs in the bucket.",
    "gcs-failed": "Google Cloud Storage did not take an output.",
    "web-extra-missing": "The packages that serve the web page and the handler are not installed.",
    "web-token-missing": "The web page is to be reachable from other machines, and there is no token.",
    "web-secret-exposed": "Other users can read a secret of the web page.",
    "web-ended": "The web server ended by itself.",
    "web-port-taken": "The address of the web page or the handler is in use, or not one of this machine.",
    "web-form-invalid": "A form of the web page lacks a field, or has a wrong value.",
    "web-task-unknown": "The web page does not know a background task.",
}
"""Every code that a `Failure` may carry, and its meaning (next steps: docs/reference/failures.md)."""


class Failure(Exception):
    """An expected error, with a text for the user.

    Args:
        code: A key of `CODES`; stable, for programs.
        message: What happened and why, in one sentence, without secrets.
        hint: The next step for the person, as a command or an instruction.
        facts: Further fields of the error for programs (`--json`).
    """

    def __init__(
        self, code: str, message: str, *, hint: str | None = None, facts: Mapping[str, object] | None = None
    ) -> None:
        super().__init__(message)
        if code not in CODES:
            raise ValueError(f"unregistered failure code {code!r}")
        self.code = code
        self.message = message
        self.hint = hint
        self.facts = dict(facts or {})

    def change_texts(self, change: Callable[[str], str]) -> None:
        """Change message and hint, such as to complete the commands in them."""
        # The command in its message is that of the process that holds the lock.
        if self.code != "lock-held":
            self.message = change(self.message)
        self.hint = change(self.hint) if self.hint is not None else None

    def __str__(self) -> str:
        if self.hint:
            return f"{self.message} {self.hint}"
        return self.message
