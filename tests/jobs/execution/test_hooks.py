"""Webhooks and programs at the end of a job; what goes wrong with them harms nothing."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from comfywatchman.jobs.execution import hooks
from comfywatchman.jobs.execution.hooks import JobHooks, build_facts, build_variables
from comfywatchman.jobs.records import AttemptOutcome, Job, JobStatus
from tests.jobs.execution.samples import SPEC, build_job
from tests.jobs.execution.sites import build_settings
from tests.servers.base import LocalServer, Reply

DONE = AttemptOutcome(success=True, metadata={"folder": "/f", "files": [{"name": "cat.png"}]})


def call(folder: Path, job: Job, **settings: Any) -> None:
    cfg = replace(build_settings(folder, "http://127.0.0.1:9"), **settings)
    caller = JobHooks(cfg)
    caller.call(job, JobStatus.DONE, DONE)
    caller.close()


@pytest.mark.slow
def test_webhook_gets_the_result(tmp_path: Path) -> None:
    with LocalServer({"/hook": Reply()}) as server:
        call(tmp_path, build_job(replace(SPEC, webhook=f"{server.url}/hook")), webhook="http://127.0.0.1:9")
        (asked,) = server.asked
    facts = json.loads(asked.body)
    assert {"job": SPEC.config_name, "status": "done", "files": ["cat.png"], "folder": "/f"}.items() <= facts.items()


@pytest.mark.slow
def test_program_gets_the_result_in_its_environment(tmp_path: Path) -> None:
    code = "import os; open('out', 'w').write(os.environ['COMFYWATCHMAN_JOB'] + os.environ['COMFYWATCHMAN_STATUS'])"
    target = tmp_path / "out"
    command = (sys.executable, "-c", code.replace("'out'", repr(str(target))))
    call(tmp_path, build_job(), command=command)
    assert target.read_text("utf-8") == f"{SPEC.config_name}done"


@pytest.mark.slow
def test_failing_hooks_are_logged_and_the_next_is_called(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hooks, "_WEBHOOK_ATTEMPTS", 1)
    with LocalServer({"/refuses": Reply(status=500), "/hook": Reply()}) as server:
        cfg = build_settings(tmp_path, "http://127.0.0.1:9")
        caller = JobHooks(cfg)
        for spec in (
            replace(SPEC, webhook="http://127.0.0.1:9/", command=(sys.executable, "-c", "raise SystemExit(3)")),
            replace(SPEC, webhook=f"{server.url}/refuses", command=("/no/such/program",)),
            replace(SPEC, webhook=f"{server.url}/hook"),
        ):
            caller.call(build_job(spec), JobStatus.FAILED, DONE)
        caller.close()
        assert [asked.path for asked in server.asked] == ["/refuses", "/hook"]
    messages = [record.message for record in caplog.records]
    assert messages == ["hook failed", "command failed", "webhook refused", "hook failed"]


def test_nothing_is_started_without_hooks(tmp_path: Path) -> None:
    caller = JobHooks(build_settings(tmp_path, "http://127.0.0.1:9"))
    caller.call(build_job(), JobStatus.DONE, DONE)
    assert caller._thread is None
    caller.close()


def test_full_queue_of_hooks_drops_the_call(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caller = JobHooks(replace(build_settings(tmp_path, "http://127.0.0.1:9"), command=("true",)))
    caller._calls.maxsize = 1
    caller._calls.put(None)
    caller.call(build_job(), JobStatus.DONE, DONE)
    assert "hook dropped" in caplog.text
    assert caller._thread is None


def test_variables_are_texts() -> None:
    facts = build_facts(build_job(), JobStatus.FAILED, AttemptOutcome(success=False, error_code="jobs-refused"))
    assert build_variables(facts) == {
        "COMFYWATCHMAN_JOB": SPEC.config_name,
        "COMFYWATCHMAN_STATUS": "failed",
        "COMFYWATCHMAN_FOLDER": "",
        "COMFYWATCHMAN_ERROR_CODE": "jobs-refused",
    }
