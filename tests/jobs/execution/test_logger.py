"""One structured line per event of a job."""

from __future__ import annotations

import json
import logging
from pathlib import Path

from comfywatchman.base.config import load
from comfywatchman.base.logs import open_log
from comfywatchman.jobs.execution.logger import get_logger, log_job
from tests.jobs.execution.samples import NAME, build_job


def test_event_is_one_line_with_its_facts(tmp_path: Path) -> None:
    log = open_log(tmp_path, load(environment={}).settings.log)
    for _ in range(3):
        get_logger("events")
    log_job("job ended", build_job(), level=logging.WARNING, error_code="jobs-refused")
    for handler in list(log.handlers):
        log.removeHandler(handler)
        handler.close()
    (line,) = (tmp_path / "structured.log").read_text("utf-8").splitlines()
    facts = json.loads(line)
    expected = {
        "level": "WARNING",
        "message": "job ended",
        "event": "job ended",
        "job": NAME,
        "job_id": 7,
        "attempt": 1,
        "worker_id": "w-1",
        "workflow_id": "picture",
        "priority": 50,
        "error_code": "jobs-refused",
    }
    assert expected.items() <= facts.items()


def test_loggers_have_no_handlers_of_their_own() -> None:
    assert get_logger("worker") is get_logger("worker")
    assert get_logger("worker").handlers == []
    assert get_logger("").name == "comfywatchman.jobs"
