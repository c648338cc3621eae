"""Addresses, taken apart strictly, and shown without what may be secret in them."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import quote, urljoin, urlsplit

from comfywatchman.base.errors import Failure

PORTS: Final = {"https": 443, "http": 80}
_HOST: Final = re.compile(r"[a-z0-9_]([a-z0-9_.-]{0,251}[a-z0-9_.])?|[0-9a-f:.]+")
_SAFE: Final = "%/:=&?~#+!$,;'@()*[]"


@dataclass(frozen=True, slots=True)
class Address:
    """A taken-apart address, as every part of this program understands it.

    Attributes:
        scheme: `http` or `https`.
        host: Lower case, without brackets.
        port: The port, given or usual.
        target: Path and query as they are sent; may hold a signature, so it is never shown.
    """

    scheme: str
    host: str
    port: int
    target: str = field(repr=False)

    @property
    def netloc(self) -> str:
        """Host and port; the port only when it is not the usual one."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == PORTS[self.scheme] else f"{host}:{self.port}"

    @property
    def origin(self) -> str:
        """Scheme, host and port: whoever has another one is somebody else."""
        return f"{self.scheme}://{self.netloc}"

    @property
    def shown(self) -> str:
        """The address without its query, which may hold a signature."""
        return self.origin + self.target.partition("?")[0]

    @property
    def url(self) -> str:
        """The whole address; not for messages."""
        return self.origin + self.target


def parse_address(url: str, *, base: Address | None = None) -> Address:
    """Take an address apart strictly.

    Args:
        url: An address; relative to `base` when there is one.
        base: Whose redirect it is.

    Raises:
        Failure: `download-host-refused` when it is no plain http or https address (user information, odd characters).
    """
    try:
        parts = urlsplit(urljoin(base.url, url) if base else url)
        host, port = (parts.hostname or "").lower(), parts.port
    except ValueError as error:
        raise _invalid_address_failure(url) from error
    plain = url.isprintable() and not set(url) & set(" \\") and "@" not in parts.netloc
    if not plain or parts.scheme not in PORTS or not _HOST.fullmatch(host) or port == 0:
        raise _invalid_address_failure(url)
    target = quote(parts.path or "/", safe=_SAFE) + (f"?{quote(parts.query, safe=_SAFE)}" if parts.query else "")
    return Address(parts.scheme, host.rstrip("."), port or PORTS[parts.scheme], target)


def printable_url(url: str) -> str:
    """Return an address fit for messages: without user information, query and fragment, which may hold secrets."""
    try:
        parts = urlsplit(url)
        shown = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
    except ValueError:
        return "an unreadable address"
    return shown if shown.isprintable() else ascii(shown)


def _invalid_address_failure(url: str) -> Failure:
    return Failure(
        "download-host-refused",
        f"{printable_url(url) if '://' in url else 'That'} is no plain http or https address.",
        hint="Correct the address, or take the file from another source.",
    )
