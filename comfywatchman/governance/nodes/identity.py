"""What a custom node may be called and where it may be cloned from: everything that came from outside is doubted."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final
from urllib.parse import unquote, urlsplit, urlunsplit

from comfywatchman.base.errors import Failure

_ID: Final = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,98}[A-Za-z0-9])?")
_RESERVED: Final = frozenset(
    {"con", "prn", "aux", "nul", *(f"{port}{number}" for port in ("com", "lpt") for number in range(1, 10))}
)
"""Names that Windows keeps for devices; a folder of such a name cannot be copied to one."""

_RESERVED_ENDINGS: Final = (".disabled", ".git", ".py", ".lock")
_MAX_URL_CHARS: Final = 2048
_HOST: Final = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?")
_USER: Final = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9._-]*)")
_SCP: Final = re.compile(r"(?:([^@/:]+)@)?([^@/:]+):(?!/)(.+)")
_PAGE: Final = re.compile(r"(/[^/]+/[^/]+?)(?:\.git)?/(?:tree|blob|commit|releases/tag)/([^/]+)")
_REF: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._/+-]{0,199}")
_LOOPBACK: Final = frozenset({"127.0.0.1", "localhost", "::1"})


@dataclass(frozen=True, slots=True)
class NodeOrigin:
    """Where a node is cloned from.

    Attributes:
        url: The address without any secret, fit for files, logs and reports.
        user: The account's name for an https address that came with one; empty for none.
        secret: Its password or token; never written anywhere.
        is_local: It is a folder of this machine.
    """

    url: str
    user: str = ""
    secret: str = ""
    is_local: bool = False

    def __repr__(self) -> str:
        return f"Origin(url={self.url!r}, is_local={self.is_local})"


def check_id(node_id: str) -> str:
    """Return an id that may be a folder's name and part of a dependency group's name.

    Raises:
        Failure: `gov-bad-id`.
    """
    reason = _find_id_problem(node_id)
    if reason is None:
        return node_id
    raise Failure(
        "gov-bad-id",
        f"{node_id[:120]!r} cannot be the id of a node: {reason}.",
        hint="Use letters, digits, dots, dashes and underscores, at most 100 of them, beginning and ending with a "
        "letter or digit; choose one with --id.",
    )


def normalize_id(node_id: str) -> str:
    """Return what two ids have in common that would be one folder on some systems, or one dependency group for uv.

    Groups are compared as PEP 735 says: without regard to case, runs of dots, dashes and underscores as one dash.
    """
    return re.sub(r"[-_.]+", "-", node_id).lower()


def find_conflicting_id(node_id: str, others: Iterable[str]) -> str | None:
    """Return the id among others that cannot stand beside this one, or None."""
    canonical = normalize_id(node_id)
    return next((other for other in others if normalize_id(other) == canonical), None)


def parse_origin(url: str, *, allow_local: bool = False) -> NodeOrigin:
    """Read an address that a person or a registry gave; refuse what git would take for an option or a program.

    https, ssh (`ssh://user@host/path`, `user@host:path`) and, for this machine alone, http are taken; folders and
    `file://` only where they are allowed.

    Raises:
        Failure: `gov-bad-url`; its text holds no secret.
    """
    is_folder = allow_local and url.startswith("/") and url.isprintable()
    is_odd = not url.isascii() or not url.isprintable() or re.search(r"[\s\\]", url)
    if len(url) > _MAX_URL_CHARS or (is_odd and not is_folder):
        raise _bad_url(url, "it holds spaces, control characters or others that no address has, or is too long")
    if not url or url.startswith("-"):
        raise _bad_url(url, "it begins as an option of git does" if url else "it is empty")
    if "::" in url.split("[", 1)[0]:
        raise _bad_url(url, "it names a helper program of git")
    if "://" in url:
        return _parse_url(url, allow_local=allow_local)
    if url.startswith(("/", "./", "../")) or url in {".", ".."}:
        return _parse_local(url, url, allow_local=allow_local)
    if match := _SCP.fullmatch(url):
        return _parse_scp(url, *match.groups())
    raise _bad_url(url, "it is neither an address nor the id of a registered pack")


def is_address(target: str) -> bool:
    """Say whether what a person typed is meant as an address rather than as an id of the registry."""
    return "/" in target or ":" in target or target.startswith(".") or not target


def check_ref(ref: str) -> str:
    """Return a branch, tag or commit that git cannot take for anything else; an empty one is the default branch.

    Raises:
        Failure: `gov-bad-ref`.
    """
    is_odd = ".." in ref or "//" in ref or ref.endswith(("/", ".", ".lock")) or "/." in ref
    if not ref or (_REF.fullmatch(ref) and not is_odd):
        return ref
    raise Failure(
        "gov-bad-ref",
        f"{ref[:200]!r} is not the name of a branch, tag or commit.",
        hint="Give one as `git ls-remote ADDRESS` shows it, without refs/heads/ or refs/tags/.",
    )


def derive_id(url: str) -> str:
    """Return the id that a repository's name gives.

    Raises:
        Failure: `gov-bad-id`, when the name cannot be one.
    """
    path = url.partition("://")[2] or url.rpartition(":")[2]
    name = unquote(path.rstrip("/").rpartition("/")[2])
    return check_id(name.removesuffix(".git"))


def is_same_origin(one: str, other: str) -> bool:
    """Say whether two addresses lead to one repository, whatever protocol and ending they are written with."""
    return bool(one) and bool(other) and _build_repository_key(one) == _build_repository_key(other)


def redact_url(url: str) -> str:
    """Return an address without user names, passwords, queries and fragments, fit to be shown."""
    if "://" not in url:
        return re.sub(r"^(?!git@)[^@/]*@", "", url)
    try:
        parts = urlsplit(url)
    except ValueError:
        return f"{url.partition('://')[0]}://…"
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


def _find_id_problem(node_id: str) -> str | None:
    if not _ID.fullmatch(node_id):
        return "it is empty, too long, or has other characters than an id may have, or has them in the wrong place"
    if ".." in node_id:
        return "it has two dots in a row"
    if node_id.lower().partition(".")[0] in _RESERVED:
        return "some systems keep this name for a device"
    if ending := next((one for one in _RESERVED_ENDINGS if node_id.lower().endswith(one)), None):
        return f"{ending} at the end of a folder means something else"
    return None


def _parse_url(url: str, *, allow_local: bool) -> NodeOrigin:
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError as error:
        raise _bad_url(url, "it is no address") from error
    scheme = parts.scheme.lower()
    if scheme == "file":
        return _parse_local(url, unquote(parts.path), allow_local=allow_local and not parts.netloc)
    if scheme not in {"https", "ssh"} and not (scheme == "http" and host in _LOOPBACK):
        raise _bad_url(url, "nodes are cloned over https or ssh only, so that nobody on the way can change them")
    if not (_HOST.fullmatch(host) or host in _LOOPBACK) or parts.path.strip("/") == "" or parts.path.startswith("/-"):
        raise _bad_url(url, "it names no host and repository")
    if page := _PAGE.match(parts.path):
        raise _bad_url(
            url, "it is a page that shows one state", hint=_build_page_hint(scheme, parts.netloc, *page.groups())
        )
    if parts.query or parts.fragment:
        raise _bad_url(url, "an address of a repository has no ? and no #")
    if scheme == "ssh" and (parts.password or not _USER.fullmatch(parts.username or "git")):
        raise _bad_url(url, "ssh takes keys, not passwords in addresses")
    place = f"{host}:{port}" if port else host
    if scheme == "ssh":
        named = f"{parts.username}@{place}" if parts.username else place
        return NodeOrigin(url=urlunsplit((scheme, named, parts.path, "", "")))
    shown = urlunsplit((scheme, place, parts.path, "", ""))
    return NodeOrigin(url=shown, user=unquote(parts.username or ""), secret=unquote(parts.password or ""))


def _build_page_hint(scheme: str, place: str, repository: str, ref: str) -> str:
    return f"Use {scheme}://{place.rpartition('@')[2]}{repository} --ref {unquote(ref)}."


def _parse_scp(url: str, user: str | None, host: str, path: str) -> NodeOrigin:
    if not _HOST.fullmatch(host) or not _USER.fullmatch(user or "git") or path.startswith("-") or "@" in path:
        raise _bad_url(url, "it is no address of the form user@host:path")
    return NodeOrigin(url=f"{user or 'git'}@{host}:{path}")


def _parse_local(url: str, path: str, *, allow_local: bool) -> NodeOrigin:
    if not allow_local:
        raise _bad_url(
            url,
            "it is a folder of this machine, or names one",
            hint="A folder that is already in custom_nodes is registered with `gov node add --adopt ID`; "
            "to clone from a folder of this machine give --allow-local.",
        )
    if not path.startswith("/"):
        raise _bad_url(url, "a folder is named by its whole path")
    return NodeOrigin(url=f"file://{path}" if "://" in url else path, is_local=True)


def _build_repository_key(url: str) -> str:
    """Return host and path alone; the account ssh logs in with names no other repository."""
    if "://" not in url and (match := _SCP.fullmatch(url)):
        text = f"{match[2]}/{match[3]}"
    else:
        parts = urlsplit(url) if "://" in url else None
        text = f"{parts.netloc.rpartition('@')[2]}{parts.path}" if parts else url
    # The hosts that packs live on do not tell upper from lower case in a repository's name.
    return text.rstrip("/").removesuffix(".git").rstrip("/").lower()


def _bad_url(url: str, reason: str, *, hint: str | None = None) -> Failure:
    shown = redact_url(url)[:200]
    return Failure(
        "gov-bad-url",
        f"{shown!r} cannot be cloned: {reason}.",
        hint=hint
        or "Give the repository's https address, for example https://github.com/OWNER/NAME, or a registry id.",
    )
