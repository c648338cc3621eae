"""Commands in texts: areas write their short form, and a call adds its own options where it shows the text."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from typing import Final

COMMAND_NAMES: Final[Mapping[str, frozenset[str]]] = {
    "comfywatchman": frozenset(
        [
            "--run-cycle",
            "--scheduler",
            "--list-intake",
            "setup",
            "status",
            "doctor",
            "scan",
            "explain",
            "resolve",
            "inspect",
            "image",
            "download",
            "duplicates",
            "history",
            "config",
            "completion",
            "backup",
            "install-service",
            "supervise",
            "version",
            "env",
            "jobs",
            "handler",
            "web",
        ]
    ),
    "gov": frozenset(
        [
            "init",
            "status",
            "check",
            "node",
            "tx",
            "package",
            "comfyui",
            "resolve",
            "rollback",
            "undo",
            "snapshot",
            "op",
            "run",
            "test",
            "migrate",
        ]
    ),
}
"""The commands of each program. After its name, another word means that a sentence speaks of the program."""

_COMMAND: Final = re.compile(
    r"(?<![\w./-])(?:"
    + "|".join(
        rf"(?P<{program}>{program}) (?=(?:{'|'.join(sorted(map(re.escape, names)))})(?![\w-]))"
        for program, names in COMMAND_NAMES.items()
    )
    + ")"
)


def complete_commands(text: str, programs: Mapping[str, Sequence[str]]) -> str:
    """Return a text whose commands carry the options of this call, so that they mean the same home and ComfyUI.

    A command that has options before its name already is left as it is.

    Args:
        text: A sentence for a person, with commands such as `gov init` in it.
        programs: For each program its name with the options of this call; the others are left as they are.
    """
    return _COMMAND.sub(lambda match: f"{shlex.join(programs.get(match.lastgroup or '', (match[0][:-1],)))} ", text)
