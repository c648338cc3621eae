"""The parts of `comfywatchman setup`: each area adds the location of a function that returns its findings."""

from __future__ import annotations

from importlib import import_module
from typing import Final

from comfywatchman.app.session import Session
from comfywatchman.app.setup.proposal import SetupChoices, SetupFinding, SetupPart
from comfywatchman.base.errors import Failure

PARTS: Final = {
    "ComfyUI": "comfywatchman.app.setup.installation:propose_comfyui",
    "Python": "comfywatchman.app.setup.installation:propose_python",
    "Server": "comfywatchman.app.setup.installation:propose_server",
    "Folders": "comfywatchman.app.setup.installation:propose_folders",
    "Language model": "comfywatchman.app.setup.language_model:describe_language_model",
    "GPU": "comfywatchman.app.setup.installation:describe_gpu",
}
"""The name of each part, and where its function is, as `module:function`; it is imported when it is called."""


def find_settings(session: Session, choices: SetupChoices) -> tuple[SetupFinding, ...]:
    """Run every part; one that fails becomes a finding without settings."""
    findings: list[SetupFinding] = []
    for name, location in PARTS.items():
        module, _, function = location.partition(":")
        part: SetupPart = getattr(import_module(module), function)
        try:
            findings += list(part(session, choices))
        except Failure as failure:
            findings.append(SetupFinding(name, failure.message.rstrip(".")))
    return tuple(findings)
