"""The `[supervisor]` section as the limits that the supervisor's parts take."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from comfywatchman.base.settings import SupervisorSection
from comfywatchman.supervisor.health_policy import HealthLimits
from comfywatchman.supervisor.monitor import MonitorPace
from comfywatchman.supervisor.process.child import StopLimits
from comfywatchman.supervisor.process.launcher import extract_port, has_tls
from comfywatchman.supervisor.restart_policy import RestartPolicy
from comfywatchman.supervisor.states import ProofKind

_MISSED_CANARIES = 3
"""A proof outlives this many intervals: a test prompt may have to wait for one look and for a slow machine."""


@dataclass(frozen=True, slots=True)
class SupervisorSettings:
    """All limits of one supervisor.

    Attributes:
        port: The port of ComfyUI on 127.0.0.1.
        arguments: Configured arguments of main.py.
        restarts: How often and how soon ComfyUI is started again.
        health: The limits of health decisions.
        pace: How often the monitor looks.
        stop: How long a stop waits.
        job_progress_seconds: How long a prompt may go without progress.
        is_kept: Whether ComfyUI outlives the supervisor.
        adopts_foreign: Whether a ComfyUI of somebody else is watched instead of refused.
        control_ports: First and last port for the control interface.
        max_incidents: Number of incidents to keep.
        success_seconds: How long the status of a finished switch stays visible.
    """

    port: int = 8188
    arguments: tuple[str, ...] = ()
    restarts: RestartPolicy = field(default_factory=RestartPolicy)
    health: HealthLimits = field(default_factory=HealthLimits)
    pace: MonitorPace = field(default_factory=MonitorPace)
    stop: StopLimits = field(default_factory=StopLimits)
    job_progress_seconds: float = 1800.0
    is_kept: bool = False
    adopts_foreign: bool = False
    control_ports: tuple[int, int] = (5050, 5100)
    max_incidents: int = 20
    success_seconds: float = 5.0


def build_settings(
    section: SupervisorSection, environment_arguments: Sequence[str] = (), arguments: Sequence[str] = ()
) -> SupervisorSettings:
    """Return the limits that the configuration asks for.

    Args:
        section: The configuration.
        environment_arguments: Arguments of main.py that belong to the environment.
        arguments: Those of this start.
    """
    every_argument = (*environment_arguments, *section.arguments, *arguments)
    # The probes do not check certificates, which are often signed by nobody.
    kind = ProofKind.CONNECTION if has_tls(every_argument) else ProofKind(section.proof)
    return SupervisorSettings(
        port=extract_port(every_argument, section.port),
        arguments=section.arguments,
        restarts=RestartPolicy(
            max_starts=section.max_starts,
            window_seconds=section.start_window_seconds,
            stable_seconds=section.stable_seconds,
            backoff_first_seconds=section.backoff_first_seconds,
            backoff_max_seconds=section.backoff_max_seconds,
        ),
        health=HealthLimits(
            startup_progress=section.startup_progress_seconds,
            startup=section.startup_limit_seconds,
            proof=_MISSED_CANARIES * section.canary_interval_seconds,
            kind=kind,
        ),
        pace=MonitorPace(canary=section.canary_interval_seconds),
        stop=StopLimits(interrupt=section.stop_interrupt_seconds, terminate=section.stop_terminate_seconds),
        job_progress_seconds=section.job_progress_seconds,
        is_kept=section.on_exit == "keep",
        adopts_foreign=section.foreign == "adopt",
        control_ports=(section.control_port_first, section.control_port_last),
        max_incidents=section.max_incidents,
    )
