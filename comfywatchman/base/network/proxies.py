"""Which proxy a request uses, by the environment variables that curl and Python's libraries read. Pure."""

from __future__ import annotations

import base64
import ipaddress
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final, Literal
from urllib.parse import unquote

from comfywatchman.base.errors import Failure

ProxyScheme = Literal["http", "https", "socks5"]

UNAUTHENTICATED: Final = 407
"""Status of a proxy that requires a user name and password."""

_SCHEMES: Final[dict[str, ProxyScheme]] = {
    "http": "http",
    "https": "https",
    "socks5": "socks5",
    "socks5h": "socks5",
    # GNOME exports `all_proxy=socks://…`; GLib tries SOCKS 5 first.
    "socks": "socks5",
}
_PORTS: Final[dict[ProxyScheme, int]] = {"http": 80, "https": 443, "socks5": 1080}
_AUTHORITY_END: Final = re.compile(r"[/?#]")
_HOST_AND_PORT: Final = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9_.-]+)(?::([0-9]{0,5}))?")
_NO_PROXY_ENTRY: Final = re.compile(r"(?:([a-z]+)://)?(\[[0-9a-f:.]+\]|[^\[\]:]+|[0-9a-f:.]+)(?::([0-9]{1,5}))?")
_MAX_PORT: Final = 65535
_MAX_CREDENTIAL_BYTES: Final = 255
"""RFC 1929: SOCKS 5 gives the length of user name and password in one byte each."""


