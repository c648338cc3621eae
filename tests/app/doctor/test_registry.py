from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest

from comfywatchman.app.doctor import registry
from comfywatchman.app.doctor.check import CheckState, DoctorCheck
from comfywatchman.app.session import Session
from comfywatchman.base.errors import Failure

FINE = DoctorCheck("Fine", CheckState.OK, "well")


def fine(_session: Session) -> Iterator[DoctorCheck]:
    yield FINE


def failing(_session: Session) -> Iterator[DoctorCheck]:
    yield DoctorCheck("Half", CheckState.OK, "first")
    raise Failure("state-unwritable", "The disk is full.", hint="Free space.")


def broken(_session: Session) -> Iterator[DoctorCheck]:
    raise OSError(5, "Input/output error")


def run(monkeypatch: pytest.MonkeyPatch, **parts: str) -> list[DoctorCheck]:
    monkeypatch.setattr(registry, "PARTS", {name: f"{__name__}:{function}" for name, function in parts.items()})
    return list(registry.run_checks(Session(None, None)))


def test_part_that_fails_is_a_failed_check_and_the_others_run(monkeypatch: pytest.MonkeyPatch) -> None:
    assert run(monkeypatch, Fine="fine", Disk="failing", Odd="broken", Last="fine") == [
        FINE,
        DoctorCheck("Disk", CheckState.FAIL, "The disk is full", "Free space."),
        DoctorCheck("Odd", CheckState.FAIL, "Input/output error"),
        FINE,
    ]


def test_nothing_is_checked_after_a_broken_configuration(monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = run(monkeypatch, Configuration="broken", Fine="fine")
    assert (first.state, second.state, second.finding) == (
        CheckState.FAIL,
        CheckState.SKIP,
        "waits for Configuration",
    )


def test_every_registered_part_exists() -> None:
    for location in registry.PARTS.values():
        module, _, function = location.partition(":")
        assert callable(getattr(import_module(module), function))


def step(_session: Session) -> Iterator[DoctorCheck]:
    yield DoctorCheck("Report", CheckState.FAIL, "none", "Run: comfywatchman --run-cycle, then gov init")


def test_commands_of_next_steps_have_the_options_of_the_call(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "PARTS", {"Step": f"{__name__}:step"})
    (check,) = registry.run_checks(Session(Path("/h"), None))
    assert check.next_step == "Run: comfywatchman --home /h --run-cycle, then gov --home /h init"
