"""The routes of the pages and of their buttons."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import parse_qsl

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Route

from comfywatchman.app.pages.attention import list_needed_actions
from comfywatchman.app.pages.page_host import PageHost
from comfywatchman.app.pages.page_request import ActionRequest, PageRequest
from comfywatchman.app.pages.status_sentence import StatusSentence, build_status_sentence
from comfywatchman.base.errors import Failure
from comfywatchman.jobs.records import Actor, Interface
from comfywatchman.web.failure_status import find_status
from comfywatchman.web.guard_middleware import CONTENT_POLICY, COOKIE, WebIdentity, read_cookie
from comfywatchman.web.page_registry import ACTIONS, PAGES, Page, PageAction
from comfywatchman.web.rendering import COMMON_PARTS, PageRenderer, compute_tag
from comfywatchman.web.security.web_secrets import SESSION_DAYS
from comfywatchman.web.web_options import WebOptions

THEMES: Final = ("auto", "light", "dark")
THEME_COOKIE: Final = "comfywatchman_theme"
NOTICE_COOKIE: Final = "comfywatchman_notice"
POLICY_OF_3D: Final = (
    CONTENT_POLICY.replace("img-src 'self'", "img-src 'self' blob: data:")
    .replace("script-src 'self'", "script-src 'self' 'wasm-unsafe-eval'")
    .replace("style-src 'self'", "style-src 'self' 'unsafe-inline'")
    .replace("connect-src 'self'", "connect-src 'self' blob: data:")
    + "; worker-src 'self' blob:"
)
"""The 3D viewer has its styles and a WebAssembly decoder for meshes inside, and unpacks textures into blobs."""

_PATHS: Final = frozenset(page.path for page in PAGES)
_MAX_NOTICE: Final = 500
_MAX_FIELDS: Final = 1000
_YEAR_SECONDS: Final = 365 * 86400


@dataclass(frozen=True, slots=True)
class NavigationCount:
    """A number beside an entry of the navigation, with its colour and its words for a screen reader."""

    number: int
    tone: str
    words: str


@dataclass(frozen=True, slots=True)
class FailureView:
    """A page about something that did not work."""

    message: str
    hint: str = ""
    code: str = ""


@dataclass(frozen=True, slots=True)
class SignInView:
    """The sign-in page; `is_wrong` after a wrong code."""

    is_wrong: bool = False


class PageRoutes:
    """The pages, their buttons, and signing in and out.

    Args:
        host: The host that is shown.
        options: What the server was started with.
        identity: Recognises sessions.
    """

    def __init__(self, host: PageHost, options: WebOptions, identity: WebIdentity) -> None:
        self._host = host
        self._base_path = options.base_path
        self._identity = identity
        self._renderer = PageRenderer(options.base_path)

    def build_routes(self) -> list[Route]:
        """Return the routes."""
        routes = [
            Route("/sign-in", self._show_sign_in, methods=["GET"]),
            Route("/sign-in", self._sign_in, methods=["POST"]),
            Route("/sign-out", self._sign_out, methods=["POST"]),
            Route("/theme", self._set_theme, methods=["POST"]),
        ]
        routes += [Route(f"/{action.path}", self._build_action(action), methods=["POST"]) for action in ACTIONS]
        routes += [Route(f"/{page.path}", self._build_page(page), methods=["GET"]) for page in PAGES]
        return routes

    def _build_page(self, page: Page) -> Any:
        async def show(request: Request) -> Response:
            return await run_in_threadpool(self._show_page, page, request)

        return show

    def _show_page(self, page: Page, request: Request) -> Response:
        # No value in a state file or database holds a zero byte, and PostgreSQL refuses queries with one.
        query = {name: value.replace("\0", "") for name, value in request.query_params.items()}
        path = {name: value.replace("\0", "") for name, value in request.path_params.items()}
        fragment = query.pop("fragment", None)
        asked = PageRequest(self._host.for_request(), self._identity.now(), path, query, fragment)
        try:
            # The parts of every page need nothing of this page.
            view = None if fragment in COMMON_PARTS else page.view(asked)
        except Failure as failure:
            return self._show_failure(request, failure)
        values = self._collect_values(page, view, request, asked)
        content = self._render(page.template, fragment, values)
        if content is None:
            return self._show_failure(request, title="Not found", view=FailureView("The page has no such part."))
        tag = compute_tag(content)
        headers = {"ETag": f'"{tag}"', "HX-PTag": tag, "Vary": "Cookie"}
        if page.has_3d:
            headers["Content-Security-Policy"] = POLICY_OF_3D
        known = request.headers.get("hx-ptag") if fragment else request.headers.get("if-none-match", "").strip('W/"')
        notice = read_cookie(request.headers, NOTICE_COOKIE)
        if known == tag:
            return Response(status_code=HTTPStatus.NOT_MODIFIED, headers=headers)
        response = HTMLResponse(content, headers=headers)
        if notice and not fragment:
            response.delete_cookie(NOTICE_COOKIE, path=f"{self._base_path}/")
        return response

    def _render(self, template: str, fragment: str | None, values: Mapping[str, Any]) -> str | None:
        if fragment is None:
            return self._renderer.render(template, values)
        return self._renderer.render_block(template, fragment, values)

    def _collect_values(self, page: Page, view: Any, request: Request, asked: PageRequest) -> dict[str, Any]:
        needed = list_needed_actions(asked.host, asked.now)
        head = build_status_sentence(asked.host, asked.now, needs_you=len(needed))
        theme = read_cookie(request.headers, THEME_COOKIE)
        path = request.scope["path"].lstrip("/")
        query = {name: value for name, value in asked.query.items() if name != "fragment"}

        def build_fragment_url(block: str, more: Mapping[str, object]) -> str:
            return self._renderer.build_url(path, **{**query, **more, "fragment": block})

        return {
            "page": page,
            "pages": [entry for entry in PAGES if entry.label],
            "section": page.label or _find_section(page),
            "counts": _count_for_navigation(head),
            "head": head,
            "view": view,
            "now": asked.now,
            "query": query,
            "is_signed_in": request.state.is_signed_in,
            "theme": theme if theme in THEMES else "auto",
            "notice": _decode_notice(read_cookie(request.headers, NOTICE_COOKIE)),
            "here": self._renderer.build_url(path, **query).removeprefix(f"{self._base_path}/"),
            "fragment_url": build_fragment_url,
            "has_page": _PATHS.__contains__,
            "command": asked.host.session.format_command,
            "complete": asked.host.session.complete_commands,
        }

    def _show_failure(
        self,
        request: Request,
        failure: Failure | None = None,
        *,
        title: str = "This did not work",
        view: FailureView | None = None,
        status: HTTPStatus = HTTPStatus.NOT_FOUND,
    ) -> Response:
        if failure is not None:
            view = FailureView(failure.message, failure.hint or "", failure.code)
            status = find_status(failure.code)
        page = Page("", title, lambda _: None, "failure.html")
        asked = PageRequest(self._host.for_request(), self._identity.now())
        values = self._collect_values(page, view, request, asked)
        return HTMLResponse(self._renderer.render(page.template, values), status)

    def show_missing(self, request: Request, _error: Exception) -> Response:
        """Return the page for an address that does not exist."""
        view = FailureView("There is no page at this address.")
        return self._show_failure(request, title="Not found", view=view)

    def _build_action(self, action: PageAction) -> Any:
        async def run(request: Request) -> Response:
            form = await read_form(request)
            return await run_in_threadpool(self._run_action, action, request, form)

        return run

    def _run_action(self, action: PageAction, request: Request, form: Mapping[str, str]) -> Response:
        client = request.client.host if request.client else "unknown"
        actor = Actor(f"web {client}", Interface.WEB)
        asked = ActionRequest(self._host, self._identity.now(), actor, dict(request.path_params), form)
        try:
            check_form(form)
            result = action.run(asked)
        except Failure as failure:
            return self._show_failure(request, failure)
        response = RedirectResponse(self._renderer.build_link(result.next_page), HTTPStatus.SEE_OTHER)
        self._set_cookie(response, request, NOTICE_COOKIE, _encode_notice(result.sentence), seconds=60)
        return response

    async def _show_sign_in(self, request: Request) -> Response:
        return await run_in_threadpool(self._render_sign_in, request, SignInView(), HTTPStatus.OK)

    def _render_sign_in(self, request: Request, view: SignInView, status: HTTPStatus) -> Response:
        page = Page("sign-in", "Sign in", lambda _: view, "sign_in.html")
        asked = PageRequest(self._host.for_request(), self._identity.now())
        values = self._collect_values(page, view, request, asked)
        return HTMLResponse(self._renderer.render(page.template, values), status)

    async def _sign_in(self, request: Request) -> Response:
        form = await read_form(request)
        return await run_in_threadpool(self._check_code, request, form.get("code", ""))

    def _check_code(self, request: Request, code: str) -> Response:
        now = self._identity.now()
        try:
            if not self._identity.secrets.use_code(code, now):
                return self._render_sign_in(request, SignInView(is_wrong=True), HTTPStatus.FORBIDDEN)
            cookie = self._identity.cookies.create(now)
        except Failure as failure:
            return self._show_failure(request, failure)
        response = RedirectResponse(self._renderer.build_url(""), HTTPStatus.SEE_OTHER)
        self._set_cookie(response, request, COOKIE, cookie, seconds=SESSION_DAYS * 86400)
        return response

    async def _sign_out(self, _request: Request) -> Response:
        response = RedirectResponse(self._renderer.build_url(""), HTTPStatus.SEE_OTHER)
        response.delete_cookie(COOKIE, path=f"{self._base_path}/")
        return response

    async def _set_theme(self, request: Request) -> Response:
        form = await read_form(request)
        theme = form.get("theme", "")
        # The URL begins with the base path, so a field with another site's address stays a path of this one.
        response = RedirectResponse(self._renderer.build_link(form.get("next", "")), HTTPStatus.SEE_OTHER)
        if theme in THEMES:
            self._set_cookie(response, request, THEME_COOKIE, theme, seconds=_YEAR_SECONDS)
        return response

    def _set_cookie(self, response: Response, request: Request, name: str, value: str, *, seconds: int) -> None:
        response.set_cookie(
            name,
            value,
            max_age=seconds,
            path=f"{self._base_path}/",
            secure=request.headers.get("x-forwarded-proto", request.url.scheme) == "https",
            httponly=True,
            samesite="strict",
        )


async def read_form(request: Request) -> dict[str, str]:
    """Return the fields of a form; of repeated names the last value."""
    body = await request.body()
    try:
        return dict(parse_qsl(body.decode("utf-8", "replace"), keep_blank_values=True, max_num_fields=_MAX_FIELDS))
    except ValueError:
        # Too many fields: no form of ours, so the action finds none of those that it needs.
        return {}


def check_form(form: Mapping[str, str]) -> None:
    """Check that no field holds a zero byte, which neither databases nor programs accept.

    Raises:
        Failure: `web-form-invalid`.
    """
    for name, value in form.items():
        if "\0" in value:
            raise Failure("web-form-invalid", f"The field {name} holds a zero byte.", hint="Load the page again.")


def _find_section(page: Page) -> str:
    first = page.path.split("/")[0]
    return next((entry.label for entry in PAGES if entry.path == first and entry.label), "")


def _count_for_navigation(head: StatusSentence) -> dict[str, NavigationCount]:
    counts = {}
    if head.needs_you:
        counts[""] = NavigationCount(
            head.needs_you, "need", "thing needs you" if head.needs_you == 1 else "things need you"
        )
    if head.failed:
        counts["queue"] = NavigationCount(head.failed, "bad", "failed job" if head.failed == 1 else "failed jobs")
    return counts


def _encode_notice(sentence: str) -> str:
    return base64.urlsafe_b64encode(sentence[:_MAX_NOTICE].encode()).decode("ascii")


def _decode_notice(value: str) -> str:
    try:
        return base64.urlsafe_b64decode(value.encode()).decode()
    except (binascii.Error, ValueError):
        return ""
