"""The web application: pages, static files and the JSON API behind one guard."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Final

from starlette.applications import Starlette
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp

from comfywatchman.app.pages.page_host import PageHost
from comfywatchman.web.guard_middleware import GuardMiddleware, WebIdentity
from comfywatchman.web.json_api import build_api
from comfywatchman.web.output_routes import build_output_routes
from comfywatchman.web.page_routes import PageRoutes
from comfywatchman.web.security.web_secrets import SessionCookies, WebSecrets
from comfywatchman.web.web_options import WebOptions

STATIC: Final = Path(__file__).parent / "static"


def build_application(
    host: PageHost, options: WebOptions, secrets: WebSecrets, *, now: Callable[[], datetime]
) -> ASGIApp:
    """Return the application.

    Args:
        host: The host that is shown and changed.
        options: What the server was started with.
        secrets: The secrets of the page.
        now: Returns the present time.
    """
    identity = WebIdentity(secrets, SessionCookies(secrets.read_key), now)
    pages = PageRoutes(host, options, identity)
    api = build_api(host)
    routes = [
        Mount("/static", StaticFiles(directory=STATIC)),
        *build_output_routes(host),
        *pages.build_routes(),
        # The API answers what is left. Its own paths begin with /api, so that its description names them as they are.
        Route("/health", api, methods=["GET"]),
        Route("/api/{rest:path}", api),
    ]
    application = Starlette(routes=routes, exception_handlers={404: pages.show_missing})
    return GuardMiddleware(application, options, identity)
