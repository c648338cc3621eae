"""Proxies and certificates of the environment, read once for all connections of a session.

Both clients, `base.http` and `base.stream`, take them from here, so that search and download reach the same servers.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from comfywatchman.base.config import connection_variables
from comfywatchman.base.network.certificates import create_tls_context, find_variable
from comfywatchman.base.network.proxies import Proxy, find_proxy

if TYPE_CHECKING:
    import ssl

UNREACHABLE_CODES: Final = frozenset({"http-unreachable", "network-settings"})
"""Failure codes of a request that no server received or answered."""


class NetworkSettings:
    """How this process reaches servers; threads may share it.

    Args:
        variables: The environment; that of this process when None.
    """

    def __init__(self, variables: Mapping[str, str] | None = None) -> None:
        self._variables = connection_variables(variables)
        self._lock = threading.Lock()
        self._tls: ssl.SSLContext | None = None

    def find_proxy(self, scheme: str, host: str, port: int) -> Proxy | None:
        """Return the proxy for a server; None for a direct connection.

        Raises:
            Failure: `network-settings` when the variable that applies names no proxy.
        """
        return find_proxy(self._variables, scheme=scheme, host=host, port=port)

    def tls_context(self) -> ssl.SSLContext:
        """Return the TLS settings, loading the certificates the first time, which takes 70 ms.

        Raises:
            Failure: `network-settings` when the variable that applies names no certificates.
        """
        with self._lock:
            if self._tls is None:
                self._tls = create_tls_context(self._variables)
            return self._tls

    def describe_distrust(self, host: str, error: ssl.SSLCertVerificationError) -> str:
        """Return the sentence for a server whose certificate is not trusted."""
        variable = find_variable(self._variables)
        trusted = f" by those of {variable}" if variable else ""
        return f"The certificate of {host} is not trusted{trusted}: {error.verify_message}."
