"""Connections of httpx through a SOCKS 5 proxy.

Not httpx's own: it waits for the proxy without a time limit, and fails with errors of another library.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import httpcore

from comfywatchman.base.network.proxies import Proxy
from comfywatchman.base.network.tunnel import open_tunnel


class SocksBackend(httpcore.NetworkBackend):
    """Opens every connection through one proxy, which resolves the server's name.

    Args:
        proxy: The proxy.
    """

    def __init__(self, proxy: Proxy) -> None:
        self._proxy = proxy
        self._backend = httpcore.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        """Connect to a server.

        Raises:
            Failure: The proxy refuses.
            httpcore.ConnectError: The proxy did not answer, or not as one.
        """
        stream = self._backend.connect_tcp(self._proxy.host, self._proxy.port, timeout, local_address, socket_options)
        try:
            sock = stream.get_extra_info("socket")
            sock.settimeout(timeout)
            open_tunnel(sock, self._proxy, host, port)
        except BaseException as error:
            stream.close()
            if isinstance(error, OSError | UnicodeError):
                raise httpcore.ConnectError(str(error)) from error
            raise
        return stream
