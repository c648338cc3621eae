"""Checks of the running ComfyUI and of the sites that are searched."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

from comfywatchman.app.doctor.check import CheckState, DoctorCheck
from comfywatchman.app.session import Session
from comfywatchman.base.address import printable_url
from comfywatchman.base.errors import Failure

_TIMEOUT_SECONDS: Final = 5.0


def check_server(session: Session) -> Iterator[DoctorCheck]:
    """Check whether ComfyUI answers at the configured address; it need not run."""
    from comfywatchman.comfyui.server.api import probe_server

    url = session.settings.comfyui.url
    if not url:
        yield DoctorCheck("Server", CheckState.SKIP, "no address in [comfyui] url")
        return
    running = probe_server(url, timeout_seconds=_TIMEOUT_SECONDS)
    if running is None:
        finding = f"not running at {url}; node classes are read from source"
        yield DoctorCheck("Server", CheckState.OK, finding)
    else:
        yield DoctorCheck("Server", CheckState.OK, f"ComfyUI {running.version or ''} answers at {url}")


def check_sites(session: Session) -> Iterator[DoctorCheck]:
    """Check that the sites for models and nodes can be reached, all at once."""
    settings = session.settings
    sites = {"Civitai": settings.search.civitai_url, "Hugging Face": settings.search.huggingface_url}
    if settings.nodes.ask_registry:
        sites["Comfy Registry"] = settings.nodes.registry_url
    configured = {name: url for name, url in sites.items() if url}
    if not configured:
        yield DoctorCheck("Network", CheckState.SKIP, "no site is configured")
        return
    with ThreadPoolExecutor(len(configured)) as threads:
        problems = dict(zip(configured, threads.map(_find_problem, configured.values()), strict=True))
    lost = {name: problem for name, problem in problems.items() if problem}
    answering = " and ".join(name for name in configured if name not in lost)
    if not lost:
        yield DoctorCheck("Network", CheckState.OK, f"{answering} can be reached")
        return
    reasons = "; ".join(f"{name} ({problem})" for name, problem in lost.items())
    step = "Check the connection, or set HTTPS_PROXY."
    if answering:
        step += f" {answering} can be reached."
    yield DoctorCheck("Network", CheckState.WARN, f"couldn't reach {reasons}", step)


def check_language_model(session: Session) -> Iterator[DoctorCheck]:
    """Check the language model that ranks search results; the search works without one."""
    from comfywatchman.readiness.search.results import HOW_TO_ADD_A_MODEL
    from comfywatchman.sources.llm.detection import detect_language_model

    section = session.settings.llm
    if section.driver == "none":
        yield DoctorCheck("Language model", CheckState.SKIP, 'switched off ([llm] driver = "none")')
        return
    if section.driver == "auto":
        found = detect_language_model(section, Path.home())
        if found is None:
            yield DoctorCheck("Language model", CheckState.SKIP, f"none; to add one, {HOW_TO_ADD_A_MODEL}")
        else:
            finding = f"{found.model} of {found.program} at {found.base_url}"
            yield DoctorCheck("Language model", CheckState.OK, finding)
        return
    problem = _find_problem(section.base_url)
    if problem:
        step = "Start the server, or correct [llm] base_url."
        yield DoctorCheck("Language model", CheckState.WARN, f"couldn't reach the server ({problem})", step)
    else:
        yield DoctorCheck("Language model", CheckState.OK, f"{section.model} at {printable_url(section.base_url)}")


def _find_problem(url: str) -> str:
    """Return why a site cannot be reached; empty when it answers, whatever it says."""
    from comfywatchman.base.http import HttpSession

    try:
        with HttpSession(timeout_seconds=_TIMEOUT_SECONDS, max_bytes=1 << 20) as http:
            http.get_json(url)
    except Failure as failure:
        # Any answer will do: these addresses have pages for people.
        if failure.code == "http-unreachable":
            return failure.message.rstrip(".")
    return ""
