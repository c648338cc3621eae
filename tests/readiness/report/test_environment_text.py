from __future__ import annotations

import pytest

from comfywatchman.readiness.report.environment_text import describe_environment
from comfywatchman.readiness.status import NOT_GOVERNED, Environment, NotGovernedCause


def ungoverned(cause: NotGovernedCause) -> Environment:
    return Environment(state="not governed", root="/env", cause=cause, governs="/a")


@pytest.mark.parametrize(
    ("environment", "text"),
    [
        (NOT_GOVERNED, "not checked: no governed environment (run gov init --adopt)"),
        (ungoverned("other-comfyui"), "not governed: root /env governs /a"),
        (
            ungoverned("replaced-comfyui"),
            "not governed: root /env governs the ComfyUI that was in /a before (run gov init)",
        ),
        (
            ungoverned("not-recorded"),
            "not governed: root /env does not record which ComfyUI it governs (run gov init)",
        ),
    ],
)
def test_cause_of_an_ungoverned_environment_is_shown(environment: Environment, text: str) -> None:
    assert describe_environment(environment) == text
