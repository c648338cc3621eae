"""The failure of commands that show stored facts, when these belong to another ComfyUI than the watched one."""

from __future__ import annotations

from comfywatchman.app.session import Session
from comfywatchman.base.errors import Failure
from comfywatchman.comfyui.install.identity import ComfyUIIdentity


def build_other_comfyui_failure(
    session: Session, subject: str, recorded: ComfyUIIdentity | str | None, at: str, *, command: str
) -> Failure:
    """Return the failure, which names the other ComfyUI and the next step.

    Args:
        session: The session.
        subject: What is about another ComfyUI, as the beginning of a sentence: `The last report`.
        recorded: The other ComfyUI, or only its folder; None for facts of older versions, which did not record it.
        at: Time of the facts, UTC.
        command: The command that shows them with `--comfyui`.
    """
    watched = session.watched_comfyui()
    root = recorded.root if isinstance(recorded, ComfyUIIdentity) else recorded
    if recorded is None:
        about = f"was written by an older version, which did not record the ComfyUI ({at})"
    elif watched is None:
        about = f"is about a ComfyUI that is not configured ({root}, {at})"
    else:
        about = f"is about another ComfyUI ({_describe_place(recorded, watched)}, {at})"
    facts = {"recorded_comfyui": root, "recorded_at": at, "watched_comfyui": watched.root if watched else None}
    hint = f"Run: {session.format_command('--run-cycle')}"
    if watched is None and root is not None:
        hint = f"To see it: {session.format_command('--comfyui', root)} {command}"
    return Failure("other-comfyui", f"{subject} {about}.", hint=hint, facts=facts)


def _describe_place(recorded: ComfyUIIdentity | str, watched: ComfyUIIdentity) -> str:
    if isinstance(recorded, str):
        return recorded
    if recorded.hostname != watched.hostname:
        return f"{recorded.root} on {recorded.hostname}"
    if (recorded.root, recorded.base) == (watched.root, watched.base):
        return f"the one that was in {recorded.root} before"
    if recorded.root == watched.root:
        return f"{recorded.root} with the base directory {recorded.base}"
    return recorded.root