@dataclass(frozen=True, slots=True)
class Proxy:
    """A proxy that an environment variable names.

    Attributes:
        variable: The variable, such as `HTTPS_PROXY`.
        scheme: How to speak to it; `http` and `https` proxies open tunnels with CONNECT.
        host: Lower case, without brackets.
        port: Its port.
        user: The user name; empty for none.
        password: Its password.
    """

    variable: str
    scheme: ProxyScheme
    host: str
    port: int
    user: str = field(default="", repr=False)
    password: str = field(default="", repr=False)

    def __str__(self) -> str:
        """Return the proxy for messages: without user name and password."""
        return f"proxy of {self.variable} ({self.netloc})"

    @property
    def netloc(self) -> str:
        """Host and port."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def authorization(self) -> dict[str, str]:
        """The header with user name and password; empty without them. For `http` and `https`."""
        if not self.user and not self.password:
            return {}
        encoded = base64.b64encode(f"{self.user}:{self.password}".encode()).decode("ascii")
        return {"Proxy-Authorization": f"Basic {encoded}"}


def find_proxy(variables: Mapping[str, str], *, scheme: str, host: str, port: int) -> Proxy | None:
    """Return the proxy for a request; None for a direct connection.

    The variable of the scheme goes before ALL_PROXY, and lower case before upper case. This machine is never reached
    through a proxy.

    Args:
        variables: The environment.
        scheme: `http` or `https`.
        host: The server, lower case and without brackets.
        port: Its port.

    Raises:
        Failure: `network-settings` when the variable that applies names no proxy.
    """
    setting = _find_setting(variables, scheme)
    if setting is None or _is_this_machine(host) or _is_excluded(variables, scheme, host, port):
        return None
    return _parse_proxy(*setting)


def build_refusal(proxy: Proxy, status: int | None = None) -> Failure:
    """Return the failure for a proxy that opens no tunnel.

    Args:
        proxy: The proxy.
        status: Its HTTP status; None when it has none.
    """
    if status == UNAUTHENTICATED:
        return Failure(
            "network-settings",
            f"The {proxy} requires a valid user name and password.",
            hint=f"Set {proxy.variable} to http://USER:PASSWORD@HOST:PORT; write @ as %40 and / as %2F.",
        )
    shown = "" if status is None else f" ({status})"
    return Failure("http-unreachable", f"The {proxy} refuses the connection{shown}.")


def _find_setting(variables: Mapping[str, str], scheme: str) -> tuple[str, str] | None:
    for name in (f"{scheme}_proxy", "all_proxy"):
        for variable in (name, name.upper()):
            if variable in variables:
                text = variables[variable].strip()
                if text:
                    return variable, text
                # An empty lower-case variable switches the upper-case one off.
                break
    return None


def _parse_proxy(variable: str, text: str) -> Proxy:
    scheme_text, separator, rest = text.partition("://")
    if not separator:
        scheme_text, rest = "http", text
    scheme = _SCHEMES.get(scheme_text.lower())
    if scheme is None:
        raise _invalid_proxy_failure(variable)
    authority = _AUTHORITY_END.split(rest, maxsplit=1)[0]
    if "@" in rest and "@" not in authority:
        # One of /?# is part of the password, so that the host cannot be told from it.
        raise _invalid_proxy_failure(variable)
    user_info, _, host_and_port = authority.rpartition("@")
    match = _HOST_AND_PORT.fullmatch(host_and_port)
    if match is None:
        raise _invalid_proxy_failure(variable)
    port = int(match[2]) if match[2] else _PORTS[scheme]
    if not 0 < port <= _MAX_PORT:
        raise _invalid_proxy_failure(variable)
    user, _, password = user_info.partition(":")
    return Proxy(
        variable,
        scheme,
        match[1].strip("[]").lower(),
        port,
        _decode_credential(user, variable),
        _decode_credential(password, variable),
    )


def _decode_credential(text: str, variable: str) -> str:
    try:
        decoded = unquote(text, errors="strict")
        size = len(decoded.encode())
    except UnicodeError as error:
        # Bytes that are not UTF-8 are surrogates in Python, which no header can carry.
        raise _invalid_proxy_failure(variable) from error
    if size > _MAX_CREDENTIAL_BYTES:
        raise _invalid_proxy_failure(variable)
    return decoded


def _invalid_proxy_failure(variable: str) -> Failure:
    # The value is not quoted: it may hold a password.
    return Failure(
        "network-settings",
        f"{variable} is not the address of an http, https or socks5 proxy.",
        hint=f"Set {variable} to http://HOST:PORT, or unset it. Write @ in a password as %40, and / as %2F.",
    )


def _is_this_machine(host: str) -> bool:
    if host == "localhost" or host.endswith(".localhost"):
        return True
    # 0.0.0.0 as a destination is this machine.
    return any(address.is_loopback or address.is_unspecified for address in _list_addresses(host))


def _is_excluded(variables: Mapping[str, str], scheme: str, host: str, port: int) -> bool:
    text = variables.get("no_proxy", variables.get("NO_PROXY", ""))
    entries = re.split(r"[\s,]+", text.lower())
    return "*" in entries or any(_is_match(entry, scheme, host, port) for entry in entries)


def _is_match(entry: str, scheme: str, host: str, port: int) -> bool:
    """Return whether an entry of NO_PROXY covers a server; entries that cannot be read cover none."""
    network = _parse_network(entry)
    if network is not None:
        return any(address in network for address in _list_addresses(host))
    match = _NO_PROXY_ENTRY.fullmatch(entry)
    if match is None:
        return False
    entry_scheme, name, entry_port = match.groups()
    if entry_scheme not in {None, scheme} or entry_port not in {None, str(port)}:
        return False
    network = _parse_network(name.strip("[]"))
    if network is not None:
        return any(address in network for address in _list_addresses(host))
    # `.example.com` and `*.example.com` cover example.com, too, as in curl.
    domain = name.removeprefix("*").strip(".")
    bare_host = host.rstrip(".")
    return bool(domain) and (bare_host == domain or bare_host.endswith(f".{domain}"))


def _parse_network(text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network | None:
    try:
        return ipaddress.ip_network(text, strict=False)
    except ValueError:
        return None


def _list_addresses(host: str) -> Iterator[ipaddress.IPv4Address | ipaddress.IPv6Address]:
    """Yield the IP address that a host is, and the IPv4 address in an IPv4-mapped one."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        # It is a name.
        return
    yield address
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    if mapped is not None:
        yield mapped
