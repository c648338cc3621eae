"""The parts of `comfywatchman doctor`: each area adds the location of a function that returns its checks."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from importlib import import_module
from typing import Final

from comfywatchman.app.doctor.check import CheckState, DoctorCheck
from comfywatchman.app.session import Session
from comfywatchman.base.errors import Failure

DoctorPart = Callable[[Session], Iterable[DoctorCheck]]

PARTS: Final = {
    "Configuration": "comfywatchman.app.doctor.installation:check_configuration",
    "ComfyUI": "comfywatchman.app.doctor.installation:check_comfyui",
    "Server": "comfywatchman.app.doctor.network:check_server",
    "Model folders": "comfywatchman.app.doctor.installation:check_model_folders",
    "Disk": "comfywatchman.app.doctor.installation:check_disk",
    "GPU": "comfywatchman.app.doctor.installation:check_gpu",
    "Network": "comfywatchman.app.doctor.network:check_sites",
    "Language model": "comfywatchman.app.doctor.network:check_language_model",
    "Keys": "comfywatchman.app.doctor.installation:check_keys",
    "Service": "comfywatchman.app.doctor.watch:check_service",
    "Report": "comfywatchman.app.doctor.watch:check_report",
    "Node packs": "comfywatchman.app.doctor.watch:check_packs",
    "Environment": "comfywatchman.app.doctor.watch:check_environment",
}
"""The name of each part, and where its function is, as `module:function`; it is imported when it is called."""


def run_checks(session: Session) -> tuple[DoctorCheck, ...]:
    """Run every part; one that fails becomes a failed check, so that the others still run."""
    checks: list[DoctorCheck] = []
    for name, location in PARTS.items():
        if checks and checks[0].state is CheckState.FAIL:
            # Every part reads the configuration.
            checks.append(DoctorCheck(name, CheckState.SKIP, f"waits for {checks[0].name}"))
            continue
        module, _, function = location.partition(":")
        part: DoctorPart = getattr(import_module(module), function)
        try:
            checks += list(part(session))
        except Failure as failure:
            checks.append(DoctorCheck(name, CheckState.FAIL, failure.message.rstrip("."), failure.hint or ""))
        except OSError as error:
            checks.append(DoctorCheck(name, CheckState.FAIL, error.strerror or type(error).__name__))
    return tuple(replace(check, next_step=session.complete_commands(check.next_step)) for check in checks)
