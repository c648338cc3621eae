"""Finds a Qwen model on this machine for `[llm] driver = "auto"`; nothing off this machine is ever contacted."""

from __future__ import annotations

import ipaddress
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import msgspec

from comfywatchman.base.address import parse_address
from comfywatchman.base.errors import Failure
from comfywatchman.base.files import read_regular
from comfywatchman.base.http import HttpSession, is_listening
from comfywatchman.base.json_values import as_list, as_mapping, decode_json
from comfywatchman.base.settings import LlmSection

LOOPBACK_PORTS: Final[Mapping[int, str]] = {11434: "Ollama", 8080: "llama.cpp", 1234: "LM Studio", 8000: "vLLM"}
"""The usual ports of servers with OpenAI's API, and their programs."""

_QWEN: Final = "qwen"
_SPECIALISED: Final = ("embed", "rerank", "coder", "-vl", "vl:", "asr", "tts", "omni", "image", "audio")
_CONNECT_SECONDS: Final = 0.1
_RESPONSE_SECONDS: Final = 0.5
_MAX_BYTES: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class DetectedModel:
    """A Qwen model of this machine.

    Attributes:
        driver: How to ask it.
        base_url: Address of its server, up to `/v1`.
        model: Its name on the server.
        program: What offers it, for people.
    """

    driver: Literal["openai", "qwen-cli"]
    base_url: str
    model: str
    program: str


def detect_language_model(
    section: LlmSection, home: Path, ports: Mapping[int, str] = LOOPBACK_PORTS
) -> DetectedModel | None:
    """Return the Qwen model that `driver = "auto"` uses: that of the qwen command line, else that of a local server.

    Takes at most half a second for each server that accepts connections and does not answer.

    Args:
        section: `[llm]`; its model is preferred where a server offers it.
        home: Home folder of the user, with `.qwen/settings.json`.
        ports: Ports on loopback to try in this order, and their programs.
    """
    if shutil.which(section.command) is not None:
        command_line = read_qwen_settings(_read_json(home / ".qwen" / "settings.json"))
        if command_line is not None and _is_answering(command_line.base_url):
            return command_line
    for port in find_listening_ports(ports):
        base_url = f"http://127.0.0.1:{port}/v1"
        model = choose_qwen_model(_list_models(base_url), section.model)
        if model is not None:
            return DetectedModel("openai", base_url, model, ports[port])
    return None


def find_listening_ports(ports: Iterable[int] = LOOPBACK_PORTS) -> tuple[int, ...]:
    """Return the ports of this machine that accept connections; takes no time where nothing listens."""
    return tuple(port for port in ports if is_listening("127.0.0.1", port, timeout_seconds=_CONNECT_SECONDS))


def apply_detection(section: LlmSection, detected: DetectedModel | None) -> LlmSection:
    """Return `[llm]` with what `driver = "auto"` stands for; `none` where nothing was found."""
    if section.driver != "auto":
        return section
    if detected is None:
        return msgspec.structs.replace(section, driver="none")
    return msgspec.structs.replace(section, driver=detected.driver, base_url=detected.base_url, model=detected.model)


def choose_qwen_model(names: Sequence[str], preferred: str) -> str | None:
    """Return the Qwen model to use among those of a server; None if it offers none that answers questions. Pure.

    Args:
        names: Names of the server's models.
        preferred: Taken if it is among them and a Qwen model.
    """
    qwen = [name for name in names if _QWEN in name.lower()]
    if preferred in qwen:
        return preferred
    general = [name for name in qwen if not any(word in name.lower() for word in _SPECIALISED)]
    return next(iter(general), None)


def read_qwen_settings(settings: object) -> DetectedModel | None:
    """Return the Qwen model on this machine that the qwen command line is set up with; None for any other. Pure.

    Args:
        settings: The content of `~/.qwen/settings.json`; its keys are not read.
    """
    content = as_mapping(settings)
    environment = as_mapping(content.get("env"))
    named = as_mapping(content.get("model")).get("name") or environment.get("OPENAI_MODEL")
    auth = as_mapping(as_mapping(content.get("security")).get("auth"))
    places = [(auth.get("baseUrl") or environment.get("OPENAI_BASE_URL"), named)]
    for provider in as_list(as_mapping(content.get("modelProviders")).get("openai")):
        entry = as_mapping(provider)
        places.append((entry.get("baseUrl"), entry.get("id")))
    for base_url, model in places:
        if isinstance(base_url, str) and isinstance(model, str) and _QWEN in model.lower() and is_on_loopback(base_url):
            return DetectedModel("qwen-cli", base_url, model, "the qwen command line")
    return None


def is_on_loopback(url: str) -> bool:
    """Return whether an address leads to this machine, whatever its name resolves to."""
    try:
        host = parse_address(url).host
        return host == "localhost" or ipaddress.ip_address(host.strip("[]")).is_loopback
    except (Failure, ValueError):
        return False


def _is_answering(url: str) -> bool:
    address = parse_address(url)
    return is_listening(address.host.strip("[]"), address.port, timeout_seconds=_CONNECT_SECONDS)


def _list_models(base_url: str) -> tuple[str, ...]:
    """Return the names of a server's models; none if it does not answer in time as such a server."""
    try:
        with HttpSession(timeout_seconds=_RESPONSE_SECONDS, max_bytes=_MAX_BYTES) as session:
            # Without redirects, which could lead off this machine.
            content = session.get(f"{base_url}/models", redirects="none").parse_json()
    except Failure:
        return ()
    ids = [as_mapping(entry).get("id") for entry in as_list(as_mapping(content).get("data"))]
    return tuple(name for name in ids if isinstance(name, str))


def _read_json(path: Path) -> object:
    try:
        return decode_json(read_regular(path, max_bytes=_MAX_BYTES), object)
    except (Failure, msgspec.MsgspecError, RecursionError):
        return None
