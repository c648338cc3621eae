"""The panel's HTTP routes, with the paths of comfygit: state, restart, stop, and switch of the supervised ComfyUI."""

from __future__ import annotations

import asyncio
import ipaddress
import json
import logging
import os
import sys
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import urlsplit

import aiohttp
from aiohttp import web

from . import spawning
from . import workspace_files as files

LOGGER = logging.getLogger("comfywatchman.panel")

PREFIX = "/v2/comfygit"
RESTART_STATUS = 42
SWITCH_STATUS = 43
RESTART_DELAY_SECONDS = 0.3
SWITCH_DELAY_SECONDS = 2.0
"""comfygit's delays, so that the answer reaches the page before ComfyUI exits."""
UNAVAILABLE = 503
DEFAULT_PORT = 8188
MAX_NAME_LENGTH = 255
MAX_BODY_BYTES = 1 << 16

Handler = Callable[[Any], Awaitable[Any]]


class Refusal(Exception):
    """A request that is not carried out, with the answer to it."""

    def __init__(self, status: int, error: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.body = {"error": error, "message": message}


def register(server: Any, settings: files.PanelSettings) -> bool:
    """Add the routes to ComfyUI's server; return whether they were added.

    comfygit's own manager serves the same paths, and a path that is added twice ends ComfyUI.
    """
    panel = Panel(server, settings)
    taken = {getattr(route, "path", None) for route in server.routes}
    if has_comfygit_manager(os.path.dirname(settings.folder)) or taken & {path for _, path, _ in panel.routes()}:
        LOGGER.warning("comfywatchman panel: ComfyGit Manager is installed; its panel is used instead of this one.")
        return False
    for method, path, handler in panel.routes():
        server.routes.route(method, path)(_answer_refusals(handler))
    if not files.is_supervised() and files.is_switch_locked(settings):
        LOGGER.warning("comfywatchman panel: this ComfyUI was started by hand while a switch is running.")
    return True


def has_comfygit_manager(custom_nodes: str) -> bool:
    """Return whether ComfyGit Manager is among the node packs, which may be loaded later than this one."""
    try:
        names = os.listdir(custom_nodes)
    except OSError:
        return False
    # ComfyUI skips folders whose name ends so.
    names = [name for name in names if not name.endswith(".disabled")]
    return any(os.path.isfile(os.path.join(custom_nodes, name, "server", "comfygit_panel.py")) for name in names)


class Panel:
    """The handlers of one ComfyUI server."""

    def __init__(self, server: Any, settings: files.PanelSettings) -> None:
        self.server = server
        self.settings = settings
        self.exit_status: int | None = None

    def routes(self) -> list[tuple[str, str, Handler]]:
        """Return method, path and handler of each route."""
        orchestrator = f"{PREFIX}/orchestrator"
        return [
            ("GET", f"{orchestrator}/health", self.get_health),
            ("GET", f"{orchestrator}/status", self.get_status),
            ("POST", f"{orchestrator}/restart", self.restart),
            ("POST", f"{orchestrator}/kill", self.kill),
            ("GET", f"{PREFIX}/environments", self.list_environments),
            ("GET", f"{PREFIX}/switch_status", self.get_switch_status),
            ("POST", f"{PREFIX}/switch_environment", self.switch_environment),
        ]

    async def get_health(self, _request: Any) -> Any:
        """Answer with the health that the supervisor reports."""
        return _answer(*await self.ask_supervisor("GET", "/health"))

    async def get_status(self, _request: Any) -> Any:
        """Answer with the status that the supervisor reports."""
        return _answer(*await self.ask_supervisor("GET", "/status"))

    async def restart(self, request: Any) -> Any:
        """Restart ComfyUI through the supervisor, or by exit status 42 when its control server is not there."""
        self.check_sender(request)
        self.check_idle(await _read_object(request))
        # The queue was looked at here, more freshly than the supervisor did.
        status, body = await self.ask_supervisor("POST", "/restart", {"force": True})
        if status != UNAVAILABLE:
            return _answer(status, body)
        if not files.is_supervised():
            raise Refusal(409, "not_supervised", "ComfyUI was started by hand, so nothing would start it again.")
        self.exit_soon(RESTART_STATUS, RESTART_DELAY_SECONDS)
        return _answer(200, {"status": "restarting", "message": "ComfyUI exits and is started again."})

    async def kill(self, request: Any) -> Any:
        """Stop ComfyUI and the supervisor."""
        self.check_sender(request)
        self.check_idle(await _read_object(request))
        return _answer(*await self.ask_supervisor("POST", "/stop", {"force": True}))

    async def list_environments(self, _request: Any) -> Any:
        """Answer with the names of the environments."""
        names = files.list_environments(self.settings)
        current = self.find_environment()
        body = {
            "environments": [{"name": name, "is_current": name == current} for name in names],
            "current": current,
            "is_managed": current is not None,
            "is_supervised": files.is_supervised(),
            "orchestrator_active": files.is_orchestrator_running(self.settings),
        }
        return _answer(200, body)

    async def get_switch_status(self, _request: Any) -> Any:
        """Answer with the progress of the present or last switch."""
        idle = {"state": "idle", "progress": 0, "message": "No switch is running."}
        return _answer(200, files.read_switch_status(self.settings) or idle)

    async def switch_environment(self, request: Any) -> Any:
        """Switch to another environment: through the supervisor, or by exit status 43."""
        self.check_sender(request)
        content = await _read_object(request)
        target = _parse_target(content)
        if target not in files.list_environments(self.settings):
            raise Refusal(404, "environment_not_found", f"There is no environment {target!r}.")
        if self.exit_status is not None or files.is_switch_locked(self.settings):
            raise Refusal(409, "Environment switch already in progress", "Wait until the switch has ended.")
        self.check_idle(content)
        if files.is_supervised():
            status, body = await self.ask_supervisor("POST", "/switch", {"target_env": target, "force": True})
            if status != UNAVAILABLE:
                return _answer(status, body)
        elif files.is_orchestrator_running(self.settings):
            message = "A supervisor runs for this workspace, and it did not start this ComfyUI."
            raise Refusal(409, "orchestrator_active", message)
        try:
            self.prepare_switch(target)
        except OSError as error:
            files.delete_switch_request(self.settings)
            raise Refusal(500, "switch_failed", f"The switch could not be prepared: {error.strerror}.") from error
        self.exit_soon(SWITCH_STATUS, SWITCH_DELAY_SECONDS)
        return _answer(200, {"status": "switching", "message": f"Switching to {target}.", "target_env": target})

    def prepare_switch(self, target: str) -> None:
        """Write the switch request, and start a supervisor unless one runs."""
        environment = self.find_environment()
        if not spawning.should_spawn(self.settings):
            files.write_switch_request(self.settings, target, environment)
            return
        if not os.path.isfile(self.settings.orchestrator[0]):
            message = "The supervisor's Python environment is missing. Run: comfywatchman supervise install-panel"
            raise Refusal(503, "orchestrator_venv_missing", message)
        spawning.record_start(self.settings, environment, int(getattr(self.server, "port", 0) or DEFAULT_PORT))
        # The request comes first: the supervisor may read it as soon as it runs.
        files.write_switch_request(self.settings, target, environment)
        spawning.spawn_orchestrator(self.settings, environment)

    def check_sender(self, request: Any) -> None:
        """Refuse requests from other machines, and from pages of other sites.

        Such a page can neither send JSON unasked nor name this host, whatever its own name resolves to.
        """
        host = request.headers.get("Host", "").lower()
        origin = request.headers.get("Origin")
        if request.content_type != "application/json":
            raise Refusal(415, "json_required", "Send the request as application/json.")
        if origin is not None and urlsplit(origin).netloc.lower() != host:
            raise Refusal(403, "forbidden_origin", "The request comes from the page of another site.")
        is_local = _is_loopback(request.remote or "") and _is_loopback(urlsplit(f"//{host}").hostname or "")
        if not self.settings.allow_remote and not is_local:
            raise Refusal(403, "forbidden_host", "Only this machine may do this; see allow_remote in panel.json.")

    def check_idle(self, content: dict[str, Any]) -> None:
        """Refuse while there is work, which an end of ComfyUI loses, unless `"force": true` accepts that."""
        count = int(self.server.prompt_queue.get_tasks_remaining())
        if count and content.get("force") is not True:
            message = f"Prompts that run or wait: {count}. They would be lost; try again when they are done."
            raise Refusal(409, "queue_not_empty", message)

    def find_environment(self) -> str | None:
        """Return the environment that this ComfyUI belongs to."""
        module = getattr(sys.modules.get("server"), "__file__", None) or sys.argv[0]
        return files.find_own_environment(self.settings, os.path.dirname(os.path.abspath(module)))

    def exit_soon(self, status: int, delay_seconds: float) -> None:
        """Exit after the answer was sent. Not sys.exit(): in a handler it would only end the request."""
        self.exit_status = status
        self.server.loop.call_later(delay_seconds, _exit, status)

    async def ask_supervisor(self, method: str, path: str, body: dict[str, Any] | None = None) -> tuple[int, Any]:
        """Return the status and body of the supervisor's answer; 503 when there is none."""
        port, token = files.read_control_port(self.settings), files.read_control_token(self.settings)
        if port is None or token is None or not files.is_orchestrator_running(self.settings):
            return 503, _error("orchestrator_unavailable", "No supervisor with a control server is running.")
        headers = {"Authorization": f"Bearer {token}"}
        try:
            timeout = aiohttp.ClientTimeout(total=5)
            async with (
                aiohttp.ClientSession(timeout=timeout, headers=headers) as session,
                session.request(method, f"http://127.0.0.1:{port}{path}", json=body, allow_redirects=False) as response,
            ):
                return response.status, await response.json()
        # Before Python 3.11, which ComfyUI supports too, this is not the built-in TimeoutError.
        except (aiohttp.ClientError, asyncio.TimeoutError, OSError, ValueError):  # noqa: UP041
            return 503, _error("orchestrator_unreachable", "The supervisor does not answer.")


def _answer_refusals(handler: Handler) -> Handler:
    async def handle(request: Any) -> Any:
        try:
            return await handler(request)
        except Refusal as refusal:
            return _answer(refusal.status, refusal.body)

    return handle


async def _read_object(request: Any) -> dict[str, Any]:
    try:
        body = await request.read()
        content = json.loads(body) if 0 < len(body) <= MAX_BODY_BYTES else None
    except (ValueError, RecursionError):
        content = None
    return content if isinstance(content, dict) else {}


def _parse_target(content: dict[str, Any]) -> str:
    target = content.get("target_env")
    if not isinstance(target, str) or not 0 < len(target) <= MAX_NAME_LENGTH:
        raise Refusal(400, "target_env required", 'Send {"target_env": NAME} as JSON.')
    return target


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    # A socket for both families shows an IPv4 peer as `::ffff:127.0.0.1`.
    mapped = getattr(address, "ipv4_mapped", None)
    return (mapped or address).is_loopback


def _exit(status: int) -> None:
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def _answer(status: int, body: Any) -> Any:
    return web.json_response(body, status=status)


def _error(error: str, message: str) -> dict[str, str]:
    return {"error": error, "message": message}
