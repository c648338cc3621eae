"""Which certificates are trusted, by SSL_CERT_FILE and SSL_CERT_DIR.

Every cycle imports this module, so `ssl` is imported only when certificates are loaded.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from comfywatchman.base.errors import Failure

if TYPE_CHECKING:
    import ssl

VARIABLES: Final = ("SSL_CERT_FILE", "SSL_CERT_DIR")
"""The variables that replace the certificates of `certifi`, the first one that is set."""


def find_variable(variables: Mapping[str, str]) -> str | None:
    """Return the variable that names the certificates; None when those of `certifi` are used."""
    for variable in VARIABLES:
        if variables.get(variable):
            return variable
    return None


def create_tls_context(variables: Mapping[str, str]) -> ssl.SSLContext:
    """Return the TLS settings for connections; loading the certificates takes 70 ms.

    Raises:
        Failure: `network-settings` when the variable that applies names no certificates.
    """
    import ssl

    # Not `ssl.create_default_context`: it also opens the file of SSLKEYLOGFILE, for the keys of every connection.
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    variable = find_variable(variables)
    if variable is None:
        import certifi

        context.load_verify_locations(cafile=certifi.where())
        return context
    path = variables[variable]
    try:
        if variable == "SSL_CERT_FILE":
            _load_file(context, path)
        else:
            _load_folders(context, path)
    except OSError as error:
        raise _certificates_failure(variable, error) from error
    return context


def _load_file(context: ssl.SSLContext, path: str) -> None:
    # Reading a pipe or a device might never end.
    if not stat.S_ISREG(os.stat(path).st_mode):
        raise OSError(0, "it is not a regular file")
    context.load_verify_locations(cafile=path)


def _load_folders(context: ssl.SSLContext, path: str) -> None:
    # OpenSSL accepts several folders, and takes a missing one for an empty one.
    if not any(os.path.isdir(folder) for folder in path.split(os.pathsep)):
        raise OSError(0, "it is not a folder")
    context.load_verify_locations(capath=path)


def _certificates_failure(variable: str, error: OSError) -> Failure:
    import ssl

    reason = error.strerror or "it cannot be read"
    if isinstance(error, ssl.SSLError):
        reason = "it contains no certificate"
    return Failure(
        "network-settings",
        f"{variable} names no usable certificates: {reason}.",
        hint=f"Correct {variable}, or unset it.",
    )
