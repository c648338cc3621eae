"""URLs, parsed strictly, and shown without the parts that may be secret."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import quote, urljoin, urlsplit, urlunsplit

from comfywatchman.base.errors import Failure

PORTS: Final = {"https": 443, "http": 80}
_HOST: Final = re.compile(r"[a-z0-9_]([a-z0-9_.-]{0,251}[a-z0-9_.])?|[0-9a-f:.]+")
_SCP_ADDRESS: Final = re.compile(r"(?:([^@/:]*)@)?([^@/:]+):(?!//)(.+)")
_SAFE: Final = "%/:=&?~#+!$,;'@()*[]"


@dataclass(frozen=True, slots=True)
class Address:
    """A parsed http or https URL.

    Attributes:
        scheme: `http` or `https`.
        host: Lower case, without brackets.
        port: The port, explicit or the default of the scheme.
        target: Path and query as they are sent; may hold a signature, so it is never shown.
    """

    scheme: str
    host: str
    port: int
    target: str = field(repr=False)

    @property
    def netloc(self) -> str:
        """Host and port; the port only when it is not the default."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        if self.port == PORTS[self.scheme]:
            return host
        return f"{host}:{self.port}"

    @property
    def origin(self) -> str:
        """Scheme, host and port; a token for one origin is never sent to another."""
        return f"{self.scheme}://{self.netloc}"

    @property
    def printable(self) -> str:
        """The URL without its query, which may hold a signature."""
        return self.origin + self.target.partition("?")[0]

    @property
    def url(self) -> str:
        """The whole URL; not for messages."""
        return self.origin + self.target


def parse_address(url: str, *, base: Address | None = None) -> Address:
    """Parse a URL strictly.

    Args:
        url: A URL; relative to `base` when there is one.
        base: The address that redirects to it.

    Raises:
        Failure: `download-host-refused` when it is not a plain http or https URL (user information, unusual
            characters).
    """
    try:
        parts = urlsplit(urljoin(base.url, url) if base else url)
        host, port = (parts.hostname or "").lower(), parts.port
    except ValueError as error:
        raise _invalid_address_failure(url) from error
    # Parsers disagree about spaces, backslashes and several @; two parsers can read different hosts from one URL.
    is_plain = url.isprintable() and not set(url) & set(" \\") and "@" not in parts.netloc
    if not is_plain or parts.scheme not in PORTS or not _HOST.fullmatch(host) or port == 0:
        raise _invalid_address_failure(url)
    target = quote(parts.path or "/", safe=_SAFE)
    if parts.query:
        target += f"?{quote(parts.query, safe=_SAFE)}"
    return Address(parts.scheme, host.rstrip("."), port or PORTS[parts.scheme], target)


def printable_url(url: str) -> str:
    """Return a URL for messages: without user information, query and fragment, which may hold secrets."""
    try:
        parts = urlsplit(url)
        shown = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
    except ValueError:
        return "an invalid address"
    return shown if shown.isprintable() else ascii(shown)


def mask_password(text: str) -> str:
    """Return a text with the user name and password of a URL replaced by `***`; other texts unchanged."""
    scheme, mark, rest = text.partition("://")
    # Up to the last @ of the host part: a password may hold one, too.
    host, slash, path = rest.partition("/")
    if not mark or "@" not in host:
        return text
    return f"{scheme}://***@{host.rpartition('@')[2]}{slash}{path}"


def mask_passwords(value: Any) -> Any:
    """Return a value with the user names and passwords of all URLs in its lists, tables and keys replaced by `***`."""
    if isinstance(value, str):
        return mask_password(value)
    if isinstance(value, dict):
        return {mask_passwords(key): mask_passwords(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [mask_passwords(inner) for inner in value]
    return value


def has_password(text: str) -> bool:
    """Return whether a text is a URL with a password."""
    _, mark, rest = text.partition("://")
    user, at, _ = rest.partition("/")[0].rpartition("@")
    return bool(mark and at and ":" in user)


def _invalid_address_failure(url: str) -> Failure:
    # A text without a scheme may be anything, even a secret that was pasted by mistake.
    shown = printable_url(url) if "://" in url else "The address"
    return Failure(
        "download-host-refused",
        f"{shown} is not a plain http or https address.",
        hint="Correct the address, or take the file from another source.",
    )


def strip_repository_credentials(url: str) -> str | None:
    """Return a repository address without user information, query and fragment; None when it has control characters.

    The account `git` of ssh addresses stays: it is the same for everybody and needed to clone. Others may be secrets.
    """
    if not url.isprintable():
        return None
    if "://" in url:
        try:
            parts = urlsplit(url)
        except ValueError:
            return None
        user, _, host = parts.netloc.rpartition("@")
        netloc = f"git@{host}" if parts.scheme == "ssh" and user == "git" else host
        return urlunsplit((parts.scheme, netloc, parts.path, "", ""))
    scp = _SCP_ADDRESS.fullmatch(url)
    if scp is None:
        return url
    user, host, path = scp.groups()
    prefix = "git@" if user == "git" else ""
    return f"{prefix}{host}:{path}"


def redact_url(url: str) -> str:
    """Return a URL without user names, passwords, queries and fragments, fit to be shown."""
    if "://" not in url:
        # `git@` is the account of every user of a host, not a secret.
        return re.sub(r"^(?!git@)[^@/]*@", "", url)
    try:
        parts = urlsplit(url)
    except ValueError:
        return f"{url.partition('://')[0]}://…"
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))
