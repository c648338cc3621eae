"""Incidents: one folder with the evidence of each unexpected end or kill, kept to a limit."""

from __future__ import annotations

import shutil
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import msgspec

from comfywatchman.base.clock import Clock, format_utc
from comfywatchman.base.errors import Failure
from comfywatchman.base.files import read_regular, to_json, write_atomic
from comfywatchman.base.json_values import decode_json
from comfywatchman.base.state.ranges import check_times
from comfywatchman.supervisor.metadata import create_metadata_folder
from comfywatchman.supervisor.process.guard import read_oom_events

FOLDER_NAME: Final = "incidents"
FACTS_NAME: Final = "incident.json"
LOG_NAME: Final = "comfyui.log"
_LOG_LINES: Final = 200
_MAX_LINE_BYTES: Final = 4000
_TAIL_BYTES: Final = 1 << 20
_MAX_FACTS_BYTES: Final = 4 << 20
_MAX_SAMPLES: Final = 120


class MemorySample(msgspec.Struct, frozen=True):
    """Memory at one moment.

    Attributes:
        at: UTC.
        resident_bytes: Resident memory of ComfyUI's whole tree.
        gpu_used_bytes: Used memory of all GPUs; None when it is unknown.
    """

    at: str
    resident_bytes: int
    gpu_used_bytes: int | None = None

    def __post_init__(self) -> None:
        """Check the times.

        Raises:
            ValueError: One is out of range.
        """
        check_times(self.at)


class OomCounters(msgspec.Struct, frozen=True):
    """Counters of the kernel's out-of-memory kills in the cgroup (v2 `memory.events`, v1 `memory.oom_control`)."""

    oom: int = 0
    oom_kill: int = 0


class Incident(msgspec.Struct, frozen=True):
    """One unexpected end of ComfyUI, or one kill by the supervisor.

    Attributes:
        name: Name of its folder.
        at: UTC.
        kind: `crash`, `killed` by the supervisor, or `needs_reboot`.
        environment: The environment that ran.
        reason: Machine-readable reason, such as a value of `HealthReason`.
        sentence: What happened, for people.
        exit_status: The exit status; negative for a signal, None when the process did not end.
        uptime_seconds: How long it ran.
        queue_length: Running and waiting prompts at that time; None when unknown.
        memory: Memory over the last minutes, oldest first.
        oom: Counters of the kernel at the start of the process and now; None where there is no cgroup.
        blames_job: Whether the end counts against a prompt that was running.
        has_stack_dump: Whether the log holds a stack dump that the supervisor asked for.
        schema_version: Version of this record.
    """

    name: str
    at: str
    kind: str
    environment: str | None
    reason: str
    sentence: str
    exit_status: int | None = None
    uptime_seconds: float = 0.0
    queue_length: int | None = None
    memory: tuple[MemorySample, ...] = ()
    oom: tuple[OomCounters, OomCounters] | None = None
    blames_job: bool = False
    has_stack_dump: bool = False
    schema_version: int = 1

    def __post_init__(self) -> None:
        """Check the times.

        Raises:
            ValueError: One is out of range.
        """
        check_times(self.at)

    @property
    def is_out_of_memory(self) -> bool:
        """Whether the kernel killed for memory while the process ran."""
        return has_oom_kill(self.oom)


def has_oom_kill(oom: tuple[OomCounters, OomCounters] | None) -> bool:
    """Return whether the kernel killed a process for memory between two readings of the counters."""
    if oom is None:
        return False
    before, after = oom
    return after.oom_kill > before.oom_kill


class MemoryCurve:
    """The last samples of memory; older ones are dropped."""

    def __init__(self) -> None:
        self._samples: deque[MemorySample] = deque(maxlen=_MAX_SAMPLES)

    def add(self, sample: MemorySample) -> None:
        """Add the newest sample."""
        self._samples.append(sample)

    def samples(self) -> tuple[MemorySample, ...]:
        """Return the samples, oldest first."""
        return tuple(self._samples)


def choose_name(metadata: Path, kind: str, clock: Clock) -> str:
    """Return a name for a new incident that sorts by time and is not in use."""
    stamp = format_utc(clock.now()).replace(":", "").replace("-", "")
    taken = {path.name for path in _list_folders(metadata)}
    name, number = f"{stamp}-{kind}", 1
    while name in taken:
        number += 1
        name = f"{stamp}-{kind}-{number}"
    return name


def record_incident(metadata: Path, incident: Incident, log: Path, *, max_incidents: int) -> Path:
    """Write an incident with the end of ComfyUI's log, and delete the oldest ones beyond the limit.

    Args:
        metadata: The `.metadata` folder.
        incident: The facts.
        log: ComfyUI's log.
        max_incidents: Number of incidents to keep.

    Raises:
        Failure: `state-unwritable`.
    """
    folder = metadata / FOLDER_NAME / incident.name
    create_metadata_folder(folder)
    write_atomic(folder / LOG_NAME, read_last_lines(log), mode=0o600)
    # The facts come last: a folder without them is an incident that was being written when the machine stopped.
    write_atomic(folder / FACTS_NAME, to_json(msgspec.to_builtins(incident)))
    for old in _list_folders(metadata)[:-max_incidents]:
        shutil.rmtree(old, ignore_errors=True)
    return folder


def list_incidents(metadata: Path) -> tuple[Incident, ...]:
    """Return the incidents, oldest first; damaged ones are left out."""
    incidents: list[Incident] = []
    for folder in _list_folders(metadata):
        try:
            content = read_regular(folder / FACTS_NAME, max_bytes=_MAX_FACTS_BYTES)
            incidents.append(decode_json(content, Incident))
        except (Failure, msgspec.MsgspecError):
            continue
    return tuple(incidents)


def read_incident_log(metadata: Path, name: str) -> str:
    """Return the log lines of an incident; empty when they are gone."""
    try:
        content = read_regular(metadata / FOLDER_NAME / name / LOG_NAME, max_bytes=_TAIL_BYTES)
    except Failure:
        return ""
    return content.decode("utf-8", "replace")


def read_last_lines(log: Path, *, count: int = _LOG_LINES) -> bytes:
    """Return the last lines of a log; very long lines are cut, and a log that is gone has none."""
    try:
        with log.open("rb") as file:
            file.seek(0, 2)
            file.seek(max(0, file.tell() - _TAIL_BYTES))
            lines = file.read().splitlines()[-count:]
    except OSError:
        return b""
    return b"".join(line[:_MAX_LINE_BYTES] + b"\n" for line in lines)


def read_oom_counters(pid: int, *, root: Path = Path("/")) -> OomCounters | None:
    """Return the kernel's counters for the cgroup of a process; None where there is none.

    Args:
        pid: The process.
        root: The root of the file system; another one in tests.
    """
    events = read_oom_events(pid, str(root))
    return None if events is None else build_oom_counters(events)


def build_oom_counters(events: Mapping[str, int]) -> OomCounters:
    """Return the counters of kills among those that the kernel names. Pure."""
    return OomCounters(oom=events.get("oom", 0), oom_kill=events.get("oom_kill", 0))


def _list_folders(metadata: Path) -> list[Path]:
    """Return the folders of incidents, oldest first: their names begin with the time."""
    try:
        return sorted(path for path in (metadata / FOLDER_NAME).iterdir() if path.is_dir() and not path.is_symlink())
    except OSError:
        return []
