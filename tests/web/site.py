"""The web page of a small host, asked through ASGI."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import httpx
from starlette.types import ASGIApp

from comfywatchman.app.jobs import JobAgent
from comfywatchman.app.pages.page_host import PageHost
from comfywatchman.app.session import Session
from comfywatchman.base.clock import SystemClock
from comfywatchman.jobs.store.job_store import JobStore
from comfywatchman.web.application import build_application
from comfywatchman.web.security.request_guard import LOOPBACK_HOSTS, GuardPolicy
from comfywatchman.web.security.web_secrets import WebSecrets
from comfywatchman.web.web_options import WebOptions

ORIGIN = "http://127.0.0.1:8189"


@dataclass(frozen=True)
class Site:
    """The page of a host.

    Attributes:
        host: The host.
        secrets: The secrets of the page.
        application: The application.
        client: A browser that has signed in, and sends what browsers send.
        guest: A browser that has not.
    """

    host: PageHost
    secrets: WebSecrets
    application: ASGIApp
    client: httpx.Client
    guest: httpx.Client

    @property
    def store(self) -> JobStore:
        """The queue."""
        return self.host.store


def build_site(
    home: Path | None,
    store: JobStore,
    *,
    base_path: str = "",
    needs_session_to_read: bool = False,
    comfyui: Path | None = None,
) -> Site:
    """Return the page of a host; without a home, of the one that is found as commands find it."""
    session = Session(home, None, comfyui_option=comfyui)
    host = PageHost(session, JobAgent(session), store)
    secrets = WebSecrets(session.home_layout.home.state / "web")
    policy = GuardPolicy(LOOPBACK_HOSTS, needs_session_to_read=needs_session_to_read)
    application = build_application(host, WebOptions(policy, base_path), secrets, now=SystemClock().now)
    client, guest = open_browser(application), open_browser(application)
    code = secrets.create_code(SystemClock().now())
    response = client.post(f"{base_path}/sign-in", data={"code": code}, follow_redirects=False)
    assert response.status_code == 303, response.text
    return Site(host, secrets, application, client, guest)


class AsgiTransport(httpx.BaseTransport):
    """Sends requests to an application without a network."""

    def __init__(self, application: ASGIApp) -> None:
        self._transport = httpx.ASGITransport(application)

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        async def send() -> httpx.Response:
            response = await self._transport.handle_async_request(request)
            content = await response.aread()
            return httpx.Response(response.status_code, headers=response.headers, content=content, request=request)

        # In a thread of its own: the browser tests have an event loop in this one.
        with ThreadPoolExecutor(1) as executor:
            return executor.submit(lambda: asyncio.run(send())).result()


def open_browser(application: ASGIApp, cookies: httpx.Cookies | None = None, *, is_plain: bool = False) -> httpx.Client:
    """Return a client that sends the headers of a browser on the page itself; a plain one sends none of its own."""
    headers = {} if is_plain else {"Origin": ORIGIN, "Sec-Fetch-Site": "same-origin"}
    transport = AsgiTransport(application)
    client = httpx.Client(transport=transport, base_url=ORIGIN, headers=headers, cookies=cookies, follow_redirects=True)
    if is_plain:
        client.headers.clear()
    return client
