"""Starting the web server: for `web`, and as a part of `jobs start`."""

from __future__ import annotations

import re
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, Final

import msgspec
import psutil

from comfywatchman.app.jobs import JobAgent
from comfywatchman.base.errors import Failure
from comfywatchman.base.settings import WebSection

if TYPE_CHECKING:
    from comfywatchman.app.session import Session
    from comfywatchman.jobs.store.job_store import JobStore
    from comfywatchman.web.security.web_secrets import WebSecrets

PACKAGES: Final = ("uvicorn", "starlette", "fastapi")
# From the checkout: the program is not published in a package index.
_INSTALL_HINT: Final = (
    "In the checkout: uv tool install --reinstall '.[web]'; with pipx: pipx install --force '.[web]'; "
    "in a virtual environment: pip install '.[web]'"
)
_BASE_PATH: Final = re.compile(r"(/[A-Za-z0-9._~-]+)*")
_ANY_ADDRESS: Final = frozenset({"0.0.0.0", "::"})  # noqa: S104 - the addresses that mean all of this machine


@dataclass(frozen=True, slots=True)
class ServedPage:
    """A page that is being served.

    Attributes:
        url: Its address for a browser on this machine.
        is_public: Whether other machines can reach it.
        require_running: Raises `web-ended` when the server has ended by itself.
    """

    url: str
    is_public: bool
    require_running: Callable[[], None]


def choose_address(section: WebSection, *, host: str | None, port: int | None, base_path: str | None) -> WebSection:
    """Return the settings with the options of the command in place of the configured values.

    Raises:
        Failure: `config-wrong-type` for a base path.
    """
    base = section.base_path if base_path is None else base_path.rstrip("/")
    if not _BASE_PATH.fullmatch(base):
        raise Failure("config-wrong-type", f"{base!r} is not a valid base path.", hint="Write it as /comfywatchman.")
    return msgspec.structs.replace(
        section,
        host=section.host if host is None else host,
        port=section.port if port is None else port,
        base_path=base,
    )


def find_missing_packages() -> list[str]:
    """Return the packages of the page that are not installed."""
    return [name for name in PACKAGES if find_spec(name) is None]


def require_packages() -> None:
    """Check that the packages of the page are installed.

    Raises:
        Failure: `web-extra-missing`.
    """
    missing = find_missing_packages()
    if missing:
        raise Failure(
            "web-extra-missing",
            f"Packages that serve pages and requests are not installed: {', '.join(missing)}.",
            hint=_INSTALL_HINT,
        )


def find_secrets(session: Session) -> WebSecrets:
    """Return the secrets of the page in the home of a session."""
    from comfywatchman.web.security.web_secrets import WebSecrets

    return WebSecrets(session.home_layout.home.state / "web")


def find_own_names(section: WebSection) -> frozenset[str]:
    """Return the names and addresses under which the page may be called.

    Other names that lead here are those of hostile sites (DNS rebinding), unless `[web] hosts` lists them.
    """
    from comfywatchman.web.security.request_guard import LOOPBACK_HOSTS, is_loopback

    names = LOOPBACK_HOSTS | {name.lower() for name in section.hosts}
    if is_loopback(section.host):
        return names | {section.host}
    if section.host not in _ANY_ADDRESS:
        return names | {section.host, socket.gethostname().lower()}
    addresses = {entry.address.partition("%")[0] for card in psutil.net_if_addrs().values() for entry in card}
    return names | addresses | {socket.gethostname().lower()}


@contextmanager
def serve_page(session: Session, store: JobStore, section: WebSection) -> Iterator[ServedPage]:
    """Serve the page until the context ends.

    Args:
        session: The session.
        store: The open queue.
        section: The address.

    Raises:
        Failure: `web-extra-missing`, `web-token-missing`, `web-secret-exposed`, `web-port-taken` or `web-ended`.
    """
    require_packages()
    from comfywatchman.app.pages.page_host import PageHost
    from comfywatchman.app.pages.report_warmer import keep_report_warm
    from comfywatchman.web.application import build_application
    from comfywatchman.web.security.request_guard import GuardPolicy, is_loopback
    from comfywatchman.web.server import open_socket, require_running, serve
    from comfywatchman.web.web_options import WebOptions

    secrets = find_secrets(session)
    is_public = not is_loopback(section.host)
    if is_public and secrets.read_token() is None:
        raise Failure(
            "web-token-missing",
            f"On {section.host} other machines can reach the page, which shows names of workflows, models and jobs,"
            " outputs, and changes the queue. That needs a token.",
            hint="Create one: comfywatchman web --create-token. Or use the default address, 127.0.0.1.",
        )
    secrets.read_key()
    policy = GuardPolicy(find_own_names(section), needs_session_to_read=is_public)
    page_host = PageHost(session, JobAgent(session), store)
    application = build_application(
        page_host,
        WebOptions(policy, section.base_path),
        secrets,
        now=session.clock.now,
    )
    listener = open_socket(section.host, section.port)
    port = listener.getsockname()[1]
    shown = "127.0.0.1" if section.host in _ANY_ADDRESS else section.host
    host = f"[{shown}]" if ":" in shown else shown
    with serve(application, listener) as thread, keep_report_warm(page_host):
        url = f"http://{host}:{port}{section.base_path}/"
        yield ServedPage(url, is_public, lambda: require_running(thread))


@contextmanager
def serve_page_beside(session: Session, store: JobStore) -> Iterator[ServedPage | Failure]:
    """Serve the page beside another command, which goes on when the page cannot be served.

    Yields:
        The page, or why there is none.
    """
    with ExitStack() as stack:
        page: ServedPage | Failure
        try:
            page = stack.enter_context(serve_page(session, store, session.settings.web))
        except Failure as failure:
            page = failure
        yield page
