"""The panel's routes in a real aiohttp server instead of ComfyUI's, with a control server for it to ask."""

from __future__ import annotations

import asyncio
import http.client
import json
import threading
from collections.abc import Coroutine
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

from aiohttp import web

from comfywatchman.supervisor.panel.pack import routes
from comfywatchman.supervisor.panel.pack.workspace_files import PanelSettings
from tests.supervisor.workspace_builders import WorkspaceBuilder

ResultT = TypeVar("ResultT")


@dataclass
class PromptQueue:
    """ComfyUI's queue, as far as the panel asks it."""

    jobs: int = 0

    def get_tasks_remaining(self) -> int:
        return self.jobs


@dataclass
class ExitRecorder:
    """Takes the place of the event loop's timer: records the exit instead of carrying it out."""

    calls: list[tuple[float, int]] = field(default_factory=list)

    def call_later(self, delay: float, _callback: object, status: int) -> None:
        self.calls.append((delay, status))


@dataclass
class ComfyServer:
    """The attributes of ComfyUI's PromptServer that the panel uses."""

    routes: web.RouteTableDef = field(default_factory=web.RouteTableDef)
    loop: ExitRecorder = field(default_factory=ExitRecorder)
    prompt_queue: PromptQueue = field(default_factory=PromptQueue)
    port: int = 8189


@dataclass
class ControlServer:
    """A supervisor's control server: records requests, and answers as it is told."""

    port: int = 0
    status: int = 200
    body: bytes = b'{"status": "ok"}'
    delay_seconds: float = 0.0
    requests: list[tuple[str, str, str, str]] = field(default_factory=list)

    async def handle(self, request: web.Request) -> web.Response:
        text = await request.text()
        self.requests.append((request.method, request.path, request.headers.get("Authorization", ""), text))
        await asyncio.sleep(self.delay_seconds)
        return web.Response(status=self.status, body=self.body, content_type="application/json")


class PanelHost:
    """A workspace with a ComfyUI server that has the panel."""

    def __init__(self, folder: Path) -> None:
        self.workspace = folder / "ws"
        self.metadata = self.workspace / ".metadata"
        WorkspaceBuilder(self.workspace).add_environment("dev").add_environment("main").build()
        self.settings = PanelSettings(
            folder=str(folder / "custom_nodes" / "panel"),
            workspace=str(self.workspace),
            metadata=str(self.metadata),
            environment_files="environments/*/ComfyUI/main.py",
            orchestrator=(str(folder / "absent" / "python"), "run"),
            venv_command=(str(folder / "absent" / "python"), "venv"),
        )
        self.server = ComfyServer()
        self.control = ControlServer()
        self.port = 0
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()
        self._runners: list[web.AppRunner] = []

    @property
    def exits(self) -> list[tuple[float, int]]:
        return self.server.loop.calls

    def start(self, **changes: Any) -> None:
        """Serve the panel, with other settings than those of a fresh workspace."""
        self.settings = replace(self.settings, **changes)
        assert routes.register(self.server, self.settings)
        application = web.Application()
        application.add_routes(self.server.routes)
        self.port = self._serve(application)

    def start_control(self) -> None:
        application = web.Application()
        application.router.add_route("*", "/{path:.*}", self.control.handle)
        self.control.port = self._serve(application)

    def ask(
        self, method: str, path: str, body: object = None, *, headers: dict[str, str] | None = None
    ) -> tuple[int, Any]:
        """Send a request as the panel's page does and return status and JSON."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        sent = {"Content-Type": "application/json"} if method == "POST" else {}
        text = body if isinstance(body, bytes | None) else json.dumps(body).encode()
        try:
            connection.request(method, f"/v2/comfygit{path}", text, {**sent, **(headers or {})})
            response = connection.getresponse()
            return response.status, json.loads(response.read())
        finally:
            connection.close()

    def stop(self) -> None:
        for runner in self._runners:
            self._call(runner.cleanup())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _serve(self, application: web.Application) -> int:
        async def serve() -> int:
            runner = web.AppRunner(application, shutdown_timeout=0)
            await runner.setup()
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            self._runners.append(runner)
            return int(runner.addresses[0][1])

        return self._call(serve())

    def _call(self, coroutine: Coroutine[Any, Any, ResultT]) -> ResultT:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(30)
