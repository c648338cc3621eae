from __future__ import annotations

import json

import pytest

from comfywatchman.app.session import Session
from comfywatchman.cli.supervise.endings import finish
from comfywatchman.cli.supervise.waiting import Ending
from comfywatchman.supervisor.workspace import ComfygitWorkspace
from tests.cli.supervise.calls import SupervisedWorkspace

DONE = Ending(True, "ComfyUI runs in 'other'.")
FAILED = Ending(False, "ComfyUI did not start.", "Read its log.")


@pytest.mark.parametrize(
    ("ending", "code", "printed"),
    [
        (DONE, 0, ("ComfyUI runs in 'other'.\n", "")),
        (FAILED, 1, ("", "ComfyUI did not start.\nRead its log.\n")),
        (Ending(False, "It \x1b[31mfailed."), 1, ("", "It \\x1b[31mfailed.\n")),
    ],
    ids=["done", "failed", "control characters"],
)
def test_ending_goes_to_its_stream(
    idle: SupervisedWorkspace, capsys: pytest.CaptureFixture[str], ending: Ending, code: int, printed: tuple[str, str]
) -> None:
    environments = ComfygitWorkspace(idle.workspace.root)
    assert finish(Session(None, None), environments, "switch", ending, as_json=False) == code
    assert capsys.readouterr() == printed


def test_order_that_is_not_waited_for_is_accepted(
    idle: SupervisedWorkspace, capsys: pytest.CaptureFixture[str]
) -> None:
    environments = ComfygitWorkspace(idle.workspace.root)
    assert finish(Session(None, None), environments, "restart", None, as_json=False) == 0
    assert "asked to restart" in capsys.readouterr().out


@pytest.mark.parametrize(("ending", "success"), [(None, None), (DONE, True), (FAILED, False)])
def test_json_has_the_ending_and_the_status(
    idle: SupervisedWorkspace, capsys: pytest.CaptureFixture[str], ending: Ending | None, *, success: bool | None
) -> None:
    environments = ComfygitWorkspace(idle.workspace.root)
    finish(Session(None, None), environments, "restart", ending, as_json=True)
    content = json.loads(capsys.readouterr().out)
    assert (content["command"], content["waited"], content["success"]) == ("restart", ending is not None, success)
    assert content["hint"] == ("Read its log." if ending is FAILED else None)
    assert content["supervisor"] is None
