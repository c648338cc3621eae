"""Cheap requests to a running ComfyUI, suited to frequent polling."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from comfywatchman.base.errors import Failure
from comfywatchman.base.http import HttpSession, get_json
from comfywatchman.base.json_values import as_list, as_mapping, as_text

_REQUEST_SECONDS: Final = 5.0


@dataclass(frozen=True, slots=True)
class ComputeDevice:
    """A device that a server computes on.

    Attributes:
        type: torch's name for its kind: `cuda`, `cpu`, `mps`, `xpu` and others.
        name: Its name.
        memory_total_bytes: Its memory; that of the machine for a `cpu`.
        memory_free_bytes: Its free memory.
        reserved_bytes: The part that torch holds for this server.
        reserved_free_bytes: The part of those that is not in use; it counts as free memory too.
    """

    type: str
    name: str
    memory_total_bytes: int | None = None
    memory_free_bytes: int | None = None
    reserved_bytes: int | None = None
    reserved_free_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class SystemStats:
    """The system statistics of a server.

    Attributes:
        version: ComfyUI's version; None when it reports none.
        argv: The arguments that it was started with.
        devices: The devices that it computes on, the main one first.
    """

    version: str | None
    argv: tuple[str, ...]
    devices: tuple[ComputeDevice, ...] = ()

    @property
    def has_gpu(self) -> bool:
        """Whether the main device is something other than the processor of the machine."""
        return bool(self.devices) and self.devices[0].type != "cpu"


def read_queue_length(
    url: str, *, timeout_seconds: float = _REQUEST_SECONDS, session: HttpSession | None = None
) -> int:
    """Return the number of running and waiting prompts. ComfyUI only counts them for the answer.

    Args:
        url: The address of the server.
        timeout_seconds: Time limit, without a session.
        session: The HTTP session to use; a new connection when None.

    Raises:
        Failure: `http-unreachable`, `http-status` or `http-body`.
    """
    answer = _get_json(f"{url.rstrip('/')}/prompt", timeout_seconds, session)
    length = as_mapping(as_mapping(answer).get("exec_info")).get("queue_remaining")
    if not isinstance(length, int):
        raise Failure("http-body", f"{url} did not answer as a ComfyUI does.")
    return length


def read_system_stats(
    url: str, *, timeout_seconds: float = _REQUEST_SECONDS, session: HttpSession | None = None
) -> SystemStats:
    """Return the system statistics of a server.

    Args:
        url: The address of the server.
        timeout_seconds: Time limit, without a session.
        session: The HTTP session to use; a new connection when None.

    Raises:
        Failure: `http-unreachable`, `http-status` or `http-body`.
    """
    answer = as_mapping(_get_json(f"{url.rstrip('/')}/system_stats", timeout_seconds, session))
    system = answer.get("system")
    if not isinstance(system, dict):
        raise Failure("http-body", f"{url} did not answer as a ComfyUI does.")
    argv = [text for text in as_list(system.get("argv")) if isinstance(text, str)]
    devices = [_parse_device(device) for device in as_list(answer.get("devices"))]
    return SystemStats(as_text(system.get("comfyui_version")), tuple(argv), tuple(devices))


def _get_json(url: str, timeout_seconds: float, session: HttpSession | None) -> object:
    if session is not None:
        return session.get_json(url)
    return get_json(url, timeout_seconds=timeout_seconds)


def _parse_device(value: object) -> ComputeDevice:
    facts = as_mapping(value)
    return ComputeDevice(
        type=as_text(facts.get("type")) or "",
        name=as_text(facts.get("name")) or "",
        memory_total_bytes=_as_whole(facts.get("vram_total")),
        memory_free_bytes=_as_whole(facts.get("vram_free")),
        reserved_bytes=_as_whole(facts.get("torch_vram_total")),
        reserved_free_bytes=_as_whole(facts.get("torch_vram_free")),
    )


def _as_whole(value: object) -> int | None:
    return value if isinstance(value, int) else None
