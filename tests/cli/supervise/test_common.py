from __future__ import annotations

from comfywatchman.cli.supervise.common import describe_status
from comfywatchman.supervisor.states import SupervisorState
from comfywatchman.supervisor.status import SupervisorStatus


def build_status(port: int) -> SupervisorStatus:
    at = "2026-11-20T12:00:00Z"
    return SupervisorStatus(SupervisorState.READY, at, at, port, 1, pid=7)


def test_status_is_described_in_fields_and_words() -> None:
    described = describe_status(build_status(1))
    assert described is not None
    assert described["sentence"] == "ComfyUI is ready: a test prompt ran to its end."
    assert describe_status(None) is None
