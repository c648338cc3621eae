from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comfywatchman.base.errors import Failure
from comfywatchman.supervisor.mailbox import SwitchState, read_switch_status
from comfywatchman.supervisor.switch import (
    Proof,
    ProofOutcome,
    SwitchResult,
    SwitchTransaction,
    compute_validation_progress,
)
from tests.fakes import FakeClock

READY = Proof(ProofOutcome.READY)
FAILED = Proof(ProofOutcome.FAILED, "It failed.")


@dataclass
class ScriptedHost:
    """A host whose processes are names; it records what was done, and the state that was on disk at that moment."""

    metadata: Path
    proofs: dict[str, Proof] = field(default_factory=dict)
    failing: dict[str, str] = field(default_factory=dict)
    is_aborted: bool = False
    is_ending: bool = False
    stuck: frozenset[str] = frozenset()
    done: list[str] = field(default_factory=list)
    abortable: dict[str, bool] = field(default_factory=dict)

    def check(self, name: str) -> None:
        self._do("check", name)

    def prepare(self, name: str) -> None:
        self._do("prepare", name)

    def start(self, name: str) -> str:
        self._do("start", name)
        return name

    def prove(self, run: str, report: Callable[[float, int], None], *, can_abort: bool) -> Proof:
        self.abortable[run] = can_abort
        report(30.0, 4)
        self._do("prove", run)
        return self.proofs.get(run, READY)

    def stop(self, run: str) -> bool:
        self._do("stop", run)
        return run not in self.stuck

    def activate(self, name: str) -> None:
        self._do("activate", name)

    def is_abort_requested(self) -> bool:
        return self.is_aborted

    def is_stopping(self) -> bool:
        return self.is_ending

    def _do(self, step: str, name: str) -> None:
        status = read_switch_status(self.metadata)
        assert status is not None
        self.done.append(f"{step} {name} {status.state.value} {status.progress}")
        if self.failing.get(step) == name:
            raise Failure("child-failed", f"{step} of {name} failed.")


def switch(host: ScriptedHost, *, source: str | None = "old") -> SwitchResult[str]:
    return SwitchTransaction(host, host.metadata, FakeClock(), source, "new").run()


def final_state(host: ScriptedHost) -> SwitchState:
    status = read_switch_status(host.metadata)
    assert status is not None
    assert status.progress == 100
    return status.state


def test_new_environment_is_activated_only_after_its_proof(tmp_path: Path) -> None:
    host = ScriptedHost(tmp_path)
    assert switch(host) == SwitchResult(SwitchState.COMPLETE, "new", "new")
    assert host.done == [
        "check new preparing 10",
        "prepare new syncing 30",
        "start new starting 60",
        "prove new validating 85",
        "activate new validating 85",
    ]
    assert final_state(host) is SwitchState.COMPLETE


def test_status_of_the_wait_has_elapsed_time_and_attempt(tmp_path: Path) -> None:
    host = ScriptedHost(tmp_path, proofs={"new": FAILED}, failing={"start": "old"})
    switch(host)
    assert "prove new validating 85" in host.done


@pytest.mark.parametrize("step", ["check", "prepare", "start", "activate"])
def test_failure_of_each_step_goes_back_to_a_proved_old_environment(tmp_path: Path, step: str) -> None:
    host = ScriptedHost(tmp_path, failing={step: "new"})
    result = switch(host)
    assert (result.state, result.run, result.environment) == (SwitchState.ROLLED_BACK, "old", "old")
    assert host.done[-2:] == ["start old rolling_back 90", "prove old rolling_back 90"]
    assert result.reason == f"{step} of new failed."


def test_unproved_new_process_is_stopped_before_the_old_one_starts(tmp_path: Path) -> None:
    host = ScriptedHost(tmp_path, proofs={"new": FAILED})
    assert switch(host).state is SwitchState.ROLLED_BACK
    assert [step.rsplit(" ", 2)[0] for step in host.done[-3:]] == ["stop new", "start old", "prove old"]


@pytest.mark.parametrize("failing", [{"start": "old"}, {}])
def test_old_environment_that_fails_too_is_a_critical_failure(tmp_path: Path, failing: dict[str, str]) -> None:
    host = ScriptedHost(tmp_path, proofs={"new": FAILED, "old": FAILED}, failing=failing)
    result = switch(host)
    assert (result.state, result.run) == (SwitchState.CRITICAL_FAILURE, None)
    assert final_state(host) is SwitchState.CRITICAL_FAILURE


@pytest.mark.parametrize(("stuck", "last"), [("new", "stop new"), ("old", "stop old")])
def test_process_that_cannot_be_killed_keeps_the_gpu_to_itself(tmp_path: Path, stuck: str, last: str) -> None:
    host = ScriptedHost(tmp_path, proofs={"new": FAILED, "old": FAILED}, stuck=frozenset({stuck}))
    result = switch(host)
    assert (result.state, result.run, result.is_stuck) == (SwitchState.CRITICAL_FAILURE, stuck, True)
    assert host.done[-1].startswith(last)
    assert final_state(host) is SwitchState.CRITICAL_FAILURE


def test_abort_before_the_start_never_starts_the_new_one(tmp_path: Path) -> None:
    host = ScriptedHost(tmp_path, is_aborted=True)
    assert switch(host).state is SwitchState.ABORTED
    assert not [step for step in host.done if step.startswith("start new")]


@pytest.mark.parametrize("failing", [{}, {"prepare": "new"}])
def test_stop_during_the_preparation_starts_nothing(tmp_path: Path, failing: dict[str, str]) -> None:
    host = ScriptedHost(tmp_path, is_ending=True, failing=failing)
    result = switch(host)
    assert (result.state, result.run, result.is_stopping) == (SwitchState.FAILED, None, True)
    assert not [step for step in host.done if step.startswith("start")]


def test_abort_during_the_preparation_goes_back(tmp_path: Path) -> None:
    host = ScriptedHost(tmp_path, is_aborted=True, failing={"prepare": "new"})
    assert switch(host).state is SwitchState.ABORTED


def test_abort_during_the_proof_goes_back(tmp_path: Path) -> None:
    host = ScriptedHost(tmp_path, proofs={"new": Proof(ProofOutcome.ABORTED, "Aborted.")})
    assert switch(host).state is SwitchState.ABORTED
    assert final_state(host) is SwitchState.ABORTED
    assert host.abortable == {"new": True, "old": False}


def test_without_an_old_environment_a_failure_is_final(tmp_path: Path) -> None:
    host = ScriptedHost(tmp_path, proofs={"new": FAILED})
    result = switch(host, source=None)
    assert (result.state, result.run, result.environment) == (SwitchState.FAILED, None, None)


@pytest.mark.parametrize("who", ["new", "old"])
def test_end_of_the_supervisor_leaves_a_final_state(tmp_path: Path, who: str) -> None:
    proofs = {"new": FAILED, who: Proof(ProofOutcome.STOPPING, "It ends.")}
    host = ScriptedHost(tmp_path, proofs=proofs)
    result = switch(host)
    assert result.is_stopping
    assert final_state(host) is SwitchState.FAILED


@given(first=st.floats(0, 10_000), more=st.floats(0, 10_000))
def test_progress_of_the_wait_grows_and_never_claims_the_end(first: float, more: float) -> None:
    assert 80 <= compute_validation_progress(first) <= compute_validation_progress(first + more) <= 95
